"""Coverage-guided fuzzing of every decoder and wire type, with atheris: `make fuzz`.

The hypothesis tests beside this run always; this runs as long as one lets it (`-max_total_time=600`, and
what else libFuzzer takes) and finds what blind mutation does not reach. The first byte of an input chooses
the target. atheris is not among the pinned packages: it wants a compiler with libFuzzer, or a wheel for this
very Python.
"""

import sys

from test_fuzz_decoders import CALLED, feed
from wire_types import decoded_types

from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError

LIMIT = 1 << 22
MISSING = (
    "atheris is not installed: nothing was fuzzed. Install it for this run with\n"
    "    .venv/bin/python -m pip install atheris\n"
    "The hypothesis tests in tests/fuzz need nothing and run with `make test`."
)
TYPES = [kind for _, kind in sorted(decoded_types().items())]


def one_input(data: bytes) -> None:
    """Raises only on a finding."""
    if len(data) < 2:
        return
    target, body = data[0], data[1:]
    feed(CALLED[target % len(CALLED)], body)
    kind = TYPES[target % len(TYPES)]
    try:
        value = decode(kind, body, limit=LIMIT)
    except DecodeError:
        return
    if encode(value) != body:
        raise AssertionError(f"{kind} decoded what is not its own encoding")


def main() -> int:
    """Fuzz until stopped; 2 if that is not possible here."""
    try:
        import atheris
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
