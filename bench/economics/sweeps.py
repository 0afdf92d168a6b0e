"""What every conduct brings, by share of stake, and how that depends on the decisive parameters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from bench.economics.agents import Agent
from bench.economics.cases import AGENTS, SHARES, WITHOUT_LUCK, Case, Changes, Outcome, case_of, simulate
from consensus.relay.parameters import BILLION

SWEPT_EPOCHS: Final = 20  # of a sweep's case: enough to offend, be convicted and see it burnt
_PERCENT: Final = BILLION // 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One question about parameters: a row for each value, a column for each agent and share."""

    title: str
    about: str
    values: tuple[tuple[str, Changes], ...]
    columns: tuple[tuple[str, int], ...]  # agent and share
    epochs: int = SWEPT_EPOCHS

    def case(self, changes: Changes, agent: str, share_ppb: int) -> Case:
        """The case in one cell."""
        return case_of(agent, share_ppb, epochs=self.epochs, changes=changes)


def _each(name: str, values: Iterable[int], show: Callable[[int], str]) -> tuple[tuple[str, Changes], ...]:
    return tuple((show(value), ((name, value),)) for value in values)


def _share(value: int) -> str:
    return f"{value / _PERCENT:g} %"


SWEEPS: Final = (
    Sweep(
        title="How steeply offenders of one epoch pay together: `correlation_factor`",
        about="Double signing by all of an agent's validators.",
        values=_each("correlation_factor", range(5), str),
        columns=tuple(("double signing", percent * _PERCENT) for percent in (1, 5, 10, 20, 33, 40)),
    ),
    Sweep(
        title="The least that a double signature costs: `slash_double_ppb`",
        about="The correlated part is the default's.",
        values=_each("slash_double_ppb", (0, _PERCENT, 5 * _PERCENT, 20 * _PERCENT), _share),
        columns=tuple(("double signing", percent * _PERCENT) for percent in (1, 5, 10, 20)),
    ),
    Sweep(
        title="What reporting oneself brings: `slash_reporter_ppb`",
        about="With half of what is slashed burnt, the least that the parameters allow.",
        values=tuple(
            (_share(value), (("slash_burn_ppb", BILLION // 2), ("slash_reporter_ppb", value)))
            for value in (0, 10 * _PERCENT, 30 * _PERCENT, 50 * _PERCENT)
        ),
        columns=tuple((agent, 10 * _PERCENT) for agent in ("double signing", "self-reporting")),
    ),
    Sweep(
        title="Attesting what is invalid: `slash_invalid_ppb`",
        about="",
        values=_each("slash_invalid_ppb", (0, 10 * _PERCENT, BILLION), _share),
        columns=tuple(("blind", percent * _PERCENT) for percent in (1, 10, 33)),
    ),
    Sweep(
        title="Accusing falsely: `slash_accusation_ppb`",
        about="What is left at 0 % is what it earns less while it is in jail.",
        values=_each("slash_accusation_ppb", (0, _PERCENT // 10, 2 * _PERCENT, 10 * _PERCENT), _share),
        columns=tuple(("false accusation", percent * _PERCENT) for percent in (1, 10)),
    ),
    Sweep(
        title="Pay for being there: `issuance_ideal_ppb`",
        about="What a year issues with half of all units staked.",
        values=_each(
            "issuance_ideal_ppb", (percent * _PERCENT + _PERCENT // 2 for percent in (2, 4, 9, 19)), _share
        ),
        columns=(("lazy", 10 * _PERCENT), ("idle", 10 * _PERCENT), ("withholding", 10 * _PERCENT)),
    ),
    Sweep(
        title="Being away: `slash_downtime_ppb`",
        about="By default being jailed is all that it costs.",
        values=_each("slash_downtime_ppb", (0, _PERCENT // 10, _PERCENT), _share),
        columns=(("idle", 1 * _PERCENT), ("idle", 10 * _PERCENT)),
    ),
    Sweep(
        title="How fast a commission may change: `commission_step_ppb`",
        about="Delegators move a quarter of their stake in each epoch; over 45 epochs.",
        values=_each("commission_step_ppb", (percent * _PERCENT for percent in (1, 5, 20, 100)), _share),
        columns=(("greedy", 10 * _PERCENT), ("commission switch", 10 * _PERCENT)),
        epochs=45,
    ),
    Sweep(
        title="Filling one's own blocks: `burn_share_ppb` and `proposer_fee_ppb`",
        about="What is burnt of a fee, and what its block's proposer gets; the rest is shared by all.",
        values=tuple(
            (
                f"{burnt} % burnt, {paid} % paid",
                (("burn_share_ppb", burnt * _PERCENT), ("proposer_fee_ppb", paid * _PERCENT)),
            )
            for burnt, paid in ((50, 20), (20, 20), (20, 70), (0, 20), (0, 90))
        ),
        columns=tuple(("fee stuffing", percent * _PERCENT) for percent in (1, 10, 40)),
    ),
    Sweep(
        title="Leaving out others' votes: `reward_inclusion_ppb`",
        about="What including votes earns is what leaving them out costs.",
        values=_each("reward_inclusion_ppb", (0, 6 * _PERCENT + _PERCENT // 4, 25 * _PERCENT), _share),
        columns=tuple(("withholding", percent * _PERCENT) for percent in (1, 10, 33)),
    ),
)


SPLIT_SHARES: Final = tuple(percent * _PERCENT for percent in (10, 20, 33, 40))
SPLITS: Final[tuple[tuple[str, int, Changes], ...]] = (
    ("1 validator", 1, ()),
    ("2 validators", 2, ()),
    ("4 validators", 4, ()),
    ("8 validators", 8, ()),
    ("8 validators, 10 seats for 16", 8, (("max_validators", 10),)),
)


def split_case(share_ppb: int, seats: int, changes: Changes) -> Case:
    """One honest stake as so many validators."""
    return Case(
        agent=Agent.name,
        share_ppb=share_ppb,
        epochs=SWEPT_EPOCHS,
        seats=seats,
        changes=(*WITHOUT_LUCK, *changes),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """An outcome beside that of an honest agent in the same place."""

    outcome: Outcome
    honest: Outcome

    @property
    def units(self) -> int:
        """What the conduct brought, in units; negative if it cost."""
        return self.outcome.profit - self.honest.profit

    @property
    def relative(self) -> float:
        """The same as a part of the agent's capital."""
        return self.units / self.honest.capital

    @property
    def rivals_units(self) -> int:
        """What it brought to honest validators."""
        return self.outcome.rivals_profit - self.honest.rivals_profit

    @property
    def possible(self) -> bool:
        """Whether a chain would have gone on: it stops where more than a third of all stake is silent."""
        return not self.outcome.halted


Results = Mapping[Case, Outcome]


def table_cases(shares: Sequence[int] = SHARES, **terms: object) -> list[Case]:
    """Every agent at every share."""
    return [case_of(agent, share, **terms) for agent in AGENTS for share in shares]


def sweep_cases(sweeps: Sequence[Sweep] = SWEEPS) -> list[Case]:
    """Every cell of every sweep."""
    return [
        sweep.case(changes, *column)
        for sweep in sweeps
        for _, changes in sweep.values
        for column in sweep.columns
    ]


def run_all(cases: Iterable[Case], jobs: int) -> Results:
    """The outcomes of cases and of their honest counterparts, each simulated once, by `jobs` processes."""
    wanted = list(dict.fromkeys(each for case in cases for each in (case, case.honest)))
    if jobs == 1:
        return dict(zip(wanted, map(simulate, wanted), strict=True))
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        return dict(zip(wanted, pool.map(simulate, wanted, chunksize=2), strict=True))


def difference(results: Results, case: Case) -> Difference:
    """What a case brought beside honesty."""
    return Difference(results[case], results[case.honest])
