"""Coverage-guided fuzzing of every decoder and wire type, with atheris: `make fuzz`.

The hypothesis tests beside this run always; this runs as long as one lets it (`-max_total_time=600`, and
what else libFuzzer takes) and finds what blind mutation does not reach. The first byte of an input chooses
the target. Only the tree's own modules are instrumented: all that Python has loaded takes minutes.
atheris is not among the pinned packages: it wants a compiler with libFuzzer, or a wheel for this very Python.
"""

import sys
from collections.abc import Callable

LIMIT = 1 << 22
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


def main() -> int:
    """Fuzz until stopped; 2 if that is not possible here."""
    try:
        import atheris
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=PACKAGES):
        one_input = target()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
