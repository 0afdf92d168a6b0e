"""Every signature of a vote or proposal that a message carries, whoever sent it and in whatever wrapping.

Nothing is verified here: who wants to hold a signature against its signer checks it first.
"""

from collections.abc import Iterator

from consensus.agreement.certificates import members
from consensus.agreement.messages import (
    AmnesiaReply,
    Certificate,
    Chain,
    FaultNotice,
    Group,
    Justification,
    Kind,
    LeaderFault,
    LeaderSignature,
    Message,
    Proposal,
    Vote,
    block_hash,
)
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Signature, View

Key = tuple[int, Hash, Hash]  # kind, block, aux
Signed = tuple[View, int, Key, Signature]  # the signer is a validator index

_VOTES = frozenset((Kind.NOTARIZE, Kind.SKIP, Kind.NFALL, Kind.SFALL, Kind.FINALIZE))


def signed_in(message: Message, epoch: Epoch, validators: ValidatorSet) -> Iterator[Signed]:
    """The signatures in a message as far as they are of `epoch`. Raises PeerFault where a group is malformed,
    after what stands before it."""
    if isinstance(message, Vote):  # most are
        yield from _in_vote(message, epoch, validators)
        return
    match message:
        case Proposal():
            header = message.header
            if header.epoch == epoch and header.view >= 1:
                yield _proposed(header.view, block_hash(header), message.leader_sig, validators)
            if message.vote is not None:
                yield from _in_vote(message.vote, epoch, validators)
            for certificate in message.support:
                yield from in_certificate(certificate, epoch, validators)
        case Certificate():
            yield from in_certificate(message, epoch, validators)
        case FaultNotice():
            if message.epoch == epoch and message.view >= 1:
                yield from _in_fault(message.view, message.fault, validators)
        case Chain(proof=proof) if proof is not None:
            yield from in_certificate(proof.certificate, epoch, validators)
        case AmnesiaReply(certificate=certificate) if certificate is not None:
            yield from in_certificate(certificate, epoch, validators)


def in_certificate(certificate: Certificate, epoch: Epoch, validators: ValidatorSet) -> Iterator[Signed]:
    """The signatures in a certificate. Raises PeerFault where a group is malformed."""
    if certificate.epoch != epoch or certificate.view < 1:
        return
    view = certificate.view
    yield from _in_parts(view, certificate.groups, certificate.leader_sigs, certificate.fault, validators)


def in_justification(view: View, reason: Justification, validators: ValidatorSet) -> Iterator[Signed]:
    """The signatures in a justification. Raises PeerFault where a group is malformed."""
    yield from _in_parts(view, reason.groups, reason.leader_sigs, reason.fault, validators)


def well_formed(key: Key) -> bool:
    """Whether a vote of these fields can be valid: what can not is ignored, and convicts nobody."""
    kind, block, aux = key
    if kind not in _VOTES or (kind == Kind.SKIP) != (block == ZERO_HASH):
        return False
    return aux == ZERO_HASH or (kind == Kind.NFALL and aux != block)


def _in_vote(vote: Vote, epoch: Epoch, validators: ValidatorSet) -> Iterator[Signed]:
    if vote.epoch != epoch or vote.view < 1 or vote.signer >= len(validators):
        return
    key = (vote.kind, vote.block, vote.aux)
    if not well_formed(key):
        return
    yield vote.view, vote.signer, key, vote.sig
    if vote.leader_sig is not None and vote.kind == Kind.NOTARIZE:
        yield _proposed(vote.view, vote.block, vote.leader_sig, validators)
    if vote.justification is not None:
        yield from in_justification(vote.view, vote.justification, validators)


def _in_parts(
    view: View,
    groups: tuple[Group, ...],
    leader_sigs: tuple[LeaderSignature, ...],
    fault: LeaderFault | None,
    validators: ValidatorSet,
) -> Iterator[Signed]:
    count = len(validators)
    for group in groups:
        key = (group.kind, group.block, group.aux)
        if well_formed(key):
            for signer, sig in zip(members(group.bitmap, count), group.sigs, strict=False):
                yield view, signer, key, sig
    for each in leader_sigs:
        yield _proposed(view, each.block, each.sig, validators)
    if fault is not None:
        yield from _in_fault(view, fault, validators)


def _in_fault(view: View, fault: LeaderFault, validators: ValidatorSet) -> Iterator[Signed]:
    yield _proposed(view, fault.block_a, fault.sig_a, validators)
    yield _proposed(view, fault.block_b, fault.sig_b, validators)


def _proposed(view: View, block: Hash, sig: Signature, validators: ValidatorSet) -> Signed:
    return view, validators.leader(view), (int(Kind.PROPOSE), block, ZERO_HASH), sig
