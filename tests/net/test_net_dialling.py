"""The small pure parts: back-off, bans, quiet logging, round-trip statistics."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.bans import Bans
from net.dialling import Backoff
from net.errors import HandshakeRefused, RefusalReason
from net.identity import Identity, PeerId, verify_identity
from net.limits import Limits
from net.refusals import QUIET_S, REMEMBERED, Refusals
from net.statistics import RoundTripMeter

PEER = PeerId(bytes(32))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(0, 2**32))
def test_back_off_doubles_from_50_ms_to_1_s_with_jitter(seed: int) -> None:
    backoff = Backoff(Limits(), random.Random(seed))
    for base in (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert base / 2 <= backoff.failed(RefusalReason.UNREACHABLE) <= base
    backoff.succeeded()
    assert backoff.failed(RefusalReason.UNREACHABLE) <= 0.05


def test_a_clear_no_is_respected_and_a_heard_knock_is_enough() -> None:
    backoff = Backoff(Limits(), random.Random(0))
    assert backoff.failed(RefusalReason.UNKNOWN_PEER) >= 0.5
    assert backoff.failed(RefusalReason.DIAL_ORDER) >= 2.5
    assert backoff.failed(RefusalReason.UNREACHABLE) <= 0.05


def test_bans_end_by_themselves() -> None:
    clock = Clock()
    bans = Bans(60.0, clock)
    assert bans.left_s(PEER) == 0
    bans.add(PEER)
    clock.now += 59
    assert bans.left_s(PEER) == 1
    assert bans.snapshot() == {PEER: 1}
    clock.now += 1
    assert bans.snapshot() == {}


class Lines(list):
    def info(self, event: str, **values: object) -> None:
        self.append((event, values))


def test_repeated_refusals_are_counted_but_not_logged_over_and_over() -> None:
    clock, lines = Clock(), Lines()
    refusals = Refusals(lines, clock)
    refused = HandshakeRefused(RefusalReason.NOT_PHALANX, "what?")
    for _ in range(1000):
        refusals.note(refused, where="192.0.2.1", inbound=True, peer=None)
    assert len(lines) == 1
    clock.now += QUIET_S
    refusals.note(refused, where="192.0.2.1", inbound=True, peer=None)
    assert [values["repeated"] for _, values in lines] == [0, 999]
    for n in range(2 * REMEMBERED):
        refusals.note(refused, where=f"host {n}", inbound=True, peer=None)
    assert len(refusals._quiet) <= REMEMBERED
    assert refusals.snapshot() == {RefusalReason.NOT_PHALANX: 1001 + 2 * REMEMBERED}


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200))
def test_round_trips(samples: list[int]) -> None:
    meter = RoundTripMeter()
    assert meter.snapshot() is None
    for sample in samples:
        meter.add(sample)
    window = sorted(samples[-64:])
    seen = meter.snapshot()
    assert (seen.last_us, seen.samples) == (samples[-1], len(samples))
    assert min(samples) <= seen.smoothed_us <= max(samples)
    assert sum(sample <= seen.p90_us for sample in window) >= 0.9 * len(window)
    assert seen.p90_us in window


def test_identities_verify_and_malformed_ones_never_raise() -> None:
    identity = Identity(bytes(range(32)))
    signature = identity.sign(b"message")
    assert verify_identity(identity.peer_id, b"message", signature)
    assert not verify_identity(identity.peer_id, b"another", signature)
    assert not verify_identity(PeerId(b"short"), b"message", signature)
    assert not verify_identity(identity.peer_id, b"message", signature[:-1])
    assert not verify_identity(PeerId(bytes([1]) + bytes(31)), b"", bytes([1]) + bytes(63)), "small order"
    with pytest.raises(ValueError, match="32 bytes"):
        Identity(b"short")
    assert "0102" not in repr(identity).partition("peer_id")[0]
