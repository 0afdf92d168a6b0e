"""Splitting a number of units by weights, to the unit (Hamilton's method: the largest remainder).

Each share is the exact quotient rounded down, or that plus one; the shares add up to the amount. So whoever
shares out by this neither makes nor loses a unit, and nobody is further than one unit from what is due.
"""

from collections.abc import Sequence


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """`amount` units in proportion to `weights`, which are not negative and not all zero.

    What rounding down leaves goes, one unit each, to the largest remainders; of equal ones to the first. A
    weight of 0 gets nothing. Raises ValueError where nobody could get anything, or on a negative number.
    """
    total = sum(weights)
    if amount < 0 or any(each < 0 for each in weights):
        raise ValueError("neither an amount nor a weight can be negative")
    if not total:
        raise ValueError("units can not be split among weights that are all zero")
    shares = [amount * each // total for each in weights]
    left = amount - sum(shares)
    if left:
        by_remainder = sorted(
            range(len(weights)), key=lambda index: (-(amount * weights[index] % total), index)
        )
        for index in by_remainder[:left]:
            shares[index] += 1
    return shares
