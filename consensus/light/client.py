"""From a block that is trusted to one that is final (CONSENSUS.md section 16). Pure: time is an argument.

    upon a trusted block younger than the trusting period, hops and a head:
        for each hop: its boundary block is final under the set that is trusted; the next set hashes to what
            the boundary's header names: from here on that set is trusted, in the next epoch
        the head is final under the set of its epoch: it is the block to trust from now on

Why young: validators that left long ago have their stake back and lose nothing by signing another history.
Inside the trusting period, which is shorter than unbonding, whoever signed can still be made to pay. A block
is final by Final or FastFinal alone, of its very epoch, view and hash; what FastFinal needs is computed from
the leader table, never from a header's `proposer`. A TAIL block proves only its ancestors.

A final block that can not be on one chain with the trusted one is a Conflict; `forks` says what is seen of
that, and what is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple

from consensus.agreement.certificates import SignatureChecker, verify_certificate
from consensus.agreement.messages import (
    FLAG_BOUNDARY,
    FLAG_TAIL,
    CertificateType,
    FinalityProof,
    Header,
    block_hash,
)
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import ValidatorSet, ValidatorSetRecord
from consensus.light.answers import verify_answer
from consensus.light.forks import exclude_each_other
from consensus.light.proofs import (
    MAX_HOPS_BYTES,
    EpochHop,
    FinalHead,
    LightProof,
    Question,
    Start,
    seal,
    unseal,
)
from consensus.primitives import crypto
from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import PeerFault, UserError
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Height, Milliseconds, PublicKey, Signature

CLOCK_DRIFT_MS: Final = 60_000  # that a final block's time may be ahead of the caller's clock
DAY_MS: Final = 24 * 60 * 60 * 1_000
_TAG: Final = b"PHALANX/light-state/1"


class TrustExpired(UserError):
    """The trusted block is too old to lead anywhere; the text says what to do."""


class ClockBehind(UserError):
    """A block that is final is dated ahead of the caller's clock: no honest validator would have signed it
    if the clock were right, so that the peer who showed it is not to blame."""


class Conflict(PeerFault):
    """Two blocks of one epoch that no chain holds both of, both with a valid finality proof: more than F of
    stake is guilty.

    `phalanx evidence blame` names them, given the certificates below both (CONSENSUS.md section 17.2).
    `height` is one at or above which each side has another block.
    """

    def __init__(self, known: FinalHead, other: FinalHead) -> None:
        sides = " and ".join(
            f"{block_hash(each.header).hex()} of height {each.header.height}" for each in (known, other)
        )
        super().__init__(
            f"two blocks are final that no chain holds both of: {sides}; believe neither, and keep both"
            " proofs as evidence"
        )
        self.known: Final = known
        self.other: Final = other
        shown = (*_line(known), *_line(other))
        self.height: Final = max(each.height for each in shown if not each.flags & FLAG_TAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightParameters:
    """Which network, how old a trusted block may be, and the signature predicate.

    Raises ValueError unless the trusting period is shorter than unbonding.
    """

    chain: Hash  # the genesis hash, which every signature binds
    trusting_ms: Milliseconds
    unbonding_ms: Milliseconds
    verify: Callable[[PublicKey, bytes, Signature], bool] = crypto.verify

    def __post_init__(self) -> None:
        if not 0 < self.trusting_ms < self.unbonding_ms:
            raise ValueError(
                f"a trusting period of {self.trusting_ms} ms is not below the unbonding period of "
                f"{self.unbonding_ms} ms: validators could take their stake and then sign another history"
            )


class Checkpoint(NamedTuple):
    """A block that somebody checked by other means than this client."""

    height: Height
    hash: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedState:
    """All that a client remembers: a final block, and the set that signs above it, in `epoch`.

    `epoch` is the block's own, or the next one after a boundary block. `finality` is what made the client
    believe, to be held against a conflicting proof; None for a checkpoint.
    """

    WIRE_VERSION: ClassVar[int] = 1
    chain: Hash
    header: Header
    epoch: Epoch
    validators: ValidatorSetRecord
    finality: FinalityProof | None

    @property
    def height(self) -> Height:
        """Of the trusted block."""
        return self.header.height

    @property
    def hash(self) -> Hash:
        """Of the trusted block."""
        return block_hash(self.header)

    @property
    def time_ms(self) -> Milliseconds:
        """Of the trusted block: from here the trusting period counts."""
        return self.header.time_ms


def encode_trusted_state(state: TrustedState) -> bytes:
    """The bytes of a client's file."""
    return seal(_TAG, encode(state))


def decode_trusted_state(data: bytes) -> TrustedState:
    """The state in a client's file, which is the client's own. Raises DecodeError."""
    return decode(TrustedState, unseal(_TAG, data), limit=MAX_HOPS_BYTES)


# --- what to trust first


def begin(start: Start, checkpoint: Checkpoint, parameters: LightParameters) -> TrustedState:
    """Trust the checkpoint, of which a node sent header and set. Raises PeerFault if they are not of it."""
    if (start.header.height, block_hash(start.header)) != (checkpoint.height, checkpoint.hash):
        raise PeerFault("the proof starts from another block than the trusted one")
    epoch = start.header.epoch
    _set_of(start.validators, start.header.validators_hash, epoch, parameters)
    return TrustedState(
        chain=parameters.chain, header=start.header, epoch=epoch, validators=start.validators, finality=None
    )


def check_age(trusted: TrustedState, parameters: LightParameters, now_ms: Milliseconds) -> None:
    """Raises TrustExpired unless the trusted block is younger than the trusting period."""
    age_ms = now_ms - trusted.time_ms
    if age_ms < parameters.trusting_ms:
        return
    what = "genesis" if trusted.height == 0 else f"the trusted block {trusted.height}"
    raise TrustExpired(
        f"{what} is {age_ms / DAY_MS:.1f} days old, past the trusting period of "
        f"{parameters.trusting_ms / DAY_MS:.1f} days: those who signed since may have no stake left to lose;"
        " give --trusted HEIGHT:HASH of a block you checked yourself, younger than that: with several"
        " operators, or with a node of your own"
    )


# --- going on


def advance(
    trusted: TrustedState,
    hops: Sequence[EpochHop],
    head: FinalHead,
    parameters: LightParameters,
    now_ms: Milliseconds,
) -> TrustedState:
    """The state that trusts `head`, reached from `trusted` by `hops`.

    Raises TrustExpired, ClockBehind, PeerFault that names what does not hold, or its kind Conflict where
    `head` and the trusted block can not both be final.
    """
    check_age(trusted, parameters, now_ms)
    if trusted.chain != parameters.chain:
        raise PeerFault("the trusted block is of another network")
    here = trusted
    for hop in hops:
        here = _hop(here, hop, parameters, now_ms)
    return _step(here, head, parameters, now_ms)


def advance_hops(
    trusted: TrustedState, hops: Sequence[EpochHop], parameters: LightParameters, now_ms: Milliseconds
) -> TrustedState:
    """As `advance`, but to the beginning of the epoch that the last hop leads to: where more hops follow."""
    check_age(trusted, parameters, now_ms)
    here = trusted
    for hop in hops:
        here = _hop(here, hop, parameters, now_ms)
    return here


def verify_light_proof(
    proof: LightProof,
    question: Question,
    checkpoint: Checkpoint,
    parameters: LightParameters,
    now_ms: Milliseconds,
) -> tuple[TrustedState, bytes | None]:
    """What a bundle shows to who trusts `checkpoint` and asks `question`: the head to trust, and the value.

    Raises TrustExpired, ClockBehind, or PeerFault that names what does not hold.
    """
    if proof.chain != parameters.chain:
        raise PeerFault("the proof is of another network")
    trusted = begin(proof.start, checkpoint, parameters)
    head = advance(trusted, proof.hops, proof.proven.head, parameters, now_ms)
    return head, verify_answer(proof.proven.answer, question, head.header.state_root)


def verify_final(
    head: FinalHead, epoch: Epoch, validators: ValidatorSet, parameters: LightParameters
) -> None:
    """Raises PeerFault unless the block of `head` is final under this set (section 16)."""
    header = head.header
    if header.flags & FLAG_TAIL:
        raise PeerFault("a TAIL block is no part of the chain: it only proves its ancestors")
    if header.flags not in (0, FLAG_BOUNDARY):
        raise PeerFault("a block with flags that mean nothing")
    if header.epoch != epoch or header.validators_hash != validators.validators_hash:
        raise PeerFault(f"block {header.height} is not of epoch {epoch} and its validator set")
    if (header.flags == FLAG_BOUNDARY) != (header.next_validators_hash != ZERO_HASH):
        raise PeerFault("a boundary block names the next set, and no other block does")
    top = header
    for above in head.finality.path:
        if above.parent_hash != block_hash(top) or above.height != top.height + 1:
            raise PeerFault("the headers of the finality proof do not link")
        if above.epoch != epoch or above.parent_view != top.view or above.view <= top.view:
            raise PeerFault("the headers of the finality proof leave their epoch or its order of views")
        if bool(above.flags & FLAG_TAIL) != bool(top.flags & (FLAG_BOUNDARY | FLAG_TAIL)):
            raise PeerFault("a boundary block is followed by TAIL blocks, and no other block is")
        top = above
    certificate = head.finality.certificate
    if certificate.ctype not in (CertificateType.FINAL, CertificateType.FAST_FINAL):
        raise PeerFault("the certificate makes no block final")
    named = (certificate.epoch, certificate.view, certificate.block)
    if named != (top.epoch, top.view, block_hash(top)):
        raise PeerFault("the finality certificate is for another block")
    check = SignatureChecker(
        chain_id_hash=parameters.chain, epoch=epoch, keys=validators.keys, verify=parameters.verify
    )
    verify_certificate(certificate, validators, check)


def hold_against(trusted: TrustedState, head: FinalHead, parameters: LightParameters) -> None:
    """Look whether a block that leads nowhere new, because it is below the trusted one, is on another chain.

    Raises PeerFault if it is not final in the trusted block's epoch, and Conflict, or PeerFault where what is
    trusted came without a proof, if the two can not both be.
    """
    verify_final(
        head, trusted.epoch, _set_of(trusted.validators, None, trusted.epoch, parameters), parameters
    )
    _check_one_chain(trusted, head)


# --- steps


def _hop(
    here: TrustedState, hop: EpochHop, parameters: LightParameters, now_ms: Milliseconds
) -> TrustedState:
    boundary = hop.boundary.header
    if boundary.flags != FLAG_BOUNDARY:
        raise PeerFault("a hop over a block that ends no epoch")
    ended = _step(here, hop.boundary, parameters, now_ms)
    epoch = Epoch(here.epoch + 1)
    _set_of(hop.validators, boundary.next_validators_hash, epoch, parameters)
    return replace(ended, epoch=epoch, validators=hop.validators)


def _step(
    here: TrustedState, head: FinalHead, parameters: LightParameters, now_ms: Milliseconds
) -> TrustedState:
    """Trust a block of the epoch that `here` is in."""
    header = head.header
    validators = _set_of(here.validators, None, here.epoch, parameters)
    verify_final(head, here.epoch, validators, parameters)
    _check_one_chain(here, head)
    if header.height < here.height:
        raise PeerFault(
            f"block {header.height} is below the trusted block {here.height}, which does not lead down to it"
        )
    if header.time_ms < here.time_ms:
        raise PeerFault(f"block {header.height} is dated before the block that it follows")
    if header.time_ms > now_ms + CLOCK_DRIFT_MS:
        ahead_s = (header.time_ms - now_ms) // 1_000
        raise ClockBehind(
            f"block {header.height} is final and dated {ahead_s} s from now: set this machine's clock"
        )
    return TrustedState(
        chain=here.chain,
        header=header,
        epoch=here.epoch,
        validators=here.validators,
        finality=head.finality,
    )


def _check_one_chain(here: TrustedState, head: FinalHead) -> None:
    """Raises Conflict, or PeerFault without a proof of the same epoch to set beside it, if a final block can
    not be on one chain with the trusted one."""
    known = None
    if here.finality is not None and here.header.epoch == head.header.epoch:
        known = FinalHead(header=here.header, finality=here.finality)
    if not exclude_each_other((here.header,) if known is None else _line(known), _line(head)):
        return
    if known is None:
        raise PeerFault(
            f"block {head.header.height} is final, but another one is trusted at height {here.height}"
        )
    raise Conflict(known, head)


def _line(head: FinalHead) -> tuple[Header, ...]:
    return (head.header, *head.finality.path)


def _set_of(
    record: ValidatorSetRecord, committed: Hash | None, epoch: Epoch, parameters: LightParameters
) -> ValidatorSet:
    """The set of a record. Raises PeerFault if it is none, or another one than what was committed to."""
    try:
        validators = _derive(record, parameters.chain, epoch)
    except ValueError as error:
        raise PeerFault(f"no validator set: {error}") from None
    if committed is not None and validators.validators_hash != committed:
        raise PeerFault(f"the validator set of epoch {epoch} is not the one that its header names")
    return validators


@lru_cache(maxsize=4)
def _derive(record: ValidatorSetRecord, chain: Hash, epoch: Epoch) -> ValidatorSet:
    """A hop meets each set twice, and at 200 validators its leader table costs more than a certificate."""
    return ValidatorSet(
        record.validators,
        chain_id_hash=chain,
        epoch=epoch,
        mode=Mode(record.mode),
        window=record.window,
        leader_seed=record.leader_seed,
    )
