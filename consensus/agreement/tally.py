"""What one view's votes add up to: the predicates of CONSENSUS.md section 5 and the certificates they make.

Holds only verified votes. Stakes are summed as votes come in, so asking is cheap.
"""

from consensus.agreement.certificates import (
    Signers,
    enough,
    leader_fault,
    pack_group,
    pack_leader_sigs,
)
from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    Group,
    Justification,
    Kind,
    LeaderFault,
    Vote,
)
from consensus.agreement.thresholds import Mode
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, Signature, View

SKIP_BLOCK = ZERO_HASH
MAX_STATEMENTS = 12  # verified votes of one signer in one view that are kept: 6 honest, as many in conflict

VoteKey = tuple[int, Hash, Hash]


class Tally:
    """The verified votes of one view.

    `first` maps a validator to the block of its first vote, SKIP_BLOCK for SKIP; only the first that came
    counts. `held` keeps every signature by signer, also the conflicting ones that count for nothing.
    """

    __slots__ = (
        "_validators",
        "epoch",
        "fault",
        "fin",
        "fin_stake",
        "first",
        "first_stake",
        "held",
        "leader",
        "leader_sigs",
        "limits",
        "nfall",
        "sfall",
        "support_stake",
        "view",
    )

    def __init__(self, validators: ValidatorSet, epoch: Epoch, view: View) -> None:
        self._validators = validators
        self.epoch = epoch
        self.view = view
        self.leader = validators.leader(view)
        self.limits = validators.thresholds(view)
        self.first: dict[int, Hash] = {}
        self.first_stake = 0
        self.support_stake: dict[Hash, int] = {}  # by block; SKIP_BLOCK for SKIP
        self.nfall: dict[Hash, dict[int, Hash]] = {}  # block -> signer -> aux
        self.sfall: dict[int, Hash] = {}
        self.fin: dict[Hash, set[int]] = {}
        self.fin_stake: dict[Hash, int] = {}
        self.held: dict[int, dict[VoteKey, Signature]] = {}
        self.leader_sigs: dict[Hash, Signature] = {}
        self.fault: LeaderFault | None = None

    def copy(self) -> "Tally":
        """An independent copy."""
        twin = Tally(self._validators, self.epoch, self.view)
        twin.first = dict(self.first)
        twin.first_stake = self.first_stake
        twin.support_stake = dict(self.support_stake)
        twin.nfall = {block: dict(votes) for block, votes in self.nfall.items()}
        twin.sfall = dict(self.sfall)
        twin.fin = {block: set(votes) for block, votes in self.fin.items()}
        twin.fin_stake = dict(self.fin_stake)
        twin.held = {signer: dict(votes) for signer, votes in self.held.items()}
        twin.leader_sigs = dict(self.leader_sigs)
        twin.fault = self.fault
        return twin

    # --- taking votes in

    def holds(self, vote: Vote) -> bool:
        """Whether this very vote was verified before; attachments are not compared."""
        held = self.held.get(vote.signer)
        return held is not None and (vote.kind, vote.block, vote.aux) in held

    def is_full(self, signer: int) -> bool:
        """Whether so much is held of a signer that nothing more is of use."""
        return len(self.held.get(signer, ())) >= MAX_STATEMENTS

    def add(self, signer: int, key: VoteKey, sig: Signature) -> bool:
        """Count a verified vote; False if it is held, counts for nothing, or would be one too many."""
        held = self.held.setdefault(signer, {})
        if key in held or len(held) >= MAX_STATEMENTS:
            return False
        held[key] = sig
        kind, block, aux = key
        stake = self._validators.stakes[signer]
        if kind in (Kind.NOTARIZE, Kind.SKIP):
            if signer in self.first:
                return False
            self.first[signer] = block
            self.first_stake += stake
            self.support_stake[block] = self.support_stake.get(block, 0) + stake
        elif kind == Kind.FINALIZE:
            if any(signer in votes for votes in self.fin.values()):
                return False
            self.fin.setdefault(block, set()).add(signer)
            self.fin_stake[block] = self.fin_stake.get(block, 0) + stake
        elif kind == Kind.SFALL:
            return self.sfall.setdefault(signer, block) == block
        elif sum(signer in votes for votes in self.nfall.values()) >= 3:
            return False
        else:
            return self.nfall.setdefault(block, {}).setdefault(signer, aux) == aux
        return True

    def add_leader_sig(self, block: Hash, sig: Signature, *, needed: bool = False) -> bool:
        """Note a verified PROPOSE signature; True if it completes a LeaderFault.

        After two, which prove the fault, only those are kept that are `needed`, because a vote that is held
        or the own block is worth nothing without: so there are as few of them as of votes.
        """
        if block in self.leader_sigs or (self.fault is not None and not needed):
            return False
        self.leader_sigs[block] = sig
        if self.fault is not None or len(self.leader_sigs) < 2:
            return False
        self.fault = leader_fault(self.leader_sigs)
        return True

    # --- the predicates of section 5

    @property
    def threshold(self) -> int:
        """thr(v): T, or TE once the leader is proven faulty."""
        return self.limits.fallback if self.fault is None else self.limits.fallback_equivocated

    def support(self, block: Hash) -> int:
        """support(v, B), without the leader's vote once it is proven faulty."""
        stake = self.support_stake.get(block, 0)
        if self.fault is not None and self.first.get(self.leader) == block:
            stake -= self.limits.leader_stake
        return stake

    def conflict(self, block: Hash) -> int:
        """conflict(v, X): first votes for SKIP or another block."""
        stake = self.first_stake - self.support_stake.get(block, 0)
        if self.fault is not None and self.first.get(self.leader, block) != block:
            stake -= self.limits.leader_stake
        return stake

    def supported(self) -> list[Hash]:
        """The blocks that any first vote is for, sorted."""
        return sorted(block for block in self.support_stake if block != SKIP_BLOCK)

    def voters_for(self, block: Hash) -> list[int]:
        """Who first-voted or fell back to `block`, and so has its body; ascending."""
        voters = {signer for signer, voted in self.first.items() if voted == block}
        return sorted(voters | set(self.nfall.get(block, ())) | self.fin.get(block, set()))

    # --- certificates

    def assemble_fast(self, block: Hash) -> Certificate | None:
        """FastFinal, if `block` has the fast quorum."""
        if self.support_stake.get(block, 0) < self.limits.fast:
            return None
        return self._notarize_certificate(CertificateType.FAST_FINAL, block)

    def assemble_notarization(self, block: Hash) -> Certificate | None:
        """Notarization, if `block` has a quorum."""
        if self.support_stake.get(block, 0) < self._validators.stake.quorum:
            return None
        return self._notarize_certificate(CertificateType.NOTARIZATION, block)

    def assemble_final(self, block: Hash) -> Certificate | None:
        """Final, if a quorum finalised `block`."""
        if self.fin_stake.get(block, 0) < self._validators.stake.quorum:
            return None
        sigs = self._sigs((int(Kind.FINALIZE), block, ZERO_HASH), self.fin[block])
        return self._certificate(
            CertificateType.FINAL, block, [self._group(Kind.FINALIZE, block, ZERO_HASH, sigs)]
        )

    def assemble_fallback(self, block: Hash) -> Certificate | None:
        """Fallback, if a quorum notarised `block` or fell back to it, and justifiably so.

        Votes whose reason relied on another first vote of an equivocator than the one that counts here are
        left out, so that one such vote can not spoil the rest.
        """
        fallen = self.nfall.get(block)
        if not fallen or self._validators.mode is Mode.OFF:
            return None
        support = {signer for signer, voted in self.first.items() if voted == block}
        declared = any(aux != ZERO_HASH for aux in fallen.values())
        if declared and not enough(support, self.view, self._validators, faulted=self.fault is not None):
            fallen = {signer: aux for signer, aux in fallen.items() if aux == ZERO_HASH}
            declared = False
        if self._validators.weight(support | set(fallen)) < self._validators.stake.quorum:
            return None
        groups = []
        if support:
            groups.append(self._notarize_group(block))
        for aux in sorted(set(fallen.values())):
            voters = {signer for signer, other in fallen.items() if other == aux}
            sigs = self._sigs((int(Kind.NFALL), block, aux), voters)
            groups.append(self._group(Kind.NFALL, block, aux, sigs))
        return self._certificate(
            CertificateType.FALLBACK, block, groups, fault=self.fault if declared else None
        )

    def assemble_skip(self) -> Certificate | None:
        """SkipCert, if a quorum skipped or fell back to it, and justifiably so; as in `assemble_fallback`."""
        if not self.sfall and self.support_stake.get(SKIP_BLOCK, 0) < self._validators.stake.quorum:
            return None
        skippers = {signer for signer, voted in self.first.items() if voted == SKIP_BLOCK}
        if self._validators.weight(skippers | set(self.sfall)) < self._validators.stake.quorum:
            return None
        strict = self._validators.mode is Mode.STRICT
        sfall = {
            signer: block for signer, block in self.sfall.items() if not strict or self._may_leave(block)
        }
        if self._validators.weight(skippers | set(sfall)) < self._validators.stake.quorum:
            return None
        fallen = sorted(set(sfall.values()))
        groups = []
        if strict and fallen:
            only = fallen[0] if len(fallen) == 1 else None  # its own supporters are no conflict
            groups = [self._notarize_group(block) for block in self.supported() if block != only]
        if skippers:
            sigs = self._sigs((int(Kind.SKIP), ZERO_HASH, ZERO_HASH), skippers)
            groups.append(self._group(Kind.SKIP, ZERO_HASH, ZERO_HASH, sigs))
        for block in fallen:
            voters = {signer for signer, other in sfall.items() if other == block}
            sigs = self._sigs((int(Kind.SFALL), block, ZERO_HASH), voters)
            groups.append(self._group(Kind.SFALL, block, ZERO_HASH, sigs))
        return self._certificate(
            CertificateType.SKIP, ZERO_HASH, groups, fault=self.fault if strict and fallen else None
        )

    def _may_leave(self, block: Hash) -> bool:
        """Whether the first votes that count justify SFALL(`block`)."""
        against = {signer for signer, voted in self.first.items() if voted != block}
        return enough(against, self.view, self._validators, faulted=self.fault is not None)

    def justification(self) -> Justification:
        """All first votes that are held, with sigLs and the LeaderFault: the reason for a fallback vote."""
        blocks = self.supported()
        groups = [self._notarize_group(block) for block in blocks]
        skippers = {signer for signer, voted in self.first.items() if voted == SKIP_BLOCK}
        if skippers:
            sigs = self._sigs((int(Kind.SKIP), ZERO_HASH, ZERO_HASH), skippers)
            groups.append(self._group(Kind.SKIP, ZERO_HASH, ZERO_HASH, sigs))
        return Justification(
            groups=tuple(groups),
            fault=self.fault,
            leader_sigs=pack_leader_sigs(self.leader_sigs, groups),
        )

    def _sigs(self, key: VoteKey, voters: set[int]) -> Signers:
        return {signer: self.held[signer][key] for signer in voters}

    def _group(self, kind: int, block: Hash, aux: Hash, sigs: Signers) -> Group:
        return pack_group(kind, block, aux, sigs, len(self._validators))

    def _notarize_group(self, block: Hash) -> Group:
        voters = {signer for signer, voted in self.first.items() if voted == block}
        sigs = self._sigs((int(Kind.NOTARIZE), block, ZERO_HASH), voters)
        return self._group(Kind.NOTARIZE, block, ZERO_HASH, sigs)

    def _notarize_certificate(self, ctype: CertificateType, block: Hash) -> Certificate:
        return self._certificate(ctype, block, [self._notarize_group(block)])

    def _certificate(
        self,
        ctype: CertificateType,
        block: Hash,
        groups: list[Group],
        *,
        fault: LeaderFault | None = None,
    ) -> Certificate:
        return Certificate(
            ctype=int(ctype),
            epoch=self.epoch,
            view=self.view,
            block=block,
            groups=tuple(groups),
            fault=fault,
            leader_sigs=pack_leader_sigs(self.leader_sigs, groups),
        )
