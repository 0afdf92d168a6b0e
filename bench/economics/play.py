"""Agents take their turns on a world: what each block carries is what they make of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.economics.agents import Agent
from bench.economics.world import CHAIN, EPOCH_BLOCKS, Seat, World
from consensus.agreement.evidence import Evidence, SignedStatement, evidence_from
from consensus.agreement.messages import Kind, sign_bytes
from consensus.agreement.statements import Role, Verdict, statement_sign_bytes
from consensus.candidates.receipts import Attestation, CandidateHeader, CandidateInclusion, bitmap_of
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH, Epoch, Fuel, Hash, Height, PublicKey, ValidatorIndex, View
from consensus.relay.epochs import epoch_members, epoch_of, is_answerable
from consensus.relay.offences.veto import record_of
from consensus.relay.rewards.votes import VoteInclusion, vote_bytes, vote_inclusion

CANDIDATE_PLACE: Final = EPOCH_BLOCKS // 2  # in every epoch the block of this place decides a candidate
LAST_DAY: Final = EPOCH_BLOCKS  # blocks before evidence lapses in which it comes at the latest moment


@dataclass(frozen=True, slots=True)
class _Known:
    """Evidence that honest leaders include once it is due."""

    evidence: Evidence
    due: Callable[[World], bool]


class Play:
    """A world and those who act on it. `invalid` are the epochs whose candidate is an invalid one."""

    def __init__(self, world: World, agents: Sequence[Agent], invalid: Iterable[int] = ()) -> None:
        self.world: Final = world
        self.agents: Final = agents
        self._invalid = frozenset(invalid)
        self._seats = {each.account: (agent, each) for agent in agents for each in agent.seats}
        self._voted: dict[Hash, frozenset[PublicKey]] = {}
        self._known: list[_Known] = []
        self._statements: list[Attestation] = []
        self.convicted: set[tuple[PublicKey, Epoch]] = set()
        self.undecided = 0  # candidates that got no verdict
        self.halted = 0  # counted blocks that too few voted for: a real chain would not have had them

    def to_epoch(self, epoch: int) -> None:
        """Execute blocks until the next one is the first of `epoch`."""
        while self.world.epoch < epoch:
            self.step()

    def slashed(self, agent: Agent) -> int:
        """Units that were cut from all that stood behind an agent's validators."""
        mine = [each for each in sorted(self.convicted) if each[0] in agent.accounts]
        records = (record_of(self.world.ledger, account, epoch) for account, epoch in mine)
        return sum(each.taken for each in records if each is not None)

    def step(self) -> None:
        """One block: all agents act, then its proposer makes it."""
        world = self.world
        for each in self.agents:
            each.act(self)
        leader, _ = self._seats[world.proposer]
        evidence, statements = self._due() if leader.reports else ([], [])
        result = world.block(
            votes=self._votes(leader),
            evidence=evidence,
            statements=statements,
            candidates=self._candidate() if world.place == CANDIDATE_PLACE else (),
        )
        self.convicted |= {(each.account, each.epoch) for each in result.offences}

    def index(self, seat: Seat, epoch: Epoch) -> ValidatorIndex | None:
        """A seat's validator index in an epoch; None if it is no member."""
        members = [each.account for each in epoch_members(self.world.ledger, epoch).members]
        return ValidatorIndex(members.index(seat.account)) if seat.account in members else None

    # --- votes

    def _votes(self, leader: Agent) -> VoteInclusion | None:
        world = self.world
        sample = world.sample
        if sample is None:
            return None
        members, validators = world.members, world.validators
        if sample.block not in self._voted:
            self._voted = {sample.block: frozenset(each for each in members if self._has_voted(each))}
            voters = (index for index, each in enumerate(members) if each in self._voted[sample.block])
            self.halted += validators.weight(map(ValidatorIndex, voters)) < validators.stake.quorum
        voted = self._voted[sample.block]
        seen = int.from_bytes(sample.seen, "little")
        offered = [
            ValidatorIndex(index)
            for index, account in enumerate(members)
            if account in voted and not seen >> index & 1
        ]
        chosen = leader.chosen(self, offered, first=not sample.view)
        if not chosen or (not sample.view and validators.weight(chosen) < validators.stake.quorum):
            return None
        view = View((sample.height - 1) % EPOCH_BLOCKS + 1)
        message = vote_bytes(world.hash, world.epoch, view, sample.block)
        signatures = {
            index: self._seats[members[index]][1].consensus.sign(message) for index in sorted(chosen)
        }
        return vote_inclusion(sample.block, view, signatures)

    def _has_voted(self, account: PublicKey) -> bool:
        agent, seat = self._seats[account]
        return agent.votes(self, seat)

    # --- candidates

    def _candidate(self) -> Sequence[CandidateInclusion]:
        """The epoch's candidate with the attestations that decide it; who said the contrary is known."""
        world = self.world
        truth = Verdict.INVALID if world.epoch in self._invalid else Verdict.VALID
        header = self._header(truth)
        said = {
            ValidatorIndex(index): agent.verdict(self, truth)
            for index, (agent, _) in enumerate(self._seats[each] for each in world.members)
        }
        for verdict in (Verdict.VALID, Verdict.INVALID):
            signers = [index for index, each in said.items() if each is verdict]
            if world.validators.weight(signers) >= world.validators.stake.quorum:
                contrary = [index for index, each in said.items() if each not in (None, verdict)]
                other = Verdict.INVALID if verdict is Verdict.VALID else Verdict.VALID
                self._statements += [self._attestation(header, each, other) for each in contrary]
                return [self._inclusion(header, signers, verdict)]
        self.undecided += 1
        return []

    def _header(self, truth: Verdict) -> CandidateHeader:
        world = self.world
        chain = world.registry.chain_view(CHAIN)
        if chain is None:
            raise AssertionError("genesis has a chain")
        body = hash_tagged(b"PHALANX/economics-body", world.height.to_bytes(8, "big"), bytes([truth]))
        return CandidateHeader(
            chain=CHAIN,
            height=Height(chain.tip.height + 1),
            parent_head=chain.tip.head,
            relay_parent=world.block_hash(world.height),
            relay_parent_height=Height(world.height),
            time_ms=world.time_ms(world.height),
            code_hash=chain.code_hash,
            body_hash=body,
            pov_hash=body,
            pov_bytes=0,
            pre_root=chain.tip.state_root,
            post_root=chain.tip.state_root,
            inbox=(),
            outgoing=(),
            fuel_used=Fuel(0),
        )

    def _inclusion(
        self, header: CandidateHeader, signers: list[ValidatorIndex], verdict: Verdict
    ) -> CandidateInclusion:
        return CandidateInclusion(
            header=header,
            verdict=int(verdict),
            epoch=self.world.epoch,
            signers=bitmap_of(signers),
            signatures=tuple(self._attestation(header, each, verdict).signature for each in signers),
        )

    def _attestation(self, header: CandidateHeader, index: ValidatorIndex, verdict: Verdict) -> Attestation:
        world = self.world
        message = statement_sign_bytes(
            world.hash, world.epoch, Role.ATTEST, header.relay_parent, header.hash, verdict
        )
        return Attestation(
            epoch=world.epoch,
            chain=header.chain,
            relay_parent=header.relay_parent,
            candidate=header.hash,
            verdict=int(verdict),
            validator=index,
            signature=self._seats[world.members[index]][1].consensus.sign(message),
        )

    # --- offences

    def double_vote(self, seat: Seat, *, mild: bool = False) -> Evidence | None:
        """A member of the running epoch signs two contradictory votes of one view: for two blocks, or, if
        `mild`, for one block and for none. The proof; None if it is no member."""
        world = self.world
        index = self.index(seat, world.epoch)
        if index is None:
            return None
        other = (Kind.SKIP, ZERO_HASH) if mild else (Kind.NOTARIZE, Hash(bytes([2]) * 32))
        first, second = (
            SignedStatement(
                kind=int(kind),
                block=block,
                aux=ZERO_HASH,
                sig=seat.consensus.sign(sign_bytes(world.hash, kind, world.epoch, View(1), block, ZERO_HASH)),
            )
            for kind, block in ((Kind.NOTARIZE, Hash(bytes([1]) * 32)), other)
        )
        return evidence_from(epoch=world.epoch, view=View(1), signer=index, a=first, b=second)

    def reveal(self, evidence: Evidence | None, epoch: int) -> None:
        """Let honest leaders know of a piece from `epoch` on."""
        if evidence is not None:
            self._known.append(_Known(evidence, lambda world: world.epoch >= epoch))

    def reveal_at_last(self, evidence: Evidence | None) -> None:
        """Let honest leaders know of a piece on the last day on which it counts."""
        if evidence is not None:
            about = evidence.epoch
            self._known.append(_Known(evidence, lambda world: _lapses(world, about)))

    def _due(self) -> tuple[list[Evidence], list[Attestation]]:
        due = [each for each in self._known if each.due(self.world)][: self.world.parameters.max_evidence]
        self._known = [each for each in self._known if each not in due]
        statements, self._statements = self._statements, []
        return [each.evidence for each in due], statements


def _lapses(world: World, epoch: Epoch) -> bool:
    """Whether evidence about `epoch` counts in the next block, and does not a day later."""
    later = world.height + 1 + LAST_DAY
    return is_answerable(world.ledger, epoch, now=world.epoch, now_ms=world.now_ms) and not is_answerable(
        world.ledger, epoch, now=epoch_of(later, EPOCH_BLOCKS), now_ms=world.time_ms(later)
    )
