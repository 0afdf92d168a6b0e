"""What a transport can tell about itself: plain frozen snapshots, taken when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

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
