"""One authenticated connection: its reader, its writer, its heartbeat, and how it ends.

A frame costs no channel hop: `send` puts it into the outbox and, when the writer is idle, either seals and
writes it at once in the caller's turn (lanes CONSENSUS and BLOCKS: saves a third of the round trip) or wakes
the writer, which takes all that has gathered by the time it runs (the other lanes, where throughput is
worth more than 30 µs). The reader hands each frame to `receive` and reads no further until that returns.

A connection ends with a reason (a short sentence for the log) exactly once; `RemoteFault` also asks
for a ban.
"""

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from net.errors import CorruptRecord, RemoteFault
from net.frames import Frame, Inbox, Outbox, Ping, seal
from net.handshake import Session
from net.identity import PeerId
from net.lanes import Lane
from net.limits import Limits
from net.statistics import PeerCounters, RoundTripMeter

RECEIVE_BYTES: Final = 128 * 1024
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection ended, and whether the peer is to blame for it."""

    reason: str
    misbehaved: bool = False


class Connection:
    """The life of one connection after its handshake. `run` it once; everything else is synchronous."""

    def __init__(
        self,
        sock: socket.socket,
        session: Session,
        *,
        inbound: bool,
        limits: Limits,
        counters: PeerCounters,
        receive: Callable[[PeerId, Lane, bytes], Awaitable[None]],
        on_round_trip: Callable[[PeerId, int], None],
    ) -> None:
        self.peer: Final = session.peer
        self.inbound: Final = inbound
        self.opened_at: Final = trio.current_time()
        self.round_trip: Final = RoundTripMeter()
        self.closed: Final = trio.Event()  # set by the owner when all traces of the connection are gone
        self._sock = sock
        self._limits = limits
        self._counters = counters
        self._receive = receive
        self._on_round_trip = on_round_trip
        self._sending = session.sending
        self._inbox = Inbox(session.receiving, limits.lanes)
        self._surplus = session.surplus
        self._outbox: Final = Outbox(limits.lanes)
        self._unsent = memoryview(b"")  # the rest of a record that the kernel did not take
        self._writer_idle = False
        self._wake = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._ending: Ending | None = None
        self._listening_since: float | None = None  # None while `receive` keeps the reader busy
        self._stalled_since: float | None = None  # None unless the kernel refuses our bytes
        self._ping: tuple[int, float] | None = None  # token and time of the ping under way
        self._pings = 0

    # --- synchronous side

    def send(self, *frames: tuple[Lane, bytes]) -> bool:
        """Queue or send frames, in one record if they fit; whether all were taken. See `Transport.send`."""
        taken = [lane for lane, payload in frames if self._put(lane, payload)]
        if taken:
            self._flush(at_once=min(taken) <= Lane.BLOCKS)
        return len(taken) == len(frames)

    def _put(self, lane: Lane, payload: bytes) -> bool:
        counters = self._counters.lanes[lane]
        if self._ending is not None or not self._outbox.put(lane, payload):
            counters.dropped_frames += 1
            if lane is Lane.CONSENSUS and self._ending is None:
                self.close("too slow: its queue of consensus messages is full")
            return False
        counters.sent_frames += 1
        counters.sent_bytes += len(payload)
        return True

    def close(self, reason: str, *, misbehaved: bool = False) -> None:
        """End the connection; the first reason given stays."""
        if self._ending is None:
            self._ending = Ending(reason, misbehaved)
            self._scope.cancel()

    @property
    def ending(self) -> Ending:
        """Why it ended, once `run` has returned or raised."""
        return self._ending if self._ending is not None else Ending("this node is stopping")

    def queued(self, lane: Lane) -> tuple[int, int]:
        """(frames, bytes) that wait to be sent in a lane."""
        return self._outbox.queued(lane)

    # --- life

    async def run(self) -> None:
        """Serve until it ends, and close the socket. Frames still queued then are counted as dropped."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._keep_alive)
                    await self._read()
        finally:
            for lane in Lane:
                self._counters.lanes[lane].dropped_frames += self._outbox.queued(lane)[0]
            self._sock.close()

    async def _read(self) -> None:
        try:
            await self._dispatch(self._surplus)
            while data := await self._take():
                records = self._inbox.records
                await self._dispatch(data)
                self._counters.wire_bytes_received += len(data)
                self._counters.records_received += self._inbox.records - records
        except CorruptRecord as error:
            self.close(f"corrupted on the way: {error}")
        except RemoteFault as error:
            self.close(str(error), misbehaved=True)

    async def _take(self) -> bytes:
        """The next bytes of the stream; none when it is over, after `close`.

        Only here is an `OSError` the connection's: one out of `receive` is a fault of this node.
        """
        self._listening_since = trio.current_time()
        try:
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                with suppress(BlockingIOError):
                    data = self._sock.recv(RECEIVE_BYTES)
                    break
        except OSError as error:
            self.close(_broken(error))
            return b""
        self._listening_since = None
        if not data:
            self.close("the peer hung up")
        return data

    async def _dispatch(self, data: bytes) -> None:
        lanes = self._counters.lanes
        for item in self._inbox.receive(data):
            if isinstance(item, Frame):
                lane, payload = item
                lanes[lane].received_frames += 1
                lanes[lane].received_bytes += len(payload)
                await self._receive(self.peer, lane, payload)
            elif isinstance(item, Ping):
                self._outbox.put_pong(item.token)
                self._flush(at_once=True)
            else:
                self._pong(item.token)

    async def _write(self) -> None:
        try:
            while True:
                if self._unsent:
                    self._stalled_since = trio.current_time()
                    await trio.lowlevel.wait_writable(self._sock)
                    self._stalled_since = None
                    self._push()
                elif self._outbox:
                    self._load()
                    self._push()
                    await trio.lowlevel.checkpoint()
                else:
                    self._writer_idle = True
                    await self._wake.park()
                    self._writer_idle = False
        except OSError as error:
            self.close(_broken(error))

    def _flush(self, *, at_once: bool) -> None:
        """Get the outbox going, if the writer is not at it already."""
        if not self._writer_idle:
            return
        if at_once:
            try:
                self._load()
                self._push()
            except OSError as error:
                self.close(_broken(error))
                return
            if not self._unsent and not self._outbox:
                return
        self._writer_idle = False
        self._wake.unpark()

    def _load(self) -> None:
        """Seal the next record. Whatever comes later goes into a later one."""
        record = seal(self._sending, self._outbox.take())
        self._counters.records_sent += 1
        self._counters.wire_bytes_sent += len(record)
        self._unsent = memoryview(record)

    def _push(self) -> None:
        """Give the kernel what it takes of the present record. Raises `OSError`."""
        with suppress(BlockingIOError):  # `_write` waits for it
            self._unsent = self._unsent[self._sock.send(self._unsent) :]

    # --- heartbeat

    async def _keep_alive(self) -> None:
        limits = self._limits
        while True:
            now = trio.current_time()
            if self._ping is None:
                self._pings += 1
                self._ping = (self._pings, now)
                self._outbox.put_ping(self._pings)
                self._flush(at_once=True)
            await trio.sleep(limits.ping_interval_s)
            now = trio.current_time()
            if self._listening_since is not None and now - self._listening_since > limits.idle_timeout_s:
                self.close(f"silent for {limits.idle_timeout_s} s")
            if self._stalled_since is not None and now - self._stalled_since > limits.stall_timeout_s:
                self.close(f"took no bytes for {limits.stall_timeout_s} s")

    def _pong(self, token: int) -> None:
        if self._ping is None or self._ping[0] != token:
            raise RemoteFault("a pong that nobody asked for")
        rtt_us = round((trio.current_time() - self._ping[1]) * MICROSECONDS)
        self._ping = None
        self.round_trip.add(rtt_us)
        self._on_round_trip(self.peer, rtt_us)


def _broken(error: OSError) -> str:
    return f"the connection broke: {error.strerror or error}"
