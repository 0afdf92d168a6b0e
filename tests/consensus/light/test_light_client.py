"""The rules of CONSENSUS.md section 16, one by one, and the one that holds them all: nothing else passes."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light_chain import BLOCK_MS, CHAIN, DAY_MS, EPOCH_BLOCKS, GENESIS_MS, LightChain

from consensus.agreement.messages import CertificateType, FinalityProof, block_hash
from consensus.agreement.thresholds import Mode
from consensus.light.client import (
    CLOCK_DRIFT_MS,
    ClockBehind,
    Conflict,
    LightParameters,
    TrustExpired,
    advance,
    advance_hops,
    begin,
    decode_trusted_state,
    encode_trusted_state,
    hold_against,
    verify_light_proof,
)
from consensus.light.forks import exclude_each_other
from consensus.light.leaves import HeadRecord, guest_key, head_key
from consensus.light.proofs import (
    Answer,
    ChainKey,
    FinalHead,
    LightProof,
    ProvenAnswer,
    RelayKey,
    StateProof,
    decode_light_proof,
    decode_proven_answer,
    encode_light_proof,
)
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError, PeerFault
from consensus.primitives.ids import ZERO_HASH, Epoch, View
from consensus.primitives.tree import EMPTY_ROOT, MemoryStore, prove, tree_key, update

STAKES = [[5, 3, 4, 3], [5, 0, 4, 3, 6], [1, 2, 4, 3, 6, 1, 1], [4, 4, 4, 4]]
TOP = len(STAKES) * EPOCH_BLOCKS
STRICT = LightChain(STAKES)
OFF = LightChain(STAKES, mode=Mode.OFF)


def trusted(chain, height):
    return begin(chain.start(height), chain.checkpoint(height), chain.parameters)


def go(chain, state, hops, head, now_ms=None):
    return advance(state, hops, head, chain.parameters, now_ms or chain.now_ms)


# --- what is believed


@pytest.mark.parametrize("chain", [STRICT, OFF], ids=["strict", "off"])
def test_every_block_leads_to_every_block_above_it(chain) -> None:
    for low in range(TOP + 1):
        for high in range(max(low, 1), TOP + 1):
            first, last = chain.headers[low].epoch, chain.headers[high].epoch
            state = go(chain, trusted(chain, low), chain.hops(first, last), chain.head(high))
            assert (state.height, state.hash, state.epoch) == (high, block_hash(chain.headers[high]), last)
            assert state.validators == chain.sets[last - 1].record


def test_finality_through_blocks_above_and_through_tails_is_believed() -> None:
    chain = STRICT
    boundary = EPOCH_BLOCKS
    for fast in (False, True):
        for height, through in ((1, 1), (1, 3), (1, 5), (boundary, 1), (boundary, 2), (TOP, 0)):
            epochs = chain.headers[height].epoch
            head = chain.head(height, fast=fast, through=through)
            hops = chain.hops(1, epochs, fast=fast, through=2)
            assert go(chain, trusted(chain, 0), hops, head).height == height


def test_hops_may_come_in_pieces() -> None:
    chain = STRICT
    whole = go(chain, trusted(chain, 0), chain.hops(1, 4), chain.head(TOP))
    state = trusted(chain, 0)
    for epoch in range(1, 4):
        state = advance_hops(state, chain.hops(epoch, epoch + 1), chain.parameters, chain.now_ms)
        state = decode_trusted_state(encode_trusted_state(state))
        assert (state.height, state.epoch) == (epoch * EPOCH_BLOCKS, epoch + 1)
    assert go(chain, state, (), chain.head(TOP)) == whole


# --- what is not


def refused(chain, head, reason, *, hops=(), low=0):
    with pytest.raises(PeerFault, match=reason):
        go(chain, trusted(chain, low), hops, head)


def certified(head, certificate):
    return replace(head, finality=FinalityProof(path=head.finality.path, certificate=certificate))


def test_only_finality_certificates_of_the_very_block_count() -> None:
    for chain in (STRICT, OFF):
        header, head = chain.headers[2], chain.head(2)
        good = head.finality.certificate
        notarization = chain.certificate(header, CertificateType.NOTARIZATION, chain.everybody(1))
        refused(chain, certified(head, notarization), "makes no block final")
        for ctype in (CertificateType.FALLBACK, CertificateType.SKIP, 9):
            refused(chain, certified(head, replace(good, ctype=int(ctype))), "makes no block final")
        for wrong in (
            replace(good, view=View(good.view + 1)),
            replace(good, epoch=Epoch(2)),
            chain.certificate(chain.headers[3]),
        ):
            refused(chain, certified(head, wrong), "for another block")
        few = chain.quorum(1)[:-1]
        refused(chain, certified(head, chain.certificate(header, signers=few)), "too little stake")
        relabelled = replace(good, ctype=int(CertificateType.FAST_FINAL))
        refused(chain, certified(head, relabelled), "groups that its type does not have")
    fast = OFF.certificate(OFF.headers[2], CertificateType.FAST_FINAL, OFF.everybody(1))
    refused(OFF, certified(OFF.head(2), fast), "mode OFF")


def test_a_notarisation_of_mode_off_is_final_nowhere() -> None:
    """With four equal stakes it has as many votes as FastFinal needs in STRICT: the mode alone tells them
    apart, and that is part of the set that is trusted. Whoever offers it may call it what it likes."""
    stakes = [[1, 1, 1, 1]] * 2
    off, strict = LightChain(stakes, mode=Mode.OFF), LightChain(stakes)
    assert off.sets[0].stake.quorum == strict.sets[0].thresholds(View(1)).fast
    for own, other in ((off, strict), (strict, off)):
        assert own.sets[0].validators_hash != other.sets[0].validators_hash
        refused(own, other.head(2), "not of epoch 1 and its validator set")
        refused(own, other.head(2, fast=True), "not of epoch 1 and its validator set")
    for ctype in CertificateType:
        label = replace(off.certificate(off.headers[2], CertificateType.NOTARIZATION), ctype=int(ctype))
        refused(off, certified(off.head(2), label), "mode OFF|makes no block final|its type does not have")
    notarised = off.certificate(off.headers[2], CertificateType.FAST_FINAL)
    # The same votes, by who says that the network is STRICT: at the beginning, and over a boundary.
    start = replace(off.start(0), validators=strict.sets[0].record)
    with pytest.raises(PeerFault, match="not the one that its header names"):
        begin(start, off.checkpoint(0), off.parameters)
    hop = replace(off.hop(1), validators=replace(off.sets[1].record, mode=int(Mode.STRICT)))
    top = off.headers[EPOCH_BLOCKS + 1]
    head = certified(off.head(top.height), off.certificate(top, CertificateType.FAST_FINAL))
    refused(off, head, "not the one that its header names", hops=(hop,))
    relabelled = replace(off.headers[2], validators_hash=strict.sets[0].validators_hash)
    for chain in (off, strict):
        refused(chain, replace(certified(off.head(2), notarised), header=relabelled), "epoch 1|another block")


def test_what_fast_finality_needs_is_computed_not_read_from_the_header() -> None:
    """The leader's stake may be missing: who names a heavier leader than the view has gains nothing."""
    chain = LightChain([[1, 1, 10, 10, 10]])
    validators = chain.sets[0]
    parent = chain.headers[1]
    view = next(v for v in range(5, 99) if validators.stakes[validators.leader(View(v))] == 1)
    honest = chain.block(parent, 1, view, parent.view)
    lying = replace(honest, proposer=4)  # ten units of stake
    limits = validators.thresholds(View(view))
    missing = [0, 1] if limits.fast > validators.weight([2, 3, 4]) else []
    assert missing
    signers = [i for i in chain.everybody(1) if i not in missing]
    for header in (honest, lying):
        head = replace(chain.head(1), header=header)
        proof = chain.certificate(header, CertificateType.FAST_FINAL, signers)
        refused(chain, replace(head, finality=FinalityProof(path=(), certificate=proof)), "too little stake")


def test_a_tail_proves_its_ancestors_and_not_itself() -> None:
    chain = STRICT
    tail = chain.tails[1][0]
    head = replace(chain.head(EPOCH_BLOCKS), header=tail)
    proof = FinalityProof(path=(), certificate=chain.certificate(tail))
    refused(chain, replace(head, finality=proof), "only proves its ancestors")
    ordinary = chain.block(chain.headers[EPOCH_BLOCKS], 1, 40, chain.headers[EPOCH_BLOCKS].view)
    proof = FinalityProof(path=(ordinary,), certificate=chain.certificate(ordinary))
    refused(chain, replace(chain.head(EPOCH_BLOCKS), finality=proof), "followed by TAIL")
    early = chain.block(chain.headers[1], 1, 40, chain.headers[1].view, flags=2)
    proof = FinalityProof(path=(early,), certificate=chain.certificate(early))
    refused(chain, replace(chain.head(1), finality=proof), "followed by TAIL")


def test_an_epoch_is_crossed_by_its_boundary_and_its_next_set_alone() -> None:
    chain = STRICT
    good = chain.hop(1)
    top = chain.head(EPOCH_BLOCKS + 1)
    refused(chain, top, "not of epoch 1")  # no hop at all
    refused(chain, chain.head(2 * EPOCH_BLOCKS + 1), "not of epoch 1", hops=chain.hops(2, 3))
    refused(chain, top, "ends no epoch", hops=(replace(good, boundary=chain.head(2)),))
    refused(chain, top, "not of epoch 2", hops=(chain.hop(1), chain.hop(1)))
    for record in (chain.sets[0].record, replace(chain.sets[1].record, leader_seed=ZERO_HASH)):
        refused(chain, top, "not the one that its header names", hops=(replace(good, validators=record),))
    broken = replace(chain.sets[1].record, mode=9)
    refused(chain, top, "no validator set", hops=(replace(good, validators=broken),))
    unnamed = replace(good.boundary.header, next_validators_hash=ZERO_HASH)
    proof = FinalityProof(path=(), certificate=chain.certificate(unnamed))
    boundary = replace(good.boundary, header=unnamed, finality=proof)
    refused(chain, top, "names the next set", hops=(replace(good, boundary=boundary),))


def test_trust_leads_up_and_not_down() -> None:
    chain = STRICT
    refused(chain, chain.head(2), "below the trusted block", low=3)
    with pytest.raises(PeerFault, match="from another block than the trusted one"):
        begin(chain.start(3), chain.checkpoint(4), chain.parameters)
    other = replace(chain.start(3), validators=chain.sets[1].record)
    with pytest.raises(PeerFault, match="not the one that its header names"):
        begin(other, chain.checkpoint(3), chain.parameters)


def test_trust_ends_with_the_trusting_period_and_says_what_to_do() -> None:
    chain = STRICT
    end_ms = chain.headers[3].time_ms + chain.parameters.trusting_ms
    assert go(chain, trusted(chain, 3), (), chain.head(4), end_ms - 1).height == 4
    for height, name in ((3, "block 3"), (0, "genesis")):
        with pytest.raises(TrustExpired, match=rf"{name}.*--trusted HEIGHT:HASH of a block you checked"):
            go(chain, trusted(chain, height), (), chain.head(4), end_ms)
    later = chain.headers[5].time_ms + chain.parameters.trusting_ms - 1
    hops = chain.hops(2, 4)
    assert go(chain, trusted(chain, 5), hops, chain.head(TOP), later).height == TOP
    for trusting_ms in (21 * DAY_MS, 22 * DAY_MS, 0):
        with pytest.raises(ValueError, match="not below the unbonding period"):
            LightParameters(chain=CHAIN, trusting_ms=trusting_ms, unbonding_ms=21 * DAY_MS)


def test_a_block_of_the_future_is_no_anchor_for_later() -> None:
    chain = STRICT
    now_ms = GENESIS_MS + BLOCK_MS
    head = chain.head(2)
    assert go(chain, trusted(chain, 0), (), head, now_ms).height == 2
    late = replace(chain.headers[2], time_ms=now_ms + CLOCK_DRIFT_MS + 1)
    proof = FinalityProof(path=(), certificate=chain.certificate(late))
    with pytest.raises(ClockBehind, match=r"final and dated .* set this machine's clock"):
        go(chain, trusted(chain, 0), (), replace(head, header=late, finality=proof), now_ms)
    with pytest.raises(PeerFault, match="another block"):  # who can not prove it says nothing of clocks
        go(chain, trusted(chain, 0), (), replace(head, header=late), now_ms)
    before = replace(chain.headers[2], time_ms=GENESIS_MS)
    proof = FinalityProof(path=(), certificate=chain.certificate(before))
    with pytest.raises(PeerFault, match="dated before"):
        go(chain, trusted(chain, 1), (), replace(head, header=before, finality=proof), now_ms)


def test_two_final_blocks_of_one_height_are_handed_out_as_a_pair() -> None:
    chain, fork = STRICT, LightChain(STAKES, fork=b"another history")
    state = go(chain, trusted(chain, 0), (), chain.head(3))
    with pytest.raises(Conflict) as raised:
        go(chain, state, (), fork.head(3))
    assert raised.value.known == chain.head(3)
    assert raised.value.other == fork.head(3)
    refused(chain, fork.head(3), "another one is trusted", low=3)  # a checkpoint came without a proof


def test_two_final_blocks_of_different_heights_may_exclude_each_other_too() -> None:
    chain, fork = STRICT, LightChain(STAKES, fork=b"another history")

    def state(low, **options):
        return go(chain, trusted(chain, 0), (), chain.head(low, **options))

    def crowded(height, view):  # high up, in a view that leaves no room for the blocks between
        parent = replace(chain.headers[0], height=height - 1, time_ms=chain.headers[3].time_ms)
        header = chain.block(parent, 1, view + 1, view)
        return FinalHead(
            header=header, finality=FinalityProof(path=(), certificate=chain.certificate(header))
        )

    view = chain.headers[2].view
    for known, head in (
        (state(1, through=2), fork.head(3)),  # a common height, of a header above the trusted one
        (state(1, through=2), fork.head(4)),  # right above it, on another block
        (state(4), fork.head(1, through=2)),  # right below it
        (state(4), fork.head(3, through=1)),
        (state(2), crowded(5, view + 1)),
    ):
        with pytest.raises(Conflict, match="no chain holds both") as raised:
            go(chain, known, (), head)
        assert raised.value.other == head
        assert raised.value.known.header == known.header
        heights = [
            each.height for side in (raised.value.known, head) for each in (side.header, *side.finality.path)
        ]
        assert raised.value.height == max(heights)
        with pytest.raises(Conflict):
            hold_against(known, head, chain.parameters)
    room = crowded(5, view + 2)
    assert go(chain, state(2), (), room).height == 5
    hold_against(state(4), chain.head(2), chain.parameters)
    hold_against(state(4), chain.head(2, through=1), chain.parameters)
    lying = certified(fork.head(3), fork.certificate(fork.headers[3], signers=[0]))
    with pytest.raises(PeerFault, match="too little stake"):
        hold_against(state(1, through=2), lying, chain.parameters)


def test_who_was_only_told_what_to_trust_has_no_proof_to_show_beside_the_other() -> None:
    chain, fork = STRICT, LightChain(STAKES, fork=b"another history")
    refused(chain, fork.head(3), "another one is trusted at height 2", low=2)
    first = EPOCH_BLOCKS + 1  # of the second epoch, on another end of the first
    other = chain.block(fork.headers[EPOCH_BLOCKS], 2, chain.headers[first].view, 0)
    proof = FinalityProof(path=(), certificate=chain.certificate(other))
    head = replace(chain.head(first), header=other, finality=proof)
    refused(chain, head, f"another one is trusted at height {EPOCH_BLOCKS}", hops=(chain.hop(1),))


def test_a_fork_between_what_was_shown_is_not_seen() -> None:
    """The limit of a client that skips headers, as `forks` says: a witness at the same height sees it."""
    chain, fork = STRICT, LightChain(STAKES, fork=b"another history")
    state = go(chain, trusted(chain, 0), (), chain.head(1))
    assert go(chain, state, (), fork.head(3)).hash == block_hash(fork.headers[3])


@given(st.data())
def test_lines_of_one_chain_never_exclude_each_other(data) -> None:
    """Random trees of headers. Not on one chain, and with a height in common or adjoining: excluded."""
    chain = STRICT
    headers, parents = [chain.headers[0]], {}
    for step in range(data.draw(st.integers(2, 14))):
        parent = data.draw(st.sampled_from(headers))
        view = parent.view + data.draw(st.integers(1, 2))
        header = replace(chain.block(parent, 1, view, parent.view), time_ms=step)  # no two alike
        parents[header] = parent
        headers.append(header)

    def up_to(top):
        return [*up_to(parents[top]), top] if top in parents else [top]

    def line():
        whole = up_to(data.draw(st.sampled_from(headers)))
        return whole[data.draw(st.integers(0, len(whole) - 1)) :]

    one, two = line(), line()
    together = one[-1] in up_to(two[-1]) or two[-1] in up_to(one[-1])
    excluded = exclude_each_other(one, two)
    assert excluded == exclude_each_other(two, one)
    assert not (together and excluded)
    touching = one[0].height <= two[-1].height + 1 and two[0].height <= one[-1].height + 1
    assert together or excluded or not touching


# --- the whole bundle


def bundle(stakes=STAKES[:3], **options):
    """Proofs of a consumer chain's key and of an absent account, over one state, from genesis by hops."""
    guest = update(MemoryStore(), EMPTY_ROOT, {guest_key(b"k"): b"value", guest_key(b"other"): b"x" * 80})
    head = HeadRecord(
        height=7,
        head=ZERO_HASH,
        state_root=guest.root,
        time_ms=GENESIS_MS,
        relay_parent_height=3,
        enacted_height=5,
    )
    leaves = {tree_key(b"account", bytes([i]) * 32): b"balance %d" % i for i in range(6)}
    relay = update(MemoryStore(), EMPTY_ROOT, leaves | {head_key(1): encode(head)})
    chain = LightChain(stakes, state_root=relay.root, **options)
    epochs = len(stakes)
    nodes = MemoryStore(relay.added)
    question = ChainKey(chain=1, key=b"k")
    leaf = StateProof(key=head_key(1), value=encode(head), proof=prove(nodes, relay.root, head_key(1)))
    name = guest_key(b"k")
    inner = StateProof(key=name, value=b"value", proof=prove(MemoryStore(guest.added), guest.root, name))
    answer = Answer(question=question, leaf=leaf, inner=inner)
    proof = LightProof(
        chain=CHAIN,
        start=chain.start(0),
        hops=(chain.hop(1, through=1), *chain.hops(2, epochs, fast=True)),
        proven=ProvenAnswer(head=chain.head((epochs - 1) * EPOCH_BLOCKS + 1, through=1), answer=answer),
    )
    missing = RelayKey(namespace=b"account", key=b"nobody")
    key = tree_key(missing.namespace, missing.key)
    absent = StateProof(key=key, value=None, proof=prove(nodes, relay.root, key))
    absence = Answer(question=missing, leaf=absent, inner=None)
    return chain, proof, replace(proof, proven=replace(proof.proven, answer=absence))


def shown(chain, proof, question):
    return verify_light_proof(proof, question, chain.checkpoint(0), chain.parameters, chain.now_ms)


def test_a_bundle_shows_what_is_there_and_what_is_not() -> None:
    for options in ({}, {"real": True}):
        chain, present, absent = bundle(**options)
        head, value = shown(chain, present, ChainKey(chain=1, key=b"k"))
        assert (head.height, value) == (2 * EPOCH_BLOCKS + 1, b"value")
        assert shown(chain, absent, absent.proven.answer.question)[1] is None
        for question in (ChainKey(chain=1, key=b"other"), ChainKey(chain=2, key=b"k")):
            with pytest.raises(PeerFault, match="another question"):
                shown(chain, present, question)


def flips(data, bits):
    for position in range(len(data)):
        for bit in bits(position):
            yield data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def check_flips(stakes, bits) -> None:
    """Every flip is refused: by its checksum in a file, and by the rules alone where there is none."""
    chain, *proofs = bundle(stakes)
    for proof in proofs:
        question = proof.proven.answer.question
        file = encode_light_proof(proof)
        for damaged in flips(file, lambda position: [position % 8]):
            with pytest.raises(DecodeError):
                decode_light_proof(damaged)
        for damaged in flips(encode(proof), bits):
            try:
                wrong = decode(LightProof, damaged, limit=len(damaged))
                shown(chain, wrong, question)
            except (DecodeError, PeerFault):
                continue
            pytest.fail(f"a flipped bit went through: {damaged.hex()}")


def test_a_flipped_bit_in_any_byte_is_refused() -> None:
    check_flips([[1, 1, 1], [2, 1, 1, 1]], lambda position: [position * 5 % 8])


@pytest.mark.slow
def test_any_flipped_bit_is_refused() -> None:
    check_flips(STAKES[:3], lambda _: range(8))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_decoders_raise_nothing_but_their_error(data) -> None:
    _, proof, _ = PROOFS
    raw = bytearray(encode_light_proof(proof))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    for decoder in (decode_light_proof, decode_trusted_state, decode_proven_answer):
        with pytest.raises(DecodeError):
            decoder(bytes(raw) + b"\x00")


PROOFS = bundle()


def test_verifying_stands_alone() -> None:
    """What it imports is what DESIGN.md section 2 allows, and so can be carried elsewhere."""
    code = (
        "import sys, consensus.light.client;"
        "print(*sorted(name for name in sys.modules if name.split('.')[0] in"
        " ('consensus', 'enclaves', 'net', 'node', 'bench', 'trio', 'lmdb', 'wasmtime', 'random')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    agreement = {f"consensus.agreement.{name}" for name in ALLOWED_OF_AGREEMENT}
    for name in loaded:
        own = name in ("consensus", "consensus.agreement") or name in agreement
        assert own or name.split(".")[1:2] in (["primitives"], ["light"]), name


ALLOWED_OF_AGREEMENT = ("thresholds", "messages", "certificates", "leaders", "validators")
