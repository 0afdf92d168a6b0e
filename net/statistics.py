"""What a transport can tell about itself: frozen snapshots, and the counters they are taken from."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from net.errors import RefusalReason
from net.identity import PeerId
from net.lanes import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTripTime:
    """Round trips of pings on the CONSENSUS path: the peer's loop latency is in them, as it is in votes."""

    last_us: int
    smoothed_us: int  # exponentially weighted, 1/8 for the newest (RFC 6298's SRTT)
    p90_us: int  # of the last 64 samples
    samples: int  # since the connection was made


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatistics:
    """One lane of one peer. Counters start with the transport, and survive reconnects."""

    sent_frames: int
    sent_bytes: int  # payload
    received_frames: int
    received_bytes: int
    dropped_frames: int  # refused by `send` because the queue was full, or lost with a connection
    queued_frames: int  # now
    queued_bytes: int  # now


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatistics:
    """One peer that is, or once was, connected."""

    connected: bool
    inbound: bool  # who dialled the present or the last connection
    connections: int  # how often it was connected
    records_sent: int  # Noise messages; sent_frames / records_sent is the coalescing achieved
    records_received: int
    wire_bytes_sent: int
    wire_bytes_received: int
    last_disconnect: str | None
    round_trip: RoundTripTime | None
    lanes: Mapping[Lane, LaneStatistics]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportStatistics:
    """The whole transport."""

    connected: int
    pending_inbound: int  # connections that have not proven who they are
    refused: Mapping[RefusalReason, int]
    banned: Mapping[PeerId, float]  # seconds left
    peers: Mapping[PeerId, PeerStatistics]


RTT_WINDOW: Final = 64
RTT_WEIGHT: Final = 8  # the newest sample counts 1/8


@dataclass(slots=True)
class LaneCounters:
    """Counters of one lane of one peer."""

    sent_frames: int = 0
    sent_bytes: int = 0
    received_frames: int = 0
    received_bytes: int = 0
    dropped_frames: int = 0


@dataclass(slots=True)
class PeerCounters:
    """Counters of one peer; one object for all its connections."""

    lanes: list[LaneCounters] = field(default_factory=lambda: [LaneCounters() for _ in Lane])
    connected: bool = False
    connections: int = 0
    inbound: bool = False
    records_sent: int = 0
    records_received: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    last_disconnect: str | None = None

    def snapshot(
        self, *, queued: Callable[[Lane], tuple[int, int]] | None, round_trip: RoundTripTime | None
    ) -> PeerStatistics:
        """The counters, with what only a connection knows: (frames, bytes) queued in a lane, round trip."""
        lanes: dict[Lane, LaneStatistics] = {}
        for lane, counted in zip(Lane, self.lanes, strict=True):
            frames, size = (0, 0) if queued is None else queued(lane)
            lanes[lane] = LaneStatistics(
                sent_frames=counted.sent_frames,
                sent_bytes=counted.sent_bytes,
                received_frames=counted.received_frames,
                received_bytes=counted.received_bytes,
                dropped_frames=counted.dropped_frames,
                queued_frames=frames,
                queued_bytes=size,
            )
        return PeerStatistics(
            connected=self.connected,
            inbound=self.inbound,
            connections=self.connections,
            records_sent=self.records_sent,
            records_received=self.records_received,
            wire_bytes_sent=self.wire_bytes_sent,
            wire_bytes_received=self.wire_bytes_received,
            last_disconnect=self.last_disconnect,
            round_trip=round_trip,
            lanes=lanes,
        )


class RoundTripMeter:
    """Smoothed round trip and the p90 of a window; one for each connection."""

    __slots__ = ("_samples", "_smoothed_us", "_window")

    def __init__(self) -> None:
        self._window: deque[int] = deque(maxlen=RTT_WINDOW)
        self._smoothed_us = 0
        self._samples = 0

    def add(self, rtt_us: int) -> None:
        """Take one sample, in microseconds."""
        self._window.append(rtt_us)
        self._samples += 1
        if self._samples == 1:
            self._smoothed_us = rtt_us
        else:
            self._smoothed_us += (rtt_us - self._smoothed_us) // RTT_WEIGHT

    def snapshot(self) -> RoundTripTime | None:
        """None before the first sample."""
        if not self._window:
            return None
        ordered = sorted(self._window)
        return RoundTripTime(
            last_us=self._window[-1],
            smoothed_us=self._smoothed_us,
            p90_us=ordered[(len(ordered) * 9 + 9) // 10 - 1],  # nearest rank
            samples=self._samples,
        )
