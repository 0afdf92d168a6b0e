"""What `make fuzz` fuzzes, without atheris: it is imported late enough to be instrumented, and it notices."""

import subprocess
import sys
from pathlib import Path

import coverage_guided
import pytest
import test_fuzz_decoders
from wire_types import decoded_types, hostile

from consensus.primitives.codec import decode
from consensus.primitives.errors import DecodeError

BODIES = [body[:2_000] for body in hostile()]
HERE = str(Path(__file__).parent)
LATE = (
    "import sys; sys.path.insert(0, sys.argv[1]); import coverage_guided;"
    "print(*[name for name in sys.modules if name.split('.')[0] in coverage_guided.PACKAGES])"
)


def test_nothing_of_the_tree_is_imported_before_atheris_looks_on():
    command = [sys.executable, "-c", LATE, HERE]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert not loaded


def test_every_first_byte_is_a_target_and_hostile_input_is_no_finding():
    one_input = coverage_guided.target()
    assert max(len(test_fuzz_decoders.CALLED), len(decoded_types())) <= 256
    for which in range(256):
        one_input(bytes([which]))
        one_input(bytes([which]) + BODIES[which % len(BODIES)])


@pytest.mark.slow
def test_every_target_has_valid_inputs_to_start_from(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage_guided, "SEEDS", 2)
    count = coverage_guided.make_seeds(tmp_path)
    inputs = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(inputs) == count
    kinds = sorted(decoded_types().items())
    decoded = {
        which for data in inputs if (which := data[0]) < len(kinds) and _is_valid(kinds[which][1], data[1:])
    }
    assert decoded == set(range(len(kinds)))
    one_input = coverage_guided.target()
    for data in inputs:
        one_input(data)


def _is_valid(kind, data):
    try:
        decode(kind, data, limit=coverage_guided.LIMIT)
    except DecodeError:
        return False
    return True


def test_a_decoder_that_raises_what_it_does_not_declare_is_a_finding(monkeypatch):
    name = test_fuzz_decoders.CALLED[0]
    _, kinds = test_fuzz_decoders.decoders()[name]

    def broken(*arguments):
        raise ZeroDivisionError

    monkeypatch.setitem(test_fuzz_decoders.decoders(), name, (broken, kinds))
    with pytest.raises(ZeroDivisionError):
        coverage_guided.target()(b"\x00x")
