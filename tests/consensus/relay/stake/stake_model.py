"""Stake once more, the slow and plain way: what pools are held against.

No pools and no shares: every holder's units in every place are a fraction of their own, a cut goes through
all of them, a reward too. Written from DESIGN.md section 8 and docs/decisions/032; shares no code with the
ledger but the numbers of standings. `slack` is by how many units the ledger may differ, which rounds: by
nothing until the first cut.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from consensus.relay.stake.records import Standing

Name = frozenset[bytes]  # a nomination, by its validators

MAIN, LEAVING, MOVING, MERGED = "main", "leaving", "moving", "merged"


@dataclass(frozen=True)
class Place:
    """Where units are: behind `name` for good, up to `last`, or up to `last` and behind `to` from then on."""

    kind: str
    name: Name
    to: Name = frozenset()
    last: int = 0

    def answers(self, name: Name, epoch: int) -> bool:
        """Whether units here answer for a nomination in an epoch."""
        match self.kind:
            case "main":
                return name == self.name
            case "leaving":
                return name == self.name and epoch <= self.last
            case "moving":
                return name == (self.name if epoch <= self.last else self.to)
        return name == self.to  # moved, and its wait is over


@dataclass
class Validator:
    """A validator, as far as it matters to whoever holds stake."""

    name: str
    standing: Standing = Standing.ACTIVE
    jailed_until: int = 0
    chilled: bool = False


@dataclass
class Terms:
    """The parameters that matter."""

    min_stake: int
    min_nomination: int
    exit_cap_ppb: int
    unbonding_epochs: int
    unbonding_ms: int


@dataclass
class Model:
    """All stake, one lot at a time."""

    terms: Terms
    balances: dict[bytes, int]
    validators: dict[bytes, Validator] = field(default_factory=dict)
    lots: dict[tuple[Place, bytes], Fraction] = field(default_factory=dict)
    due: dict[bytes, Fraction] = field(default_factory=dict)  # rewards that a holder has earned and not got
    listed: dict[Name, list[int]] = field(default_factory=dict)  # last epochs in which stake left
    ended_ms: dict[int, int] = field(default_factory=dict)
    epoch: int = 1
    newest: int = 1  # the newest epoch whose set is written
    time_ms: int = 0
    exit_epoch: int = 0
    exit_room: int = 0
    slashed: int = 0
    treasury: int = 0
    slack: int = 0
    reward_slack: int = 1

    # --- looking

    def sum_of(self, wanted: Callable[[Place, bytes], bool]) -> Fraction:
        """Units in some places of some holders."""
        return sum((units for (place, who), units in self.lots.items() if wanted(place, who)), Fraction(0))

    def units(self, place: Place, holder: bytes) -> Fraction:
        """A holder's units in a place."""
        return self.lots.get((place, holder), Fraction(0))

    def behind(self, name: Name, epoch: int) -> Fraction:
        """Units that answer for a nomination in an epoch."""
        return self.sum_of(lambda place, _: place.answers(name, epoch))

    def self_stake(self, account: bytes, epoch: int | None = None) -> Fraction:
        """A validator's own units behind itself; with an epoch also those that leave after it or later."""
        own = frozenset({account})
        return self.sum_of(
            lambda place, who: (
                who == account
                and place.name == own
                and (
                    place.kind == MAIN
                    or (epoch is not None and place.kind == LEAVING and epoch <= place.last)
                )
            )
        )

    def is_over(self, last: int) -> bool:
        """Whether the wait of stake with this last epoch is over."""
        return (
            self.epoch > last + self.terms.unbonding_epochs
            and self.time_ms >= self.ended_ms[last] + self.terms.unbonding_ms
        )

    # --- doing

    def put(self, place: Place, holder: bytes, units: Fraction | int) -> None:
        """Add units to a lot."""
        self.lots[place, holder] = self.units(place, holder) + units
        self.round()

    def take(self, place: Place, holder: bytes, units: int, *, whole: bool) -> None:
        """Take units, which the ledger moved, out of a lot; all, whatever fraction is left, if `whole`."""
        left = self.units(place, holder) - units
        assert -self.slack <= left, (left, self.slack)
        if whole:
            assert left <= self.slack, (left, self.slack)
            left = Fraction(0)
        self.lots[place, holder] = max(left, Fraction(0))
        self.round()

    def round(self) -> None:
        """Something was rounded, if anything is not whole by now."""
        self.slack += 2 if self.slack else 0

    def queued(self, amount: int, bonded: int) -> int:
        """The last epoch of stake that leaves now: room for a share of all stake comes with each."""
        each = max(1, bonded * self.terms.exit_cap_ppb // 10**9)
        if self.exit_epoch < self.newest:
            self.exit_epoch, self.exit_room = self.newest, each
        while amount > self.exit_room:
            self.exit_epoch += 1
            self.exit_room += each
        self.exit_room -= amount
        return self.exit_epoch

    def leaves_with(self, name: Name, last: int) -> int:
        """The last epoch of the stake that leaves a nomination, of which `last` is the earliest: with others
        that leave, or a little later, the more of them there are."""
        waiting = sorted(each for each in self.listed.get(name, []) if not self.is_past(each))
        step = 2 ** (len(waiting) // 3)
        with_others = [each for each in waiting if last <= each < last + step]
        found = with_others[0] if with_others else (last + step - 1) // step * step
        self.listed[name] = sorted({*waiting, found})
        return found

    def is_past(self, last: int) -> bool:
        """As `is_over`, of an epoch that may be yet to end."""
        return last in self.ended_ms and self.is_over(last)

    def cut(self, name: Name, epoch: int, amount: int, taken: int) -> None:
        """Take `amount` from every unit that answers alike; the ledger says that it took `taken`."""
        answering = [key for key in self.lots if key[0].answers(name, epoch)]
        total = sum((self.lots[key] for key in answering), Fraction(0))
        self.slack += 2 + len({place for place, _ in answering})
        assert abs(taken - min(amount, total)) <= self.slack
        for key in answering:
            part = self.lots[key] * taken / total if total else 0
            self.lots[key] = max(self.lots[key] - part, Fraction(0))

    def pay(self, name: Name, epoch: int, amount: int) -> None:
        """Share out rewards, at most as many as units answer, to every unit that does."""
        answering = [key for key in self.lots if key[0].answers(name, epoch)]
        total = sum((self.lots[key] for key in answering), Fraction(0))
        for key in answering:
            part = amount * self.lots[key] / total
            self.due[key[1]] = self.due.get(key[1], Fraction(0)) + part
        self.reward_slack += 4 + len({place for place, _ in answering}) + int(amount * self.slack / total)

    def credit(self, holder: bytes, units: int) -> None:
        """The ledger paid a holder rewards."""
        left = self.due.get(holder, Fraction(0)) - units
        assert left >= -self.reward_slack, (left, self.reward_slack)
        self.due[holder] = left
        self.balances[holder] += units

    def merge(self, place: Place) -> None:
        """The wait of a move is over, and somebody came by to note it."""
        assert self.is_past(place.last)
        for at, holder in list(self.lots):
            if at == place:
                merged = Place(MERGED, place.name, place.to, place.last)
                self.lots[merged, holder] = self.lots.pop((at, holder))
        self.round()
