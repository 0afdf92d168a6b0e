"""Offenders of one epoch pay more together than each would alone.

The fraction is `min((factor * s / S)^2, 1)`, where s is the exposure of all who are convicted of a correlated
offence of that epoch, and S that of its whole set. It is Polkadot's for equivocation, `min((3 * k/n)^2, 1)`
(https://wiki.polkadot.com/learn/learn-offenses/), by stake instead of heads, because here stake
votes; Ethereum's proportional slashing (`PROPORTIONAL_SLASHING_MULTIPLIER = 3`) counts stake too, over some
36 days, and grows linearly. With the factor 3 a third of all stake, the least that can break agreement, loses
everything, and a hundredth less than a thousandth: an accident costs the least fraction of its row.

The slot is the epoch, as in Polkadot: a fork takes two signatures *in one view*. Whoever was convicted before
the others pays the difference later (`convicting.raise_correlated`), so that the order of coming is nobody's
advantage.
"""

from consensus.relay.parameters import BILLION


def correlated_ppb(convicted: int, total: int, factor: int) -> int:
    """The fraction for `convicted` of `total` exposure, in parts per billion, rounded down."""
    if total <= 0:
        return 0
    return min(BILLION, (factor * convicted) ** 2 * BILLION // total**2)
