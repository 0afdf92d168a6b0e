"""The router: garbage convicts its sender, queues are bounded, every identity keeps its number."""

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.agreement.events import Peer, PeerDown, PeerUp, Received, RoundTrip, ServeChain
from consensus.agreement.evidence import Evidence, SignedStatement
from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    Chain,
    GetBlock,
    Header,
    LeaderSignature,
    NotFound,
    Proposal,
    decode_message,
    encode_message,
)
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import (
    ZERO_HASH,
    Epoch,
    Hash,
    Height,
    Milliseconds,
    Signature,
    ValidatorIndex,
    View,
)
from net.identity import PeerId
from net.lanes import Lane
from node.evidence_pool import KeptEvidence
from node.router import (
    BATCH_BYTES,
    BATCH_TRANSACTIONS,
    INTAKE_BATCHES,
    INTAKE_PER_PEER,
    MAX_BATCH_BYTES,
    SERVE_REQUESTS,
    SMALL_PROPOSAL_BYTES,
    EvidenceNotice,
    Router,
    TransactionBatch,
)

VALIDATORS = [PeerId(bytes([index]) * 32) for index in range(1, 5)]
STRANGER = PeerId(b"s" * 32)
OTHER = PeerId(b"o" * 32)


class FakeTransport:
    def __init__(self) -> None:
        self.banned: list[tuple[PeerId, str]] = []
        self.sent: list[tuple[PeerId, Lane, bytes]] = []
        self.shouted: list[tuple[Lane, bytes]] = []
        self.here = VALIDATORS[1:]

    def ban(self, peer: PeerId, reason: str) -> None:
        self.banned.append((peer, reason))

    def send(self, peer: PeerId, lane: Lane, payload: bytes) -> bool:
        self.sent.append((peer, lane, payload))
        return True

    def send_together(self, peer: PeerId, *frames: tuple[Lane, bytes]) -> bool:
        self.sent.extend((peer, lane, payload) for lane, payload in frames)
        return True

    def broadcast(self, *frames: tuple[Lane, bytes]) -> None:
        self.shouted.extend(frames)

    def connected(self) -> list[PeerId]:
        return self.here


class FakePool:
    def __init__(self) -> None:
        self.kept: list[KeptEvidence] = []
        self.verdict: bool | str = True

    def receive(self, evidence: Evidence, sender: PeerId) -> bool:
        if isinstance(self.verdict, str):
            raise PeerFault(self.verdict)
        self.kept.append(KeptEvidence(evidence=evidence, included=Height(0)))
        return self.verdict

    def all(self) -> list[KeptEvidence]:
        return self.kept


class FakeInbox:
    def __init__(self) -> None:
        self.events: list[object] = []

    def post(self, event: object) -> None:
        self.events.append(event)

    async def offer(self, event: object, size: int) -> None:
        self.events.append(event)
        await trio.lowlevel.checkpoint()


def made(serve=None, pool=None) -> tuple[Router, FakeTransport, FakeInbox]:
    router = Router(
        candidates=lambda peer, message: None,
        evidence=pool or FakePool(),
        serve=serve or (lambda first, last: Chain(first=Height(first), blocks=(), proof=None)),
    )
    transport, inbox = FakeTransport(), FakeInbox()
    router.bind(transport, inbox)  # type: ignore[arg-type]
    for each in VALIDATORS:
        router.number(each)
    return router, transport, inbox


@given(
    lane=st.sampled_from([Lane.CONSENSUS, Lane.BLOCKS, Lane.CANDIDATES, Lane.TRANSACTIONS]), data=st.data()
)
@settings(max_examples=60, deadline=None)
def test_garbage_bans_its_sender_and_reaches_nobody(lane, data) -> None:
    frame = data.draw(st.binary(max_size=200).map(lambda tail: b"\xc1" + tail))  # never valid msgpack
    router, transport, inbox = made()
    trio.run(router.receive, STRANGER, lane, frame)
    assert [peer for peer, _ in transport.banned] == [STRANGER]
    assert transport.banned[0][1].strip()
    assert inbox.events == []


def test_a_truncated_message_is_garbage_too() -> None:
    router, transport, inbox = made()
    frame = encode_message(GetBlock(epoch=Epoch(1), block=Hash(b"b" * 32)))
    for length in range(len(frame)):
        trio.run(router.receive, VALIDATORS[1], Lane.CONSENSUS, frame[:length])
    assert len(transport.banned) == len(frame)
    assert inbox.events == []
    trio.run(router.receive, VALIDATORS[1], Lane.CONSENSUS, frame)
    assert inbox.events == [Received(Peer(1), GetBlock(epoch=Epoch(1), block=Hash(b"b" * 32)))]


def test_every_identity_has_a_number_of_its_own() -> None:
    router, transport, inbox = made()
    router.peer_up(VALIDATORS[2])
    router.peer_up(STRANGER)
    router.peer_up(OTHER)
    router.peer_down(STRANGER, "gone")
    router.peer_up(STRANGER)
    router.round_trip(OTHER, 120)
    assert inbox.events == [
        PeerUp(Peer(2)),
        PeerUp(Peer(4)),
        PeerUp(Peer(5)),
        PeerDown(Peer(4)),
        PeerUp(Peer(4)),
        RoundTrip(Peer(5), 120),
    ]
    router.misbehaved(Peer(5), "it lied")
    router.misbehaved(Peer(99), "nobody has this number")
    assert transport.banned == [(OTHER, "it lied")]


def test_who_is_gone_and_not_wanted_is_forgotten_and_its_number_is_never_given_again() -> None:
    router, transport, inbox = made()
    for peer in (STRANGER, OTHER):
        router.peer_up(peer)
    transport.here = [*VALIDATORS[1:], OTHER]
    router.forget(VALIDATORS.__contains__)
    assert set(router.identities.values()) == {*VALIDATORS, OTHER}
    router.misbehaved(Peer(4), "it was the stranger")
    assert transport.banned == []
    router.peer_up(STRANGER)
    assert inbox.events[-1] == PeerUp(Peer(6))


def test_messages_go_to_whom_they_are_for() -> None:
    router, transport, _ = made()
    router.send(Peer(3), NotFound(view=View(1), key=ZERO_HASH))
    router.send(Peer(77), NotFound(view=View(1), key=ZERO_HASH))
    assert [(peer, decode_message(frame)) for peer, _, frame in transport.sent] == [
        (VALIDATORS[3], NotFound(view=View(1), key=ZERO_HASH))
    ]
    router.broadcast(NotFound(view=View(1), key=ZERO_HASH))
    assert [decode_message(frame) for _, frame in transport.shouted] == [
        NotFound(view=View(1), key=ZERO_HASH)
    ]


def certificate(view: int, ctype: CertificateType, block: int, signer: int = 0) -> Certificate:
    sig = LeaderSignature(block=Hash(bytes([block]) * 32), sig=Signature(bytes([signer]) * 64))
    return Certificate(
        ctype=int(ctype),
        epoch=Epoch(1),
        view=View(view),
        block=Hash(bytes([block]) * 32),
        groups=(),
        fault=None,
        leader_sigs=(sig,),
    )


def proposal(support: tuple[Certificate, ...], payload_bytes: int) -> Proposal:
    header = Header(
        epoch=Epoch(1),
        view=View(9),
        height=Height(9),
        parent_hash=ZERO_HASH,
        parent_view=View(8),
        proposer=ValidatorIndex(0),
        time_ms=Milliseconds(0),
        payload_root=ZERO_HASH,
        payload_len=payload_bytes,
        tx_count=0,
        state_root=ZERO_HASH,
        validators_hash=ZERO_HASH,
        next_validators_hash=ZERO_HASH,
        flags=0,
    )
    sig = Signature(bytes(64))
    return Proposal(header=header, leader_sig=sig, payload=bytes(payload_bytes), support=support, vote=None)


CERTIFICATES = st.builds(
    certificate, st.integers(1, 2), st.sampled_from(CertificateType), st.integers(1, 2), st.integers(0, 1)
)


def settles(each: Certificate) -> tuple[int, int, Hash]:
    return each.view, each.ctype, each.block


@given(
    said=st.lists(st.tuples(st.sampled_from(VALIDATORS[1:]), st.booleans(), CERTIFICATES), max_size=6),
    gone=st.sets(st.sampled_from(VALIDATORS[1:])),
    mine=st.lists(CERTIFICATES, min_size=1, max_size=3),
    support=st.none() | st.tuples(CERTIFICATES),
    payload_bytes=st.sampled_from([0, SMALL_PROPOSAL_BYTES + 1]),
)
@settings(max_examples=100, deadline=None)
def test_a_certificate_goes_to_all_but_those_who_have_it(said, gone, mine, support, payload_bytes) -> None:
    router, transport, _ = made()
    newest: dict[PeerId, Certificate] = {}
    for peer, with_proposal, each in said:
        message = proposal((each,), 0) if with_proposal else each
        trio.run(router.receive, peer, Lane.CONSENSUS, encode_message(message))
        newest[peer] = each
    for peer in gone:  # what it had may be lost with it
        router.peer_down(peer, "gone")
        newest.pop(peer, None)
    own = [] if support is None else [proposal(support, payload_bytes)]
    router.broadcast(*mine, *own)
    # a proposal with a large body comes later than what is small: nothing may wait for it
    riding = {settles(each) for each in support or ()} if payload_bytes == 0 else set()
    for peer in VALIDATORS[1:]:
        has = riding | ({settles(newest[peer])} if peer in newest else set())
        got = [decode_message(frame) for to, _, frame in transport.sent if to == peer]
        assert got == [*(each for each in mine if settles(each) not in has), *own]


@given(sizes=st.lists(st.integers(1, 100_000), min_size=1, max_size=40), many=st.integers(0, 1_200))
@settings(max_examples=30, deadline=None)
def test_batches_are_bounded_and_lose_nothing(sizes, many) -> None:
    router, transport, _ = made()
    raws = [b"%06d" % index + bytes(size) for index, size in enumerate([*sizes, *([1] * many)])]
    router.flood(raws)
    for peer in VALIDATORS[1:]:
        frames = [frame for to, lane, frame in transport.sent if to == peer and lane is Lane.TRANSACTIONS]
        batches = [decode(TransactionBatch, each, limit=MAX_BATCH_BYTES).transactions for each in frames]
        assert [raw for batch in batches for raw in batch] == raws
        for batch in batches:
            assert len(batch) <= BATCH_TRANSACTIONS
            assert len(batch) == 1 or sum(map(len, batch)) <= BATCH_BYTES


def test_who_floods_most_keeps_nobody_elses_transactions_out() -> None:
    router, _, _ = made()
    loud, quiet = VALIDATORS[1:3]

    def batch(number: int) -> bytes:
        return encode(TransactionBatch(transactions=(b"%d" % number,)))

    async def run() -> None:
        for number in range(3 * INTAKE_BATCHES):
            await router.receive(loud, Lane.TRANSACTIONS, batch(number))
        await router.receive(quiet, Lane.TRANSACTIONS, batch(999))
        taken = [await router.take_batch() for _ in range(INTAKE_PER_PEER + 1)]
        assert taken[-1] == (b"999",)
        assert router.dropped_batches == 3 * INTAKE_BATCHES - INTAKE_PER_PEER
        await router.receive(loud, Lane.TRANSACTIONS, batch(1_000))  # and has its turn again
        assert await router.take_batch() == (b"1000",)
        assert not router._intake

    trio.run(run)


def test_a_batch_counts_once_and_what_is_too_much_is_dropped() -> None:
    router, transport, _ = made()

    async def run() -> None:
        frames = [
            encode(TransactionBatch(transactions=(b"%d" % index,))) for index in range(INTAKE_BATCHES + 5)
        ]
        peers = [PeerId(bytes([index]) * 32) for index in range(INTAKE_BATCHES + 5)]
        for frame, peer in zip(frames, peers, strict=True):
            for sender in (peer, *VALIDATORS[1:]):
                await router.receive(sender, Lane.TRANSACTIONS, frame)
        assert router.dropped_batches == 5
        taken = [await router.take_batch() for _ in range(INTAKE_BATCHES)]
        assert taken == [(b"%d" % index,) for index in range(INTAKE_BATCHES)]
        with trio.move_on_after(0.01) as scope:
            await router.take_batch()
        assert scope.cancelled_caught

    trio.run(run)
    assert transport.banned == []


def test_peers_that_catch_up_are_served_one_after_the_other() -> None:
    asked: list[tuple[int, int]] = []

    def serve(first: int, last: int) -> Chain:
        asked.append((first, last))
        return Chain(first=Height(first), blocks=(), proof=None)

    router, transport, _ = made(serve)
    peers = [router.number(PeerId(index.to_bytes(32, "big"))) for index in range(SERVE_REQUESTS + 3)]
    served = range(1, SERVE_REQUESTS + 1)

    async def run() -> None:
        for height in range(900, 1_000):  # who asks again and again has one place, for what it asked last
            router.serve_chain(ServeChain(peers[0], Height(height), Height(1_000)))
        for index, peer in enumerate(peers):  # the last ones must ask again
            router.serve_chain(ServeChain(peer, Height(index + 1), Height(1_000)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.run_server)
            while len(transport.sent) < SERVE_REQUESTS:  # noqa: ASYNC110
                await trio.sleep(0.001)
            await trio.sleep(0.02)
            nursery.cancel_scope.cancel()

    trio.run(run)
    assert asked == [(first, 1_000) for first in served]
    assert {lane for _, lane, _ in transport.sent} == {Lane.BLOCKS}


def evidence_frame(view: int) -> bytes:
    statement = SignedStatement(kind=6, block=ZERO_HASH, aux=ZERO_HASH, sig=Signature(bytes(64)))
    evidence = Evidence(
        epoch=Epoch(1), view=View(view), signer=ValidatorIndex(2), first=statement, second=statement
    )
    return encode(EvidenceNotice(evidence=evidence))


def test_good_evidence_goes_on_to_who_lacks_it_and_false_evidence_bans_who_sent_it() -> None:
    pool = FakePool()
    router, transport, _ = made(pool=pool)
    good, known, false = (evidence_frame(view) for view in (1, 2, 3))
    for _ in range(2):  # the second copy of a frame costs one hash
        trio.run(router.receive, VALIDATORS[1], Lane.TRANSACTIONS, good)
    assert [(peer, frame) for peer, _, frame in transport.sent] == [
        (VALIDATORS[2], good),
        (VALIDATORS[3], good),
    ]
    pool.verdict = False
    trio.run(router.receive, VALIDATORS[1], Lane.TRANSACTIONS, known)
    pool.verdict = "evidence that convicts nobody"
    trio.run(router.receive, STRANGER, Lane.TRANSACTIONS, false)
    assert len(transport.sent) == 2
    assert transport.banned == [(STRANGER, "evidence that convicts nobody")]


def test_a_peer_that_connects_is_handed_all_evidence() -> None:
    pool = FakePool()
    router, transport, _ = made(pool=pool)
    trio.run(router.receive, VALIDATORS[1], Lane.TRANSACTIONS, evidence_frame(1))
    transport.sent.clear()
    router.peer_up(OTHER)
    assert transport.sent == [(OTHER, Lane.TRANSACTIONS, evidence_frame(1))]
