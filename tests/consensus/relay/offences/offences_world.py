"""A state with delegated, leaving and moved stake behind four validators, on which tests convict by hand."""

from dataclasses import replace

from relay_fakes import ALL_ACCOUNTS, OPERATORS, USERS, Network, ScriptedGuests
from staking_world import code, quick

from consensus.primitives.ids import Amount, Epoch
from consensus.relay.elections.records import ExposureRecord, exposure
from consensus.relay.epochs import epoch_of
from consensus.relay.ledger import SUPPLY_KEY, Ledger, Pot, Supply
from consensus.relay.offences.records import BurnRecord, CaseState, CutsRecord, case_cut_key
from consensus.relay.offences.ticking import tick
from consensus.relay.offences.veto import case_count, find_case
from consensus.relay.receipts import Code
from consensus.relay.registry import Registry
from consensus.relay.ring import Ring
from consensus.relay.run import Run
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import Delegate, Redelegate, Undelegate

ACCOUNTS = [each.public for each in OPERATORS]
HOUR_MS = 3_600_000
TERMS: dict[str, object] = {
    "unbonding_ms": 100 * HOUR_MS,
    "veto_ms": 10 * HOUR_MS,
    "slash_meter_ppb": 100_000_000,
    "min_nomination": 1,
}


def settled(**parameters: object) -> Network:
    """Epoch 3 of a network whose users have delegated, undelegated and moved."""
    network = quick(**(TERMS | parameters))
    names = [each.public for each in OPERATORS]
    pairs = [tuple(sorted(names[:2])), tuple(sorted(names[1:4])), (names[3],), tuple(sorted(names))]
    for index, (user, validators) in enumerate(zip(USERS, pairs, strict=False)):
        action = Delegate(validators=validators, amount=Amount(1_001 + 517 * index))
        assert code(network, user, action) == Code.OK
    while network.epoch < 3:
        network.block()
    own = Stakes.own(names[3])
    assert code(network, USERS[2], Undelegate(nomination=own, amount=Amount(333))) == Code.OK
    pair = network.view.stakes.nominated.shared()
    (first, _), *_ = pair
    moved = Redelegate(nomination=first, validators=(names[0],), amount=Amount(77))
    assert code(network, USERS[0], moved) == Code.OK
    return network


class Court:
    """One long block's run over that state, whose clock a test moves."""

    def __init__(self, network: Network, **terms: object) -> None:
        """`terms`: parameters by which offences are judged, instead of the network's own."""
        self.network = network
        self.ledger = Ledger(network.store, network.root)
        self.run = Run(
            context=network.context(),
            ledger=self.ledger,
            registry=Registry(self.ledger),
            stakes=Stakes(self.ledger),
            parameters=replace(self.ledger.parameters, **terms),  # type: ignore[arg-type]
            guests=ScriptedGuests(),
            pools_cut=-(10**9),  # has room for whatever a test convicts
        )
        self.issued = self.supply().issued
        assert self.held() == self.issued

    @property
    def now_ms(self) -> int:
        return self.run.context.time_ms

    def wait(self, elapsed_ms: int) -> None:
        """A later block of the same epoch, in which nothing else happens."""
        context = self.run.context
        assert epoch_of(context.height, 1_000) == 1
        self.run.context = replace(context, time_ms=context.time_ms + elapsed_ms)
        tick(self.run)

    def drain(self) -> None:
        """Until every queue is empty; that they ever are is part of the test."""
        for _ in range(2_000):
            if not any(len(Ring(self.ledger, each)) for each in (b"burns", b"cases", b"sweeps", b"raises")):
                return
            self.wait(HOUR_MS)
        raise AssertionError("a queue that does not drain")

    def supply(self) -> Supply:
        return self.ledger.existing(Supply, SUPPLY_KEY)

    def exposure(self, index: int, epoch: int) -> ExposureRecord:
        found = exposure(self.ledger, Epoch(epoch), ACCOUNTS[index])
        assert found is not None
        return found

    def held(self) -> int:
        """Every unit there is, found by looking."""
        total = self.supply().burnt + sum(self.ledger.account(each).balance for each in ALL_ACCOUNTS)
        totals = self.run.stakes.totals()
        total += totals.bonded + totals.rewards + sum(self.ledger.pot(each) for each in Pot)
        for number in range(1, self.run.registry.counts().chains + 1):
            chain = self.run.registry.existing_chain(number)
            total += chain.balance + chain.deposit
        return total

    def waiting(self) -> int:
        """Units in the queue of the meter."""
        keys = Ring(self.ledger, b"burns").entries(10_000)
        return sum(self.ledger.existing(BurnRecord, key).amount for key in keys)

    def contested(self) -> int:
        """Units of cases that are open or being given back, by what they say of each pool."""
        total = 0
        for number in range(1, case_count(self.ledger) + 1):
            case = find_case(self.ledger, number)
            if case is None or case.state == CaseState.LAPSED:
                continue
            for edge in range(case.swept, case.edges):
                cuts = self.ledger.record(CutsRecord, case_cut_key(number, edge))
                total += 0 if cuts is None else sum(each.amount for each in cuts.cuts)
        return total

    def check(self) -> None:
        """Conservation to the unit, and that the pot holds just what is to be burnt or may be given back."""
        assert self.held() == self.issued
        assert self.ledger.pot(Pot.SLASHED) == self.waiting() + self.contested()
