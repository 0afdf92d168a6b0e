"""Every bound and every time-out of the network in one place, with the reason for its default.

Memory per authenticated peer is at most the sum of `LaneLimit.queue_bytes` (outgoing; a broadcast frame is
one object in all queues) plus the sum of `LaneLimit.frame_bytes` (incoming frames being put together) plus
about 0.4 MiB of buffers: by default 60 + 31 MiB, if the peer is as bad as it can be. Per
unauthenticated connection a socket, a task and less than 400 bytes of what it sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from net.lanes import Lane

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimit:
    """Bounds of one lane of one peer."""

    frame_bytes: int  # largest frame, sent or received; a larger one received is a `RemoteFault`
    queue_bytes: int  # payload bytes waiting to be sent
    queue_frames: int  # frames waiting to be sent


DEFAULT_LANES: Final[Mapping[Lane, LaneLimit]] = MappingProxyType(
    {
        # A slow peer may lag by some views of votes; beyond that it is better reconnected and resynchronised.
        Lane.CONSENSUS: LaneLimit(frame_bytes=4 * MIB, queue_bytes=8 * MIB, queue_frames=16_384),
        Lane.BLOCKS: LaneLimit(frame_bytes=8 * MIB, queue_bytes=16 * MIB, queue_frames=1_024),
        Lane.CANDIDATES: LaneLimit(frame_bytes=9 * MIB, queue_bytes=16 * MIB, queue_frames=4_096),
        Lane.TRANSACTIONS: LaneLimit(frame_bytes=2 * MIB, queue_bytes=4 * MIB, queue_frames=32_768),
        Lane.BULK: LaneLimit(frame_bytes=8 * MIB, queue_bytes=16 * MIB, queue_frames=256),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Local settings of a transport; nothing here is agreed with peers except `LaneLimit.frame_bytes`."""

    lanes: Mapping[Lane, LaneLimit] = field(default_factory=lambda: DEFAULT_LANES)

    pending_inbound: int = 64
    """Inbound connections that have not proven an identity yet. When full the oldest is evicted, not the
    newest refused: an honest handshake is over in milliseconds, so it is the slow one that is suspect."""

    handshake_timeout_s: float = 3.0
    """From accept or connect to the end of the handshake; also bounds the TCP connect."""

    ping_interval_s: float = 1.0
    """How often the round trip is measured and, with it, the life of the link shown."""

    idle_timeout_s: float = 6.0
    """Nothing heard for so long although we were listening: the link is dead. Several ping intervals, and
    below what a person would call an outage."""

    stall_timeout_s: float = 10.0
    """No byte of a pending write taken by the peer's kernel for so long: the peer has stopped reading."""

    ban_s: float = 60.0
    """CONSENSUS.md section 21."""

    dial_backoff_min_s: float = 0.05
    dial_backoff_max_s: float = 1.0
    """Doubled after each failure, each wait drawn uniformly from [½, 1] of it."""

    knock_interval_s: float = 5.0
    """How often the side that does not dial shows itself while unconnected (see `transport`)."""

    unsent_bytes: int = 64 * KIB
    """TCP_NOTSENT_LOWAT: what the kernel may hold unsent. Bytes in there can not be overtaken by a vote."""

    def __post_init__(self) -> None:
        missing = set(Lane) - set(self.lanes)
        if missing:
            raise ValueError(f"limits are missing for lanes {sorted(missing)}")
        if self.idle_timeout_s <= self.ping_interval_s:
            raise ValueError("idle_timeout_s must exceed ping_interval_s, or every quiet link is dropped")
