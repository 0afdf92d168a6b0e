"""What one run showed."""

from dataclasses import dataclass, field

from consensus.simulation.checkers import Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Counted over the honest nodes, except where it says otherwise."""

    seed: int
    digest: str
    violations: tuple[Violation, ...]
    finalized_min: int  # over the honest nodes that were alive at the end
    finalized: int  # heights that are final anywhere
    finalizations: int  # Finalized effects over all honest nodes
    one_round: int  # of these, by FAST_FINAL of the block itself
    epochs_min: int  # epochs that every honest node that was alive at the end has left behind
    virtual_us: int
    steps: int
    counters: dict[str, int] = field(default_factory=dict)
    trace: tuple[str, ...] = ()
