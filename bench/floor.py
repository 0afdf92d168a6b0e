"""The floor under finality latency: what this machine takes to do the unavoidable, without an engine.

A bare cluster of `n` processes in a full mesh of plain TCP. In each round a leader signs and sends 200
bytes; every process checks the signature, appends 256 bytes and fdatasyncs, signs a vote and sends it to
all; whoever holds a quorum of checked votes is done, and the next leader begins. Measured from the leader's
send to the quorum at every process, like the finality of a block. The rest that a node adds (encryption,
codec, state, safety rules) is what `p50_over_floor` shows.
"""

import json
import os
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import nacl.signing
import trio

from bench.ports import free_ports

BODY_BYTES: Final = 200
RECORD: Final = bytes(256)
FRAME: Final = struct.Struct(">BIQ")  # kind, sender, round
PROPOSAL: Final = 0
VOTE: Final = 1
FRAME_BYTES: Final = FRAME.size + BODY_BYTES + 64


async def measure_floor_ns(validators: int, rounds: int) -> list[int]:
    """Latencies from proposal to quorum, in nanoseconds: one per round and process, warm-up left out."""
    ports = free_ports(validators)
    with tempfile.TemporaryDirectory(prefix="phalanx-floor-") as scratch:
        commands = [
            [sys.executable, "-m", "bench.floor", str(index), str(rounds), scratch, *map(str, ports)]
            for index in range(validators)
        ]
        results: list[str] = [""] * validators

        async def run(index: int) -> None:
            done = await trio.run_process(commands[index], capture_stdout=True)
            results[index] = done.stdout.decode()

        async with trio.open_nursery() as nursery:
            for index in range(validators):
                nursery.start_soon(run, index)
    reports = [json.loads(text) for text in results]
    proposed = {int(turn): at for report in reports for turn, at in report["proposed"].items()}
    warm_up = rounds // 10
    return [
        at - proposed[int(turn)]
        for report in reports
        for turn, at in report["quorum"].items()
        if int(turn) >= warm_up
    ]


class _Bare:
    """One process of the bare cluster."""

    def __init__(self, index: int, rounds: int, scratch: Path, ports: list[int]) -> None:
        self.index = index
        self.rounds = rounds
        self.ports = ports
        self.quorum = 2 * len(ports) // 3 + 1
        seeds = [index_.to_bytes(32, "big") for index_ in range(1, len(ports) + 1)]
        self.key = nacl.signing.SigningKey(seeds[index])
        self.public = [nacl.signing.SigningKey(seed).verify_key for seed in seeds]
        self.journal = os.open(scratch / f"{index}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.streams: dict[int, trio.SocketStream] = {}
        self.votes: dict[int, int] = {}
        self.proposed: dict[int, int] = {}
        self.reached: dict[int, int] = {}
        self.finished = trio.Event()
        self.linked = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(self.ports[self.index], host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, self._accept, listeners)
            for peer in range(self.index):
                nursery.start_soon(self._dial, peer, nursery)
            await self.linked.wait()
            if self.index == 0:
                await trio.sleep(0.3)  # everybody linked; the first round is warm-up anyway
                await self._propose(0)
            await self.finished.wait()
            await trio.sleep(0.3)  # let slower processes collect the last votes
            nursery.cancel_scope.cancel()

    async def _accept(self, stream: trio.SocketStream) -> None:
        peer = (await stream.receive_some(1))[0]
        await self._serve(peer, stream)

    async def _dial(self, peer: int, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", self.ports[peer])
                break
            except OSError:
                await trio.sleep(0.02)
        await stream.send_all(bytes([self.index]))
        nursery.start_soon(self._serve, peer, stream)

    async def _serve(self, peer: int, stream: trio.SocketStream) -> None:
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        self.streams[peer] = stream
        if len(self.streams) == len(self.ports) - 1:
            self.linked.set()
        buffer = bytearray()
        try:
            while data := await stream.receive_some(65536):
                buffer += data
                while len(buffer) >= FRAME_BYTES:
                    frame = bytes(buffer[:FRAME_BYTES])
                    del buffer[:FRAME_BYTES]
                    await self._handle(frame)
        except trio.BrokenResourceError:
            return  # the peer has finished its rounds and left

    async def _handle(self, frame: bytes) -> None:
        kind, sender, turn = FRAME.unpack_from(frame)
        body, signature = frame[:-64], frame[-64:]
        self.public[sender].verify(body, signature)
        if kind == PROPOSAL:
            await self._vote(turn)
        else:
            await self._count(turn)

    async def _propose(self, turn: int) -> None:
        self.proposed[turn] = time.monotonic_ns()
        self._broadcast(PROPOSAL, turn)
        await self._vote(turn)

    async def _vote(self, turn: int) -> None:
        await trio.to_thread.run_sync(self._append)
        self._broadcast(VOTE, turn)
        await self._count(turn)

    def _append(self) -> None:
        os.write(self.journal, RECORD)
        os.fdatasync(self.journal)

    async def _count(self, turn: int) -> None:
        self.votes[turn] = self.votes.get(turn, 0) + 1
        if self.votes[turn] != self.quorum:
            return
        self.reached[turn] = time.monotonic_ns()
        following = turn + 1
        if following == self.rounds:
            self.finished.set()
        elif following % len(self.ports) == self.index:
            await self._propose(following)

    def _broadcast(self, kind: int, turn: int) -> None:
        body = FRAME.pack(kind, self.index, turn) + bytes(BODY_BYTES)
        frame = body + self.key.sign(body).signature
        for peer in sorted(self.streams):
            self._write(peer, frame)

    def _write(self, peer: int, frame: bytes) -> None:
        """A plain write: a frame this small goes whole into an idle socket's buffer, without a queue."""
        try:
            written = os.write(self.streams[peer].socket.fileno(), frame)
        except (BrokenPipeError, ConnectionResetError):
            if len(self.reached) < self.rounds - 1:
                raise
            return  # it has finished its rounds and left
        if written != len(frame):
            raise RuntimeError(f"the socket to process {peer} took {written} of {len(frame)} bytes")


def main() -> None:
    """One process of the bare cluster: `python -m bench.floor INDEX ROUNDS SCRATCH PORT…`."""
    index, rounds, scratch, *ports = sys.argv[1:]
    bare = _Bare(int(index), int(rounds), Path(scratch), [int(port) for port in ports])
    trio.run(bare.run)
    print(json.dumps({"proposed": bare.proposed, "quorum": bare.reached}))


if __name__ == "__main__":
    main()
