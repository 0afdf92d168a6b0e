"""Staking once more, the slow and plain way: what `consensus.relay` is held against.

Nothing here is incremental: who is eligible is found by looking at everybody, each time. Written from
DESIGN.md section 8 and CONSENSUS.md sections 14 and 17, sharing no code with the ledger but its records of
actions, codes and parameters.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from consensus.relay.genesis import Genesis
from consensus.relay.receipts import Code
from consensus.relay.stake.transactions import Bond, BondMore, RotateKey, Unbond, Unjail, Withdraw
from consensus.relay.transactions import Action, Transfer

MAX_ENTRIES = 32


@dataclass
class Operation:
    """A transaction that is well signed; `proofs_good` says whether its proofs of possession are."""

    sender: bytes
    nonce: int
    action: Action
    fee: int
    proofs_good: bool = True


@dataclass
class Offender:
    """A conviction that a block's evidence would bring."""

    epoch: int
    index: int
    double: bool


@dataclass
class Person:
    """A validator."""

    key: bytes
    bonded: int
    joined: int
    tombstoned: bool = False
    jailed_until: int | None = None
    unbonding: list[list[int]] = field(default_factory=list)  # [last epoch, units]


class Model:
    """The whole economy, as far as stake goes."""

    def __init__(self, genesis: Genesis) -> None:
        self.p = genesis.parameters
        self.time_ms = genesis.time_ms
        self.height = 0
        self.burnt = 0
        self.balances = {each.key: each.balance for each in genesis.accounts}
        self.nonces = dict.fromkeys(self.balances, 0)
        self.people = {each.account: Person(each.consensus_key, each.stake, 0) for each in genesis.validators}
        self.consensus_keys = {each.consensus_key for each in genesis.validators}
        self.identity_keys = {each.identity_key for each in genesis.validators}
        self.sets = {1: [(each.account, each.consensus_key, each.stake) for each in genesis.validators]}
        self.ended: dict[int, int] = {}
        self.convicted: set[tuple[bytes, int]] = set()

    @property
    def epoch(self) -> int:
        """Of the block under way."""
        return (self.height - 1) // self.p.epoch_blocks + 1

    def eligible(self) -> list[bytes]:
        """Accounts that may be elected, best first."""
        able = [
            (-each.bonded, each.joined, account)
            for account, each in self.people.items()
            if not each.tombstoned and each.jailed_until is None and each.bonded >= self.p.min_stake
        ]
        return [account for _, _, account in sorted(able)]

    # --- a block

    def block(
        self, time_ms: int, operations: Iterable[Operation], offenders: Iterable[Offender] = ()
    ) -> tuple[list[Code | None], list[bool]]:
        """What becomes of each operation, None for a void one, and of each piece of evidence."""
        self.height += 1
        self.time_ms = time_ms
        convictions = [self._convict(each) for each in offenders]
        fees = 0
        codes: list[Code | None] = []
        for each in operations:
            if each.nonce != self.nonces[each.sender] or self.balances[each.sender] < each.fee:
                codes.append(None)
                continue
            self.nonces[each.sender] += 1
            self.balances[each.sender] -= each.fee
            fees += each.fee
            codes.append(self._apply(each))
        burnt = fees * self.p.burn_share_ppb // 10**9
        members = self.sets[self.epoch]
        self.burnt += burnt
        self.balances[members[self.height % len(members)][0]] += fees - burnt
        if (self.height + 1) % self.p.epoch_blocks == 0:
            self.sets[self.epoch + 1] = self._elect()
        if self.height % self.p.epoch_blocks == 0:
            self.ended[self.epoch] = time_ms
        return codes, convictions

    def _elect(self) -> list[tuple[bytes, bytes, int]]:
        before = self.sets[self.epoch]
        winners = self.eligible()[: self.p.max_validators]
        if not winners:
            return before
        stayed = [account for account, _, _ in before if account in winners]
        order = stayed + [account for account in winners if account not in stayed]
        return [(each, self.people[each].key, self.people[each].bonded) for each in order]

    def _convict(self, offender: Offender) -> bool:
        by_epochs = offender.epoch <= self.epoch <= offender.epoch + self.p.evidence_epochs
        if not by_epochs and self.time_ms >= self.ended[offender.epoch] + self.p.unbonding_ms:
            return False
        account = self.sets[offender.epoch][offender.index][0]
        if (account, offender.epoch) in self.convicted:
            return False
        self.convicted.add((account, offender.epoch))
        person = self.people[account]
        if offender.double:
            person.tombstoned = True
        person.jailed_until = max(person.jailed_until or 0, self.epoch + self.p.jail_epochs)
        return True

    # --- an action

    def _apply(self, operation: Operation) -> Code:
        sender, action = operation.sender, operation.action
        if isinstance(action, Transfer):
            if self.balances[sender] < action.amount:
                return Code.INSUFFICIENT_BALANCE
            self.balances[sender] -= action.amount
            self.balances[action.to] += action.amount
            return Code.OK
        person = self.people.get(sender)
        if isinstance(action, Bond):
            return Code.ALREADY_EXISTS if person else self._bond(sender, action, operation.proofs_good)
        if person is None:
            return Code.NO_SUCH_VALIDATOR
        match action:
            case BondMore():
                if person.tombstoned:
                    return Code.TOMBSTONED
                code = self._lock(sender, person.bonded, action.amount)
                if code is Code.OK:
                    person.bonded += action.amount
                return code
            case Unbond():
                return self._unbond(sender, person, action.amount)
            case Withdraw():
                return self._withdraw(sender, person)
            case RotateKey():
                if action.consensus_key in self.consensus_keys:
                    return Code.KEY_IN_USE
                if not operation.proofs_good:
                    return Code.BAD_PROOF
                self.consensus_keys.add(action.consensus_key)
                person.key = action.consensus_key
                return Code.OK
            case Unjail():
                if person.tombstoned:
                    return Code.TOMBSTONED
                if person.jailed_until is None:
                    return Code.NOT_JAILED
                if self.epoch < person.jailed_until:
                    return Code.NOT_YET
                person.jailed_until = None
                return Code.OK
        raise AssertionError(action)

    def _lock(self, sender: bytes, bonded: int, amount: int) -> Code:
        if bonded + amount >= 2**64:
            return Code.OVER_LIMIT
        if not amount or bonded + amount < self.p.min_stake:
            return Code.BELOW_MINIMUM
        if self.balances[sender] < amount:
            return Code.INSUFFICIENT_BALANCE
        self.balances[sender] -= amount
        return Code.OK

    def _bond(self, sender: bytes, action: Bond, proofs_good: bool) -> Code:
        code = self._lock(sender, 0, action.amount)
        if code is not Code.OK:
            return code
        if action.consensus_key in self.consensus_keys:
            code = Code.KEY_IN_USE
        elif not proofs_good:
            code = Code.BAD_PROOF
        elif action.identity_key in self.identity_keys:
            code = Code.KEY_IN_USE
        if code is not Code.OK:
            self.balances[sender] += action.amount
            return code
        self.consensus_keys.add(action.consensus_key)
        self.identity_keys.add(action.identity_key)
        self.people[sender] = Person(action.consensus_key, action.amount, self.height)
        return Code.OK

    def _unbond(self, sender: bytes, person: Person, amount: int) -> Code:
        if amount > person.bonded:
            return Code.INSUFFICIENT_BALANCE
        left = person.bonded - amount
        if not amount or 0 < left < self.p.min_stake:
            return Code.BELOW_MINIMUM
        if self.eligible() == [sender] and left < self.p.min_stake:
            return Code.LAST_VALIDATOR
        # the set of the next epoch stands once the block before the boundary has executed
        last = max(each for each in self.sets if each <= self.epoch + 1)
        entry = next((each for each in person.unbonding if each[0] == last), None)
        if entry is None:
            if len(person.unbonding) == MAX_ENTRIES:
                return Code.OVER_LIMIT
            entry = [last, 0]
            person.unbonding.append(entry)
        entry[1] += amount
        person.bonded = left
        return Code.OK

    def _withdraw(self, sender: bytes, person: Person) -> Code:
        ripe = [
            each
            for each in person.unbonding
            if each[0] in self.ended
            and self.epoch > each[0] + self.p.unbonding_epochs
            and self.time_ms >= self.ended[each[0]] + self.p.unbonding_ms
        ]
        if not ripe:
            return Code.NOT_YET
        for each in ripe:
            person.unbonding.remove(each)
            self.balances[sender] += each[1]
        return Code.OK
