"""A node runs, fetches a state, and runs again; nothing of the life before weighs on the one after."""

import gc
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import trio

from node import lives


@pytest.fixture(autouse=True)
def tuned():
    """The collector of this process as it was."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_lives_alternate_with_fetches_and_leave_nothing_in_memory(monkeypatch) -> None:
    story, nodes = [], []

    class Node:
        def __init__(self) -> None:
            self.itself = self  # as a node's parts know one another
            nodes.append(weakref.ref(self))

        @classmethod
        @contextmanager
        def open(cls, config, genesis, keys, log):
            story.append(f"open in mode {config.mode}")
            yield cls()
            story.append("closed")

        async def run(self, services) -> None:
            assert services == ["rpc"]
            if len(nodes) == 3:
                await trio.sleep_forever()

    async def fetch_state(config, genesis, keys, log) -> None:
        story.append("fetch")
        assert [each() for each in nodes] == [None] * len(nodes)
        if len(nodes) == 2:
            scope.cancel()

    monkeypatch.setattr(lives, "Node", Node)
    monkeypatch.setattr(lives, "fetch_state", fetch_state)
    monkeypatch.setattr(lives, "must_resume", lambda config: False)
    monkeypatch.setattr(lives, "after_fetch", lambda config: SimpleNamespace(mode="auto"))
    scope = trio.CancelScope()

    async def main() -> None:
        with scope:
            await lives.run_node(SimpleNamespace(mode="state"), None, None, services=["rpc"], log=None)

    trio.run(main)
    assert story == [
        *("open in mode state", "closed", "fetch"),
        *("open in mode auto", "closed", "fetch"),
        "open in mode auto",
    ]
