"""When a running node stops to fetch a state: never on a claim, only on proof, and as its operator says."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import structlog
import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parent))

from relay_history import History

from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Height
from net.identity import PeerId
from node.state_sync import trust as trust_module
from node.state_sync import watching
from node.state_sync.messages import (
    HopsFound,
    Offer,
    PieceFound,
    Request,
    SnapshotProof,
    encode_sync_message,
)
from node.state_sync.proving import Prover
from node.state_sync.server import SyncServer
from node.state_sync.trust import start_at, trust_of
from node.state_sync.watching import SyncWatch

BLOCKS = 95
ANSWERS = (SnapshotProof, HopsFound, PieceFound)
PEER, LIAR = PeerId(b"p" * 32), PeerId(b"l" * 32)
LOG = structlog.get_logger("test")


@pytest.fixture(scope="module")
def history() -> History:
    made = History()
    for number in range(BLOCKS):
        made.add(*([made.pay(0, 1)] if number % 9 == 0 else []))
    return made


@dataclass
class World:
    """A watch whose peer is a server of the history; `spoil` changes what the peer says."""

    history: History
    path: Path
    mode: str
    threshold: int = 10_000
    retention_blocks: int = 0
    spoil: object = None
    height: int = 0
    banned: list = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = self.history.store(
            self.path / "peer", snapshot_ms=100, retention_blocks=self.retention_blocks
        )
        for final in self.history.blocks:
            self.store.persist_blocking([final], oldest_epoch=2)
        self.own = self.history.store(self.path / "own")
        if self.height:
            self.own.persist_blocking(self.history.blocks[: self.height])
        genesis = self.history.genesis
        self.server = SyncServer(self.store, start_of=lambda at: start_at(genesis, self.store, at), log=LOG)
        self.watch = SyncWatch(
            mode=self.mode,
            threshold=self.threshold,
            height=self.own.height,
            trust=lambda: trust_of(genesis, self.own, None),
            checkpoint=None,
            server=self.server,
            links=self,
            log=LOG,
        )

    def send_sync(self, peer: PeerId, request: Request) -> None:
        answer = self.server.answer(request)
        if self.spoil is not None:
            answer = self.spoil(answer)
        self.watch.receive(peer, encode_sync_message(answer))

    def ban(self, peer: PeerId, reason: str) -> None:
        self.banned.append(peer)

    def outcome(self) -> Height | None:
        """The height for which the node would stop; None if it goes on by blocks."""
        self.watch.peer_up(PEER)
        found = trio.run(self.watch._look)
        self.store.close()
        self.own.close()
        return found


@pytest.mark.parametrize(
    ("mode", "threshold", "height", "stops"),
    [
        ("auto", 10_000, 0, False),
        ("auto", 70, 0, True),
        ("auto", 70, 30, False),
        ("state", 10_000, 0, True),
        ("state", 10_000, 30, False),
        ("blocks", 64, 0, False),
    ],
)
def test_how_far_behind_it_takes(history, tmp_path, mode, threshold, height, stops) -> None:
    world = World(history, tmp_path, mode, threshold=threshold, height=height)
    newest = world.store.offering.newest()[-1]
    assert world.outcome() == (newest if stops else None)
    assert not world.banned


@pytest.mark.parametrize("mode", ["auto", "blocks"])
def test_a_node_whose_peers_have_pruned_its_next_block_fetches_a_state(
    history, tmp_path, mode, monkeypatch
) -> None:
    monkeypatch.setattr(watching, "STUCK_S", 0.01)
    world = World(history, tmp_path, mode, retention_blocks=20, height=5)
    assert world.store.oldest_block() > 6
    assert (world.outcome() is not None) == (mode == "auto")


def test_nobody_stops_a_node_that_moves_on_by_claiming_that_its_next_block_is_gone(
    history, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(watching, "STUCK_S", 0.01)
    world = World(history, tmp_path, "auto")
    heights = iter(range(BLOCKS))
    world.watch._height = lambda: Height(next(heights))
    gone = Height(10**6)
    world.spoil = lambda answer: (
        replace(answer, oldest_block=gone, final_height=gone) if isinstance(answer, Offer) else answer
    )
    assert world.outcome() is None
    assert not world.banned


def test_a_peer_is_waited_for_once_however_many_heights_it_makes_up(history, tmp_path) -> None:
    world = World(history, tmp_path, "auto", threshold=64)
    asked = []

    def makes_up(answer):
        if isinstance(answer, Offer):
            return replace(answer, final_height=Height(10**9), snapshots=tuple(map(Height, range(500, 508))))
        asked.append(answer)
        return answer

    world.spoil = makes_up
    assert world.outcome() is None
    assert len(asked) == 1


def lying_offer(answer):
    if isinstance(answer, Offer):
        return replace(answer, final_height=Height(10**9), snapshots=(Height(10**9 - 5),))
    return answer


def forged_proof(answer):
    if isinstance(answer, SnapshotProof) and answer.snapshot is not None:
        header = replace(answer.snapshot.header, time_ms=answer.snapshot.header.time_ms + 1)
        return replace(answer, snapshot=replace(answer.snapshot, header=header))
    return answer


def test_a_claim_alone_moves_nothing(history, tmp_path) -> None:
    world = World(history, tmp_path, "auto", spoil=lying_offer)
    assert world.outcome() is None


def test_a_forged_proof_bans_its_sender(history, tmp_path) -> None:
    world = World(history, tmp_path, "state", spoil=forged_proof)
    assert world.outcome() is None
    assert PEER in world.banned


def test_nobody_is_blamed_for_this_machines_clock(history, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(trust_module, "_now_ms", lambda: history.genesis.time_ms - 120_000)
    world = World(history, tmp_path, "state")
    assert world.outcome() is None
    assert not world.banned


def test_nobody_is_blamed_when_the_node_has_passed_the_snapshot_meanwhile(history, tmp_path) -> None:
    world = World(history, tmp_path, "state")

    def overtake(answer):
        if isinstance(answer, Offer):  # blocks come in between what a peer offers and what it proves
            world.own.persist_blocking(history.blocks[world.own.height() :])
            world.watch._height = lambda: Height(0)
        return answer

    world.spoil = overtake
    assert world.outcome() is None
    assert not world.banned


def test_an_answer_that_nobody_asked_for_is_not_even_decoded(history, tmp_path) -> None:
    """Of what was asked for, of whom it was asked, it is; then nonsense in it is found."""
    world = World(history, tmp_path, "auto")
    proof, hops, piece = (bytes([0x92, each.WIRE_TAG]) + b"\xc1" * 5_000 for each in ANSWERS)

    async def main() -> None:
        trust = trust_of(history.genesis, world.own, None)
        prover = world.watch._prover = Prover(trust, None, lambda peer, request: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prover.proven, PEER, Height(64))
            await trio.testing.wait_all_tasks_blocked()
            for peer, frame in ((PEER, hops), (PEER, piece), (LIAR, proof)):
                world.watch.receive(peer, frame)
            with pytest.raises(DecodeError):
                world.watch.receive(PEER, proof)
            nursery.cancel_scope.cancel()

    trio.run(main)
    world.watch._prover = None
    for frame in (proof, hops, piece):
        world.watch.receive(PEER, frame)
    world.store.close()
    world.own.close()


def test_what_is_no_message_is_refused(history, tmp_path) -> None:
    world = World(history, tmp_path, "auto")
    for frame in (b"", b"\x91\x63", b"\x92\x01\x01", bytes(40)):
        with pytest.raises(DecodeError):
            world.watch.receive(LIAR, frame)
    world.outcome()
