"""However many transactions come at once, everybody else gets a turn between a few of them."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import trio

from consensus.primitives.errors import InvalidTransaction
from node.answers_transactions import ADMIT_SLICE, TransactionAnswers

COUNT = 5 * ADMIT_SLICE + 3


class Pool:
    """Admits what it is given; every seventh is no transaction."""

    def __init__(self) -> None:
        self.admitted: list[bytes] = []

    async def check(self, raws):
        return [
            InvalidTransaction("no") if number_of(raw) % 7 == 0 else SimpleNamespace(hash=raw, raw=raw)
            for raw in raws
        ]

    def admit(self, checked, account_of) -> None:
        self.admitted.append(checked.raw)


def raw_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def number_of(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


@pytest.mark.parametrize("flooded", [False, True])
def test_others_get_their_turn_between_slices(flooded) -> None:
    pool, pokes, flood, seen = Pool(), [], [], [0]
    answers = TransactionAnswers(
        driver=SimpleNamespace(poke=lambda: pokes.append(len(pool.admitted))),
        final_chain=SimpleNamespace(place=lambda name: None, view=SimpleNamespace(account=None)),
        mempool=pool,
        progress=SimpleNamespace(accepted=lambda name: None),
        prover=None,
        flood=flood.extend,
    )
    raws = [raw_of(number) for number in range(COUNT)]
    good = [raw for raw in raws if number_of(raw) % 7]

    async def watch() -> None:
        while True:
            seen.append(len(pool.admitted))
            await trio.lowlevel.checkpoint()

    async def main() -> list:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            results = await (answers.take if flooded else answers.submit)(raws)
            nursery.cancel_scope.cancel()
        return results

    results = trio.run(main)
    assert pool.admitted == good
    assert pokes == [len(good)]
    steps = [later - before for before, later in pairwise(seen)]
    assert max(steps) <= 2 * ADMIT_SLICE  # trio takes turns in any order, but each takes one
    if flooded:
        assert flood == []  # who flooded them has seen to the others
    else:
        assert flood == good
        assert [each.accepted for each in results] == [number % 7 != 0 for number in range(COUNT)]
        assert len({each.hash for each in results}) == COUNT
