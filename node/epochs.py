"""Which validators are in force, and what this node is among them (CONSENSUS.md section 14).

The state says who is in an epoch; this says what that means for one node: its place in the set, the key file
that the set names for it, whom it knows and where to dial them. It is asked for the next epoch once the
boundary block is final, executed and durable, and never in between, so that a block costs no reading here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from consensus.agreement.epochs import EpochSetup
from consensus.agreement.events import Peer
from consensus.agreement.messages import FLAG_BOUNDARY, Header
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.ids import Epoch, Hash, PublicKey, ValidatorIndex
from consensus.relay.elections.records import latest_election
from consensus.relay.epochs import EpochSetRecord, current_set, epoch_members, find_epoch_members
from consensus.relay.governance.versions import protocol, version_of
from consensus.relay.stake.records import Standing, identity_key_key
from consensus.relay.views import StateView
from net.identity import PeerId
from node.config import Address, NetworkConfig, parse_address
from node.keys import NodeKeys, StoredKey
from node.version import PROTOCOL_VERSIONS, check_protocol

WAITING: Final = 64  # without a seat, in order of stake, who may follow all the same
EVERYWHERE: Final = ("0.0.0.0", "::")  # where one listens, and nobody can dial


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One epoch, as this node is in it. `own` None: it is no member, or may not vote.

    `names`: what the members are called, by the identity of their nodes.
    """

    epoch: Epoch
    members: EpochSetRecord
    names: Mapping[PeerId, str]
    validators: ValidatorSet
    own: ValidatorIndex | None
    key: StoredKey | None


def epoch_after(header: Header) -> Epoch:
    """The epoch of the block that follows a final one."""
    return Epoch(header.epoch + bool(header.flags & FLAG_BOUNDARY))


class Epochs:
    """The epoch that this node is in; made from the state that it starts on."""

    def __init__(
        self,
        *,
        network: NetworkConfig,
        keys: NodeKeys,
        chain_id_hash: Hash,
        start: Header,
        state: StateView,
        lost_keys: Collection[PublicKey] | None = None,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """`network` says whom the operator knows; `start` is the newest final block, `state` that after it.

        `lost_keys`: the keys that were here when a journal was lost, None if not known; any other is fresh.
        """
        self._network = network
        self._keys = keys
        self._chain_id_hash = chain_id_hash
        self._lost_keys = lost_keys
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger("node")
        self._state: Callable[[], StateView] = lambda: state
        self.current: Term = self._term(epoch_after(start), state)
        self._before = find_epoch_members(state, Epoch(self.current.epoch - 1))

    def follow(self, state: Callable[[], StateView]) -> None:
        """Where the newest final executed state is, from here on."""
        self._state = state

    def begin(self, epoch: Epoch) -> Term:
        """Enter an epoch whose first parent is final and executed. May run in a thread: sets are dear.

        Raises UserError if it runs a version of the protocol that this program does not know.
        """
        return self._term(epoch, self._state())

    def enter(self, term: Term) -> None:
        """From here on `term` is the present."""
        self._before = self.current.members
        self.current = term

    def setup(self, term: Term, start: Header, number: Callable[[PeerId], Peer]) -> EpochSetup:
        """What agreement is told about it; `start` is the boundary header (or genesis) it builds on."""
        return EpochSetup(
            epoch=term.epoch,
            validators=term.validators,
            members=tuple(number(PeerId(each.identity_key)) for each in term.members.members),
            gate=self._gate(term),
            start=start,
        )

    # --- sets

    def validators(self, epoch: Epoch) -> ValidatorSet | None:
        """The set of an epoch while its evidence counts; None before it began, or too long after it."""
        if epoch == self.current.epoch:
            return self.current.validators
        if epoch > self.current.epoch:
            return None
        try:
            return current_set(self._state(), chain_id_hash=self._chain_id_hash, epoch=epoch)
        except LookupError:
            return None

    def members(self, epoch: Epoch) -> EpochSetRecord | None:
        """Who is in an epoch: one that is over and remembered, this one, or the next once it is decided."""
        return self.current.members if epoch == self.current.epoch else self._state().epoch_set(epoch)

    @property
    def kept(self) -> int:
        """How many members the latest election kept for lack of others."""
        election = latest_election(self._state())
        return 0 if election is None else len(election.kept)

    # --- peers

    def is_welcome(self, peer: PeerId) -> bool:
        """Whether a peer may connect: configured, of this set or one beside it, or next in line for a seat.

        Who is in line may follow before it is elected, or it could not vote when it is; so may who is jailed.
        """
        if peer in self._network.identities or peer in self.current.names:
            return True
        if any(peer == PeerId(each.identity_key) for record in self._beside() for each in record.members):
            return True
        return self._is_in_line(peer)

    def addresses(self) -> dict[PeerId, Address]:
        """Whom to be connected with, and where: members of this set and the next, and configured peers."""
        found: dict[PeerId, Address] = {}
        coming = find_epoch_members(self._state(), Epoch(self.current.epoch + 1))
        for record in (self.current.members, coming):
            for each in () if record is None else record.members:
                address = _address(each.address)
                if address is not None:
                    found[PeerId(each.identity_key)] = address
        for peer in self._network.peers:
            if peer.address is not None:
                found[PeerId(peer.identity)] = peer.address
        return found

    def names(self) -> dict[PeerId, str]:
        """What peers are called: configured ones by the config, members by the state."""
        configured = {PeerId(each.identity): each.name for each in self._network.peers if each.name}
        return {PeerId(each.identity): "" for each in self._network.peers} | {
            **self.current.names,
            **configured,
        }

    # --- inside

    def _beside(self) -> Sequence[EpochSetRecord]:
        coming = find_epoch_members(self._state(), Epoch(self.current.epoch + 1))
        return [each for each in (self._before, coming) if each is not None]

    def _is_in_line(self, peer: PeerId) -> bool:
        state = self._state()
        account = state.read(identity_key_key(PublicKey(peer)))
        record = None if account is None else state.validator(PublicKey(account))
        if record is None or state.self_stake(record.account) == 0:
            return False
        if record.standing != Standing.ACTIVE:
            return record.standing == Standing.JAILED
        line = state.roster()[: max(0, state.parameters.max_validators + WAITING)]
        election = latest_election(state)
        return any(each.account == record.account for each in line) or (
            election is not None and record.account in election.standby
        )

    def _term(self, epoch: Epoch, state: StateView) -> Term:
        self._check_versions(state, epoch)
        members = epoch_members(state, epoch)
        own, key = self._place(members)
        return Term(
            epoch=epoch,
            members=members,
            names={PeerId(each.identity_key): each.name for each in members.members},
            validators=current_set(state, chain_id_hash=self._chain_id_hash, epoch=epoch),
            own=own,
            key=key,
        )

    def _check_versions(self, state: StateView, epoch: Epoch) -> None:
        """Whether this program can be in an epoch; the operator hears early of one that it can not be in."""
        check_protocol(version_of(state, epoch), epoch)
        coming = protocol(state)
        if coming.next_epoch > epoch and coming.next_version not in PROTOCOL_VERSIONS:
            self._log.error("protocol.unknown", version=coming.next_version, from_epoch=coming.next_epoch)

    def _place(self, record: EpochSetRecord) -> tuple[ValidatorIndex | None, StoredKey | None]:
        """This node's index, and the key among its own that the set names for it."""
        identity = self._keys.identity.header.public
        for index, each in enumerate(record.members):
            if each.identity_key != identity or not self._keys.consensus:
                continue
            for key in self._keys.consensus:
                if key.header.public == each.consensus_key:
                    return ValidatorIndex(index), key
            self._log.error("key.missing", name=each.name, public=each.consensus_key.hex())
        return None, None

    def _gate(self, term: Term) -> SigningGate | None:
        if term.own is None or term.key is None:
            return None
        return SigningGate(
            index=term.own,
            chain_id_hash=self._chain_id_hash,
            epoch=term.epoch,
            sign=term.key.signing_key.sign,
            fresh=self._lost_keys is not None and term.key.header.public not in self._lost_keys,
        )


def _address(text: str) -> Address | None:
    """Where a member says that it listens; what nobody can dial is nowhere, and so is a name.

    To resolve names that anybody may register would let them say whom every node asks, and where it dials
    from one moment to the next (docs/decisions/024). An operator may write names into the config.
    """
    try:
        found = parse_address(text) if text else None
    except ValueError:
        return None
    return None if found is None or found.host in EVERYWHERE or not found.is_literal else found
