"""Every wire and stored type against hostile bytes: DecodeError or the one value, and bounded memory."""

import tracemalloc

import msgpack
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from wire_types import decoded_types, hostile, junk, mangled, modules, values_of

from consensus.primitives import codec
from consensus.primitives.codec import BUILT_WHOLE_BYTES, decode, encode
from consensus.primitives.errors import DecodeError

LIMIT = 1 << 22
TYPES = sorted(decoded_types().items())
FIXED_BYTES = 100 * BUILT_WHOLE_BYTES  # what a small input may cost, however dense
BYTES_A_BYTE = 8  # what a byte of a larger one may: the input itself, a copy, and what was valid so far

fuzzing = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=set(Phase) - {Phase.explain},
)


def outcome(kind, data):
    """The value, or None; anything but a DecodeError fails the test that asks."""
    try:
        return decode(kind, data, limit=LIMIT)
    except DecodeError:
        return None


def both_ways(kind, data, monkeypatch):
    """Whole at once and item by item are two readers of one format: they must agree on every input."""
    monkeypatch.setattr(codec, "BUILT_WHOLE_BYTES", LIMIT)
    whole = outcome(kind, data)
    monkeypatch.setattr(codec, "BUILT_WHOLE_BYTES", -1)
    assert outcome(kind, data) == whole
    monkeypatch.undo()
    return whole


def test_the_types_are_found():
    names = dict(TYPES)
    for expected in ("Vote", "Proposal", "Chain", "SignedRecord", "AmnesiaReply", "Genesis", "LightProof"):
        assert any(name.endswith(f".{expected}") for name in names), expected
    assert len(names) > 50
    assert len(modules()) > 80


@pytest.mark.parametrize(("name", "kind"), TYPES, ids=[name for name, _ in TYPES])
def test_values_come_back_and_what_is_mangled_does_not_pass(name, kind, monkeypatch):
    @fuzzing
    @given(st.data())
    def check(data):
        value = data.draw(values_of(kind))
        encoded = encode(value)
        assert both_ways(kind, encoded, monkeypatch) == value
        broken = data.draw(mangled(encoded))
        read = both_ways(kind, broken, monkeypatch)
        assert read is None or encode(read) == broken
        read = both_ways(kind, data.draw(junk), monkeypatch)
        with pytest.raises(DecodeError):
            decode(kind, encoded, limit=len(encoded) - 1)

    check()


@pytest.mark.parametrize(("name", "kind"), TYPES, ids=[name for name, _ in TYPES])
def test_what_is_hostile_costs_little(name, kind, monkeypatch):
    inputs = hostile()
    for data in inputs:
        both_ways(kind, data, monkeypatch)
    for data in inputs:
        large = msgpack.packb([1, 1, *([[]] * 100_000)]) if data == b"" else data
        outcome(kind, data)
        tracemalloc.start()
        try:
            outcome(kind, large)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak <= FIXED_BYTES + BYTES_A_BYTE * len(large), (len(large), large[:20])
