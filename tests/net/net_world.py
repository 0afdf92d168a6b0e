"""A few transports on loopback, in one trio run, for the tests of net."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager

import trio

from net.identity import Identity, PeerId
from net.lanes import Lane
from net.limits import Limits
from net.transport import Address, Transport

NETWORK = bytes(range(32))
SEEDS = sorted((bytes([n]) * 32 for n in range(1, 9)), key=lambda seed: Identity(seed).peer_id)
IDS = [Identity(seed).peer_id for seed in SEEDS]  # ascending: of two, the one with the lower index dials
LOOPBACK = "127.0.0.1"
QUICK = Limits(ping_interval_s=0.05, idle_timeout_s=5.0, handshake_timeout_s=2.0)


class Log:
    """Takes the events of a transport; `wait` for one."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self._news = trio.Event()

    def bind(self, **values: object) -> "Log":
        child = Log()
        child._note = lambda event: self._note({**values, **event})
        return child

    def _note(self, event: dict) -> None:
        self.events.append(event)
        self._news.set()
        self._news = trio.Event()

    def info(self, event: str, **values: object) -> None:
        self._note({"event": event, **values})

    warning = error = info

    async def wait(self, event: str, **values: object) -> dict:
        with trio.fail_after(10):
            while True:
                for seen in self.events:
                    if seen["event"] == event and all(
                        seen.get(key) == value for key, value in values.items()
                    ):
                        return seen
                await self._news.wait()


class Node:
    """A transport and what happened to it."""

    def __init__(
        self,
        index: int,
        peers: dict[PeerId, Address],
        *,
        listen: Address | None = (LOOPBACK, 0),
        network: bytes = NETWORK,
        limits: Limits = QUICK,
        authorised: Callable[[PeerId], bool] = lambda _: True,
        receive: Callable | None = None,
    ) -> None:
        self.log = Log()
        self.story: list[tuple] = []  # ("up", peer) | ("down", peer) | (peer, lane, payload)
        self._news = trio.Event()
        self.transport = Transport(
            identity_seed=SEEDS[index],
            network_id=network,
            listen=listen,
            peers=peers,
            authorised=authorised,
            receive=receive if receive is not None else self._receive,
            on_peer_up=lambda peer: self._note("up", peer),
            on_peer_down=lambda peer, _reason: self._note("down", peer),
            log=self.log,
            limits=limits,
        )

    async def _receive(self, peer: PeerId, lane: Lane, payload: bytes) -> None:
        self._note(peer, lane, payload)

    def _note(self, *what: object) -> None:
        self.story.append(what)
        self._news.set()
        self._news = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that happened makes `condition` true."""
        with trio.fail_after(10):
            while not condition():
                await self._news.wait()

    async def until_up(self, index: int, times: int = 1) -> None:
        await self.until(lambda: self.story.count(("up", IDS[index])) >= times)

    def received(self) -> list[bytes]:
        return [item[2] for item in self.story if len(item) == 3]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.transport.run)
            yield self
            nursery.cancel_scope.cancel()


@contextmanager
def free_port():
    """A port that nobody has, for a peer that is to come up (or come back) later."""
    import socket

    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, 0))
        port = sock.getsockname()[1]
    yield port


async def wait_for(condition: Callable[[], bool]) -> None:
    """Poll for something that no event announces."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


__all__ = ["IDS", "LOOPBACK", "NETWORK", "QUICK", "SEEDS", "Node", "free_port", "wait_for"]
