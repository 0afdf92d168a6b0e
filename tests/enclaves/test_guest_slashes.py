"""Slashes in the example chain: held for a window, refuted by proof, in effect, lifted."""

from dataclasses import replace

import pytest
from guest_tools import Agora

from consensus.agreement.evidence import SignedStatement, declared_first_vote, evidence_from, offence
from consensus.agreement.messages import Kind, sign_bytes
from consensus.agreement.validators import Validator, ValidatorSetRecord, root_of
from consensus.light.slashing_proof import FAULT_BYTES, fault_bytes, fault_hash
from consensus.primitives.crypto import SigningKey
from consensus.primitives.guest import ChainEndpoint, RelayEndpoint
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, SecretSeed, Stake, ValidatorIndex, View
from consensus.relay.notices.records import NoticeKind, SetNotice, SlashNotice, next_digest
from enclaves.guests import agora
from enclaves.guests.agora import Challenge, Code, SlashState, Transfer

KEYS = [SigningKey(SecretSeed(bytes([index]) + bytes(31))) for index in range(4)]
ANN, BEN, CULPRIT, SIGNER = (key.public for key in KEYS)
DOMAIN = agora.domain("slashes")
GENESIS = bytes([7]) * 32
WINDOW_MS = 1_000
NOW_MS = 1_700_000_000_000
RELAY = RelayEndpoint()
A, B = bytes([1]) * 32, bytes([2]) * 32
EPOCH = Epoch(5)


@pytest.fixture
def chain() -> Agora:
    pairs = agora.genesis_pairs(DOMAIN, {ANN: 100, CULPRIT: 100}, None, WINDOW_MS)
    return Agora(7, dict(pairs))


def fault(pair=((Kind.NOTARIZE, A, ZERO_HASH), (Kind.NOTARIZE, B, ZERO_HASH)), *, epoch=EPOCH, second_view=9):
    """The fixed-width bytes of two votes of the signer, whatever they say."""
    parts = [SIGNER]
    for view, (kind, block, aux) in zip((9, second_view), pair, strict=True):
        message = sign_bytes(GENESIS, kind, epoch, view, block, aux)
        parts += (KEYS[3].sign(message), message)
    return b"".join(parts)


def slash(number=0, *, amount=50, fault_of=None, kind=NoticeKind.SLASH, epoch=EPOCH) -> SlashNotice:
    found = SlashNotice(
        kind=int(kind),
        number=number,
        account=CULPRIT,
        key=SIGNER,
        epoch=epoch,
        offence=2,
        fraction_ppb=50_000_000,
        amount=amount,
        height=77,
        fault=ZERO_HASH if fault_of is None else fault_hash(fault_of),
        digest=ZERO_HASH,
    )
    return replace(found, digest=next_digest(ZERO_HASH, found.body()))


def tell(chain: Agora, *notices, at=NOW_MS) -> tuple[Code, ...]:
    return chain.block([(RELAY, each.payload()) for each in notices], [], at)[0].messages


def sent(chain: Agora, key: int, nonce: int, action: agora.Action, at=NOW_MS) -> Code:
    raw = agora.sign_transaction(KEYS[key], DOMAIN, nonce, action)
    return chain.block([], [raw], at)[0].transactions[0]


def record(chain: Agora, epoch=EPOCH) -> agora.SlashRecord:
    return agora.decode_slash(chain.state[agora.slash_key(CULPRIT, epoch)])


def pay(chain: Agora, nonce: int, at: int) -> Code:
    return sent(chain, 2, nonce, Transfer(to=BEN, amount=1), at)


def test_a_slash_waits_for_its_window_and_then_freezes_the_account(chain: Agora) -> None:
    notice = slash(fault_of=fault())
    assert tell(chain, notice) == (Code.OK,)
    assert record(chain) == agora.SlashRecord(
        key=SIGNER,
        fault=notice.fault,
        amount=50,
        due_ms=NOW_MS + WINDOW_MS,
        number=0,
        offence=2,
        state=SlashState.PENDING,
    )
    assert pay(chain, 0, NOW_MS + WINDOW_MS - 1) == Code.OK
    assert pay(chain, 1, NOW_MS + WINDOW_MS) == Code.FROZEN
    assert record(chain).state is SlashState.IN_EFFECT
    assert chain.account(CULPRIT) == agora.Account(balance=99, nonce=1)
    assert sent(chain, 0, 0, Transfer(to=CULPRIT, amount=1)) == Code.OK  # it may still receive


def test_only_the_relay_chain_can_tell_of_a_slash(chain: Agora) -> None:
    before = dict(chain.state)
    payload = slash().payload()
    result, _ = chain.block(
        [(ChainEndpoint(chain=0), payload), (ChainEndpoint(chain=7), payload)], [], NOW_MS
    )
    assert result.messages == (Code.UNKNOWN_SOURCE, Code.UNKNOWN_SOURCE)
    assert chain.state == before


@pytest.mark.parametrize("cut", [0, 1, 173, 175, 125, 127])
def test_a_notice_of_another_form_is_refused(chain: Agora, cut: int) -> None:
    before = dict(chain.state)
    for first in (1, 2, 3, 4):
        payload = (bytes([first]) + slash().payload()[1:] + bytes(10))[:cut]
        assert chain.block([(RELAY, payload)], [], NOW_MS)[0].messages == (Code.MALFORMED,)
    assert chain.state == before


def test_a_true_fault_can_not_be_challenged(chain: Agora) -> None:
    tell(chain, slash(fault_of=fault()))
    challenge = Challenge(account=CULPRIT, epoch=EPOCH, fault=fault())
    assert sent(chain, 0, 0, challenge) == Code.PROOF_HOLDS
    assert record(chain).state is SlashState.PENDING


HONEST = ((Kind.NOTARIZE, A, ZERO_HASH), (Kind.FINALIZE, A, ZERO_HASH))
FALSE = {
    "an honest pair": fault(HONEST),
    "one vote twice": fault(((Kind.SKIP, ZERO_HASH, ZERO_HASH),) * 2),
    "two views": fault(second_view=10),
    "another epoch": fault(epoch=6),
    "another key": ANN + fault()[32:],
    "a bad first signature": fault()[:40] + b"\xff" + fault()[41:],
    "a bad second signature": fault()[:230] + b"\xff" + fault()[231:],
    "another domain": fault()[:96] + b"tALLY" + fault()[101:],
    "nothing": bytes(FAULT_BYTES),
}


@pytest.mark.parametrize("false", FALSE.values(), ids=FALSE)
def test_what_convicts_nobody_refutes_its_slash(chain: Agora, false: bytes) -> None:
    tell(chain, slash(fault_of=false))
    assert sent(chain, 0, 0, Challenge(account=CULPRIT, epoch=EPOCH, fault=false)) == Code.OK
    assert record(chain).state is SlashState.REFUTED
    assert pay(chain, 0, NOW_MS + WINDOW_MS) == Code.OK
    assert record(chain).state is SlashState.REFUTED


def test_a_challenge_brings_what_the_notice_names_and_comes_in_time(chain: Agora) -> None:
    false = fault(HONEST)
    challenge = Challenge(account=CULPRIT, epoch=EPOCH, fault=false)
    assert sent(chain, 0, 0, challenge) == Code.NO_SLASH
    tell(chain, slash(fault_of=false))
    assert sent(chain, 0, 1, replace(challenge, fault=fault())) == Code.OTHER_PROOF
    assert sent(chain, 0, 2, replace(challenge, epoch=Epoch(6))) == Code.NO_SLASH
    assert sent(chain, 0, 3, challenge, NOW_MS + WINDOW_MS) == Code.NO_SLASH
    assert record(chain).state is SlashState.IN_EFFECT


def test_a_slash_without_a_fault_can_be_lifted_by_the_relay_chain_alone(chain: Agora) -> None:
    tell(chain, slash())
    assert sent(chain, 0, 0, Challenge(account=CULPRIT, epoch=EPOCH, fault=bytes(FAULT_BYTES))) == (
        Code.OTHER_PROOF
    )
    assert tell(chain, slash(1, amount=50, kind=NoticeKind.LIFTED)) == (Code.OK,)
    assert record(chain).state is SlashState.LIFTED
    assert pay(chain, 0, NOW_MS + WINDOW_MS) == Code.OK


def test_lifting_what_is_in_effect_thaws_the_account_once_nothing_is_left(chain: Agora) -> None:
    tell(chain, slash(0, amount=50), slash(1, amount=20), slash(2, amount=5, epoch=Epoch(6)))
    late = NOW_MS + WINDOW_MS
    assert pay(chain, 0, late) == Code.FROZEN
    assert record(chain).amount == 70
    tell(chain, slash(3, amount=30, kind=NoticeKind.LIFTED), at=late)
    assert record(chain).state is SlashState.IN_EFFECT
    tell(chain, slash(4, amount=40, kind=NoticeKind.LIFTED), at=late)
    assert record(chain).state is SlashState.LIFTED
    assert pay(chain, 0, late) == Code.FROZEN  # for the other epoch
    tell(chain, slash(5, amount=5, kind=NoticeKind.LIFTED, epoch=Epoch(6)), at=late)
    assert pay(chain, 0, late) == Code.OK
    assert tell(chain, slash(6, kind=NoticeKind.LIFTED, epoch=Epoch(9))) == (Code.NO_SLASH,)


def test_a_further_notice_opens_the_window_anew(chain: Agora) -> None:
    false = fault(HONEST)
    tell(chain, slash(fault_of=fault()))
    tell(chain, slash(1, fault_of=false), at=NOW_MS + 900)
    assert pay(chain, 0, NOW_MS + WINDOW_MS) == Code.OK
    challenge = Challenge(account=CULPRIT, epoch=EPOCH, fault=false)
    assert sent(chain, 0, 0, challenge, NOW_MS + 1_899) == Code.OK
    assert (record(chain).state, record(chain).amount) == (SlashState.REFUTED, 100)


def test_a_slash_of_nothing_freezes_nobody(chain: Agora) -> None:
    tell(chain, slash(amount=0))
    assert pay(chain, 0, NOW_MS + WINDOW_MS) == Code.OK
    assert record(chain).state is SlashState.LIFTED


def test_the_newest_set_and_what_was_missed_are_kept(chain: Agora) -> None:
    members = ValidatorSetRecord(
        validators=tuple(Validator(key=each.public, stake=Stake(9)) for each in KEYS),
        mode=0,
        window=1,
        leader_seed=Hash(A),
    )
    notice = SetNotice(epoch=Epoch(8), height=320, slashes=4, digest=Hash(B), validators=members)
    assert len(notice.payload()) == 126 + 40 * 4
    assert tell(chain, notice) == (Code.OK,)
    held = agora.decode_relay(chain.state[agora.relay_key()])
    assert held == agora.RelayRecord(
        epoch=Epoch(8), set_root=root_of(members), next_slash=4, digest=Hash(B), missed=0
    )
    tell(chain, slash(4), slash(7))
    held = agora.decode_relay(chain.state[agora.relay_key()])
    assert (held.next_slash, held.missed, held.digest) == (8, 2, slash(7).digest)


def test_many_slashes_take_effect_a_bounded_number_a_block(chain: Agora) -> None:
    tell(chain, *(slash(number, epoch=Epoch(number)) for number in range(40)))
    late = NOW_MS + WINDOW_MS
    states = []
    for _ in range(2):
        chain.block([], [], late)
        states.append(sum(record(chain, Epoch(e)).state is SlashState.IN_EFFECT for e in range(40)))
    assert states == [32, 40]


KINDS = [Kind.PROPOSE, Kind.NOTARIZE, Kind.SKIP, Kind.NFALL, Kind.SFALL, Kind.FINALIZE]
VOTES = [
    (kind, block, aux)
    for kind in KINDS
    for block in ((ZERO_HASH,) if kind is Kind.SKIP else (A, B))
    for aux in ((ZERO_HASH, A, B) if kind is Kind.NFALL else (ZERO_HASH,))
]


def test_the_guest_convicts_by_the_same_table_as_the_protocol(chain: Agora) -> None:
    """Every pair of votes about two blocks: what `agreement.evidence.offence` says, the guest says."""
    number = 0
    for one in VOTES:
        for other in VOTES:
            chain.state = dict(agora.genesis_pairs(DOMAIN, {ANN: 100}, None, WINDOW_MS))
            pair = fault((one, other))
            tell(chain, slash(fault_of=pair))
            code = sent(chain, 0, 0, Challenge(account=CULPRIT, epoch=EPOCH, fault=pair))
            expected = Code.OK if offence(one, other) is None else Code.PROOF_HOLDS
            assert code == expected, (one, other)
            number += 1
    assert number == len(VOTES) ** 2
    assert declared_first_vote(Kind.SKIP, ZERO_HASH, ZERO_HASH) is not None


def test_the_relay_chains_own_fault_bytes_are_what_the_guest_reads() -> None:
    first, second = (
        SignedStatement(
            kind=int(Kind.NOTARIZE),
            block=Hash(block),
            aux=ZERO_HASH,
            sig=KEYS[3].sign(sign_bytes(GENESIS, Kind.NOTARIZE, EPOCH, 9, block, ZERO_HASH)),
        )
        for block in (A, B)
    )
    piece = evidence_from(epoch=EPOCH, view=View(9), signer=ValidatorIndex(0), a=first, b=second)
    assert fault_bytes(piece, SIGNER, Hash(GENESIS)) == fault()
