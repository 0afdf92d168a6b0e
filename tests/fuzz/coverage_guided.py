"""Coverage-guided fuzzing of every decoder and wire type, with atheris: `make fuzz`.

The hypothesis tests beside this run always; this runs as long as one lets it (`-max_total_time=600`, and
what else libFuzzer takes) and finds what blind mutation does not reach. The first byte of an input chooses
the target; it starts from valid encodings for each, because nobody guesses those. Only the tree's own modules
are instrumented: all that Python has loaded takes minutes. atheris is not among the pinned packages: it wants
a compiler with libFuzzer, or a wheel for this very Python.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT = 1 << 22
SEEDS = 12  # tries to make a valid input, of each target
PACKAGES = ("consensus", "enclaves", "net", "node")
MISSING = (
    "atheris is not installed: nothing was fuzzed. Install it for this run with\n"
    "    .venv/bin/python -m pip install atheris\n"
    "The hypothesis tests in tests/fuzz need nothing and run with `make test`."
)


def target() -> Callable[[bytes], None]:
    """What is fuzzed, imported only here, where atheris looks on. It raises only on a finding."""
    from test_fuzz_decoders import CALLED, feed
    from wire_types import decoded_types

    from consensus.primitives.codec import decode, encode
    from consensus.primitives.errors import DecodeError

    kinds = [kind for _, kind in sorted(decoded_types().items())]

    def one_input(data: bytes) -> None:
        if len(data) < 2:
            return
        which, body = data[0], data[1:]
        feed(CALLED[which % len(CALLED)], body)
        kind = kinds[which % len(kinds)]
        try:
            value = decode(kind, body, limit=LIMIT)
        except DecodeError:
            return
        if encode(value) != body:
            raise AssertionError(f"{kind} decoded what is not its own encoding")

    return one_input


def make_seeds(folder: Path) -> int:
    """Write valid inputs for every target, and say how many: what mutation starts from."""
    from test_fuzz_decoders import CALLED, decoders, samples
    from wire_types import decoded_types, values_of

    from consensus.primitives.codec import encode

    kinds = [kind for _, kind in sorted(decoded_types().items())]
    valid = [(which, values_of(kind).map(encode)) for which, kind in enumerate(kinds)]
    valid += [(which, samples(decoders()[name][0])) for which, name in enumerate(CALLED)]
    folder.mkdir(parents=True, exist_ok=True)
    made: set[bytes] = set()
    for which, strategy in valid:
        _draw(strategy, lambda body, which=which: made.add(bytes([which]) + body))
    for number, data in enumerate(sorted(made)):
        (folder / f"{number:05d}").write_bytes(data)
    return len(made)


def _draw(strategy: Any, keep: Callable[[bytes], None]) -> None:
    from hypothesis import HealthCheck, given, settings

    @settings(
        max_examples=SEEDS,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def one(body: bytes) -> None:
        keep(body)

    one()


def main() -> int:
    """Fuzz until stopped; 2 if that is not possible here."""
    try:
        import atheris
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=PACKAGES):
        one_input = target()
    seeds = Path(tempfile.gettempdir()) / "phalanx-fuzz-seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    print(f"{make_seeds(seeds)} valid inputs to start from in {seeds}", file=sys.stderr)
    atheris.Setup([*sys.argv, str(seeds)], one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
