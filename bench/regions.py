"""Where the validators of a wide-area network stand, and how long a message takes between them.

`data/aws_rtt_p50_ms.json` holds the median round trips between 33 regions of one cloud. CONSENSUS.md
section 22 quotes figures for ten of them without naming them; these ten, in this order, are a placement
whose order statistics come to the quoted figures. They were found by search over 19 large regions.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROUND_TRIPS_FILE: Final = Path(__file__).parent / "data" / "aws_rtt_p50_ms.json"

REGIONS: Final = (
    "us-east-1",
    "eu-central-1",
    "eu-north-1",
    "ap-southeast-1",
    "sa-east-1",
    "ap-northeast-1",
    "ap-southeast-2",
    "eu-west-1",
    "ap-east-1",
    "eu-west-2",
)

Matrix = tuple[tuple[int, ...], ...]
"""One-way delays in microseconds, [source][destination]; zero on the diagonal."""


def load_round_trips() -> Mapping[str, Mapping[str, float]]:
    """Median round trips in milliseconds, by pair of regions. Raises OSError, ValueError on a broken file."""
    table: Mapping[str, Mapping[str, float]] = json.loads(ROUND_TRIPS_FILE.read_text())["data"]
    return table


def place(validators: int, regions: Sequence[str] = REGIONS) -> Matrix:
    """Validator i stands in region i modulo their number; half a round trip is one way.

    Two validators of one region are apart by the round trip measured within it. Raises ValueError on a
    region that the data lack.
    """
    table = load_round_trips()
    missing = [each for each in regions if each not in table]
    if missing:
        raise ValueError(f"{ROUND_TRIPS_FILE.name} has no region {missing[0]!r}")
    homes = [regions[index % len(regions)] for index in range(validators)]
    return tuple(
        tuple(0 if a == b else _one_way_us(table, homes[a], homes[b]) for b in range(validators))
        for a in range(validators)
    )


def _one_way_us(table: Mapping[str, Mapping[str, float]], a: str, b: str) -> int:
    forward, back = table[a].get(b), table[b].get(a)
    known = [each for each in (forward, back) if each is not None]
    if not known:
        raise ValueError(f"{ROUND_TRIPS_FILE.name} has no round trip between {a} and {b}")
    return round(sum(known) / len(known) * 1_000 / 2)
