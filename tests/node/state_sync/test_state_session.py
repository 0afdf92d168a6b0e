"""A fetch over real links: what is proven before it begins, a liar, one whose state is gone, a restart."""

import errno
import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parent))

from relay_history import History, content

from consensus.agreement.messages import FLAG_BOUNDARY, FinalityProof
from consensus.light.client import Checkpoint
from consensus.primitives.errors import LocalFault, PeerFault, UserError
from consensus.primitives.ids import Hash, Height
from consensus.primitives.tree import make_piece
from net.lanes import Lane
from net.transport import Transport
from node.state_sync import session as session_module
from node.state_sync import trust as trust_module
from node.state_sync.arriving import STORE_DIRECTORY, Arriving, is_under_way
from node.state_sync.begin import fetch_state
from node.state_sync.messages import (
    GetOffer,
    GetPiece,
    GetSnapshot,
    PieceFound,
    PieceGone,
    Request,
    decode_sync_message,
    encode_sync_message,
)
from node.state_sync.server import SyncServer
from node.state_sync.session import Links, Session
from node.state_sync.trust import Trust, start_at, trust_of
from node.store import Store

BLOCKS = 24
PERIOD_MS = 70  # of block time, 10 ms a block: snapshots every seven blocks
LOG = structlog.get_logger("test")
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def history() -> History:
    made = History(accounts=6_000)
    made.busy_blocks(BLOCKS)
    return made


@pytest.fixture(scope="module")
def source(history, tmp_path_factory):
    store = history.store(tmp_path_factory.mktemp("source"), retention=2, snapshot_ms=PERIOD_MS)
    store.persist_blocking(history.blocks)
    yield store
    store.close()


def fresh_trust(history: History, path: Path) -> Trust:
    with closing(history.store(path / "own")) as own:
        return trust_of(history.genesis, own, None)


class Peer:
    """A serving node: a transport and a server, which may be made to lie or to have lost its states."""

    def __init__(self, history: History, store: Store, seed: int, kind: str = "honest") -> None:
        self.server = SyncServer(
            store, start_of=lambda height: start_at(history.genesis, store, height), log=LOG
        )
        self.transport = Transport(
            identity_seed=bytes([seed]) * 32,
            network_id=history.genesis.hash,
            listen=("127.0.0.1", 0),
            peers={},
            authorised=lambda peer: True,
            receive=self._receive,
            on_peer_up=lambda peer: None,
            on_peer_down=lambda peer, reason: None,
            log=LOG,
        )
        self.server.bind(self.transport)
        self._answer = self.server.answer
        self._kind = kind
        self._store = store
        self.server.answer = self._odd  # type: ignore[method-assign]
        self.asked = 0
        self.unanswered: set[Height] = set()
        self.trickled: set[Height] = set()
        self.leaves = 0

    def _odd(self, request):
        answer = self._answer(request)
        if isinstance(answer, PieceFound):
            self.asked += 1
            if request.height in self.trickled:
                self.leaves += 1
                return replace(answer, piece=make_piece(self._store, request.root, request.first, 1))
            if self._kind == "lying":
                piece = bytearray(answer.piece)
                piece[-40] ^= 1
                return replace(answer, piece=bytes(piece))
            if self._kind == "forgetful":
                return PieceGone(height=request.height, root=answer.root, first=answer.first)
        return answer

    async def _receive(self, peer, lane, frame) -> None:
        message = decode_sync_message(frame)
        assert lane is Lane.BULK
        assert isinstance(message, Request)
        if self._kind == "chatty" and isinstance(message, GetSnapshot):
            for _ in range(3 * session_module.ANSWERS):
                self.transport.send(peer, lane, encode_sync_message(self._answer(GetOffer())))
        if not (isinstance(message, GetPiece) and message.height in self.unanswered):
            self.server.offer(peer, message)

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda *, task_status: self.transport.run(task_status=task_status))
            nursery.start_soon(self.server.run)
            task_status.started()


async def fetch(history, arriving, trust, peers, *, checkpoint=None):
    async with trio.open_nursery() as nursery:
        for peer in peers:
            await nursery.start(peer.run)
        session = Session(
            history.genesis,
            arriving=arriving,
            trust=trust,
            checkpoint=checkpoint,
            links=Links(
                identity_seed=bytes([99]) * 32,
                listen=None,
                peers={each.transport.peer_id: each.transport.address for each in peers},
                authorised=lambda peer: True,
            ),
            log=LOG,
        )
        with trio.fail_after(60):
            fetched = await session.run()
        banned = session._transport.statistics().banned
        nursery.cancel_scope.cancel()
    return fetched, banned


def refuse(path: Path, target: Path) -> Path:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def opened(history, path) -> Arriving:
    return Arriving(path, genesis_hash=history.genesis.hash, genesis_root=history.genesis_root)


def test_a_state_is_fetched_past_a_liar_and_one_that_forgot(history, source, tmp_path) -> None:
    peers = [
        Peer(history, source, 1),
        Peer(history, source, 2, "lying"),
        Peer(history, source, 3, "forgetful"),
    ]
    with closing(opened(history, tmp_path)) as arriving:
        fetched, banned = trio.run(fetch, history, arriving, fresh_trust(history, tmp_path), peers)
        height = fetched.height
        assert height == source.offering.newest()[-1]
        assert list(banned) == [peers[1].transport.peer_id]
        assert peers[0].asked >= fetched.pieces > 1
        executed = history.store(tmp_path / "executed", retention=1)
        executed.persist_blocking(history.blocks[:height])
        arriving.store.retention = 1
        for store in (executed, arriving.store):
            store.persist_blocking(history.blocks[height : height + 1])
        assert content(arriving.store, "nodes") == content(executed, "nodes")
        executed.close()


def test_a_height_that_is_offered_and_not_served_is_given_up(history, source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(session_module, "STALLED_S", 1.5)
    older, newest = source.offering.newest()
    peer = Peer(history, source, 1)
    peer.unanswered = {newest}
    with closing(opened(history, tmp_path)) as arriving:
        fetched, banned = trio.run(fetch, history, arriving, fresh_trust(history, tmp_path), [peer])
    assert fetched.height == older
    assert not banned


def test_a_height_that_is_served_leaf_by_leaf_is_given_up(history, source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(session_module, "STALLED_S", 1.5)
    older, newest = source.offering.newest()
    peer = Peer(history, source, 1)
    peer.trickled = {newest}
    with closing(opened(history, tmp_path)) as arriving:
        fetched, banned = trio.run(fetch, history, arriving, fresh_trust(history, tmp_path), [peer])
    assert fetched.height == older
    assert peer.leaves > 1, "each of them a good answer, in time"
    assert not banned


def test_nobody_is_left_waiting_to_hand_over_a_piece_of_a_height_that_was_given_up(
    history, source, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(session_module, "NO_SOURCE_S", 0.05)
    arriving = SimpleNamespace(whole=False, missing=lambda: [])
    links = Links(identity_seed=bytes(32), listen=None, peers={}, authorised=lambda peer: True)
    frame = encode_sync_message(PieceFound(root=Hash(bytes(32)), first=Hash(bytes(32)), piece=b"late"))
    heard = []

    async def main() -> None:
        session = Session(
            history.genesis,
            arriving=arriving,
            trust=fresh_trust(history, tmp_path),
            checkpoint=None,
            links=links,
            log=LOG,
        )

        async def hand_over(number: int) -> None:
            await session._receive(number.to_bytes(32, "big"), Lane.BULK, frame)
            heard.append(number)

        async def verify(_fetching, _received) -> None:  # takes long enough for others to bring more
            for number in range(2 * session_module.ANSWERS):
                nursery.start_soon(hand_over, number)
            await trio.testing.wait_all_tasks_blocked()

        session._take_in = verify  # type: ignore[method-assign]
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                assert not await session._fetch(SimpleNamespace(header=SimpleNamespace(height=7)))
                assert len(heard) == session_module.ANSWERS
        assert len(heard) == 2 * session_module.ANSWERS

    trio.run(main)


def test_who_says_much_that_was_not_asked_does_not_drown_what_was(history, source, tmp_path) -> None:
    peer = Peer(history, source, 1, "chatty")
    with closing(opened(history, tmp_path)) as arriving:
        fetched, banned = trio.run(fetch, history, arriving, fresh_trust(history, tmp_path), [peer])
    assert fetched.height == source.offering.newest()[-1]
    assert not banned


def test_a_fetch_waits_until_somebody_offers_a_state(history, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(session_module, "ASK_OFFERS_S", 0.2)
    young = history.store(tmp_path / "young", snapshot_ms=PERIOD_MS)
    young.persist_blocking(history.blocks[:2])

    async def grow_up() -> None:
        await trio.sleep(0.5)
        young.persist_blocking(history.blocks[2:])

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(grow_up)
            trust = fresh_trust(history, tmp_path)
            return await fetch(history, arriving, trust, [Peer(history, young, 1)])

    with closing(opened(history, tmp_path)) as arriving:
        fetched, _ = trio.run(main)
        assert fetched.height == young.offering.newest()[-1]
    young.close()


def test_a_fetch_that_finds_no_state_for_long_is_given_up(history, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(session_module, "GIVE_UP_S", 0.4)
    young = history.store(tmp_path / "young", snapshot_ms=PERIOD_MS)
    young.persist_blocking(history.blocks[:2])
    with closing(opened(history, tmp_path)) as arriving:
        trust = fresh_trust(history, tmp_path)
        fetched, banned = trio.run(fetch, history, arriving, trust, [Peer(history, young, 1)])
        assert not arriving.whole
    assert fetched is None
    assert not banned
    young.close()


def test_a_whole_state_takes_its_place_though_the_store_is_gone_and_nobody_is_asked(
    history, source, tmp_path, monkeypatch
) -> None:
    with closing(opened(history, tmp_path)) as arriving:  # and killed between the two renames
        fetched, _ = trio.run(
            fetch, history, arriving, fresh_trust(history, tmp_path), [Peer(history, source, 1)]
        )
    later = history.genesis.time_ms + history.genesis.parameters.trusting_ms + DAY_MS
    monkeypatch.setattr(trust_module, "_now_ms", lambda: later)  # genesis leads nowhere any more
    config = SimpleNamespace(data_path=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(LocalFault, match="can not be moved"):
            trio.run(fetch_state, config, history.genesis, None, LOG)
    trio.run(fetch_state, config, history.genesis, None, LOG)
    assert not is_under_way(tmp_path)
    with closing(Store(tmp_path / STORE_DIRECTORY)) as store:
        assert store.height() == fetched.height


def test_a_checkpoint_of_the_operator_leads_to_a_state(history, source, tmp_path) -> None:
    final = history.blocks[4]
    checkpoint = Checkpoint(height=final.height, hash=final.hash)
    with closing(opened(history, tmp_path)) as arriving:
        peers = [Peer(history, source, 1)]
        trust = Trust(history.genesis, None, forks=tmp_path)
        fetched, banned = trio.run(lambda: fetch(history, arriving, trust, peers, checkpoint=checkpoint))
        assert fetched.height > final.height
        assert not banned


def test_only_what_is_final_is_trusted(history, source, tmp_path) -> None:
    trust = fresh_trust(history, tmp_path)
    good = history.snapshot(14)
    trust.check(good)
    above = good.proof.path[0]
    other = history.snapshot(7)
    forged = replace(above, state_root=Hash(b"f" * 32))
    bad = [
        replace(good, payload=good.payload + b"x"),
        replace(good, header=replace(good.header, flags=FLAG_BOUNDARY)),
        replace(good, proof=FinalityProof(path=(), certificate=history.blocks[13].proof.certificate)),
        replace(good, proof=replace(good.proof, path=(forged,))),
        replace(good, proof=replace(good.proof, certificate=other.proof.certificate)),
        replace(good, header=other.header, payload=other.payload),
    ]
    for each in bad:
        with pytest.raises(PeerFault):
            trust.check(each)


def test_a_node_that_was_away_for_longer_than_the_trusting_period_is_told_what_to_do(
    history, tmp_path, monkeypatch
) -> None:
    later = history.genesis.time_ms + history.genesis.parameters.trusting_ms + DAY_MS
    monkeypatch.setattr(trust_module, "_now_ms", lambda: later)
    with pytest.raises(UserError, match=r"sync\.trusted"):
        fresh_trust(history, tmp_path)


def test_a_server_drops_what_is_too_much_and_says_what_it_has(history, source) -> None:
    peer = Peer(history, source, 1)
    offer = peer.server.answer(decode_sync_message(b"\x91\x01"))
    assert offer.final_height == BLOCKS
    assert offer.snapshots == tuple(source.offering.newest())
    for _ in range(10):
        peer.server.offer(peer.transport.peer_id, decode_sync_message(b"\x91\x01"))
    assert peer.server.dropped == 6
    assert start_at(history.genesis, source, Height(BLOCKS + 1)) is None
