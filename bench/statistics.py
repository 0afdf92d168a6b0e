"""Percentiles of measured durations, and tables: the one way they are made everywhere in the reports."""

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of `values` (unsorted, not empty); `share` in 0..1.

    Nearest-rank, because each figure that is printed was then really measured once.
    """
    if not values:
        raise ValueError("no measurements to take a percentile of")
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(share * 1_000) // 1_000))
    return ordered[min(rank, len(ordered)) - 1]


def milliseconds(nanoseconds: float) -> float:
    """Nanoseconds as milliseconds, to three digits: what a report prints."""
    return round(nanoseconds / 1e6, 3)


def columns(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under their heads, right-aligned."""
    lines = [tuple(head), *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
