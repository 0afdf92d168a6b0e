"""One worker process and the two pipes to it, as the node holds them."""

import os
import select
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError, LocalFault
from enclaves.protocol import FRAME_LIMIT, FromNode, FromWorker, Ready

_LENGTH: Final = struct.Struct("<I")
_CHUNK: Final = 1 << 20
_SOURCES: Final = Path(__file__).resolve().parent.parent


class WorkerDied(Exception):
    """The worker's pipes ended, or what came through them was not the protocol; the text says which."""


class WorkerLink:
    """A running worker. Used by one thread at a time, except `kill`."""

    def __init__(self, watchdog_s: float) -> None:
        path = os.environ.get("PYTHONPATH")
        paths = str(_SOURCES) if not path else f"{_SOURCES}{os.pathsep}{path}"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "enclaves.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths},
                bufsize=0,
            )
        except OSError as error:
            raise LocalFault(f"can not start a guest worker: {error}") from error
        if self._process.stdin is None or self._process.stdout is None:
            raise LocalFault("can not start a guest worker: no pipes")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._send_fd, self._receive_fd = self._stdin.fileno(), self._stdout.fileno()
        os.set_blocking(self._send_fd, False)
        self._watchdog_s = watchdog_s
        self._ready = False
        self.pid = self._process.pid

    def send(self, message: FromNode) -> None:
        """Raises WorkerDied, LocalFault when the worker never became ready or takes nothing for too long."""
        if not self._ready:
            self._await_ready()
        body = encode(message)
        rest = memoryview(_LENGTH.pack(len(body)) + body)
        while rest:
            self._wait(self._send_fd, select.POLLOUT)
            try:
                rest = rest[os.write(self._send_fd, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise WorkerDied(self._ending()) from None

    def receive(self) -> FromWorker:
        """Raises WorkerDied, LocalFault when the worker is silent for too long."""
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        if length > FRAME_LIMIT:
            raise WorkerDied(f"it announced a frame of {length} bytes")
        try:
            message: FromWorker = decode(FromWorker, self._take(length), limit=FRAME_LIMIT)  # type: ignore[arg-type]
        except DecodeError as error:
            raise WorkerDied(f"it spoke nonsense: {error}") from None
        return message

    def kill(self) -> None:
        """End the process, whatever it does. Idempotent, from any thread; its user sees the pipes end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and give the pipes back; by whoever uses the link, or when nobody does."""
        self.kill()
        self._stdin.close()
        self._stdout.close()

    def _await_ready(self) -> None:
        try:
            if not isinstance(self.receive(), Ready):
                raise LocalFault("a guest worker did not say that it is ready")
        except WorkerDied as death:
            raise LocalFault(f"a guest worker does not start ({death})") from None
        self._ready = True

    def _take(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            self._wait(self._receive_fd, select.POLLIN)
            part = os.read(self._receive_fd, min(length - len(parts), _CHUNK))
            if not part:
                raise WorkerDied(self._ending())
            parts += part
        return bytes(parts)

    def _wait(self, fd: int, events: int) -> None:
        poll = select.poll()
        poll.register(fd, events)
        if not poll.poll(self._watchdog_s * 1000):
            raise LocalFault(f"guest worker {self.pid} is silent for {self._watchdog_s:.0f} s")

    def _ending(self) -> str:
        status = self._process.wait()
        return f"signal {-status}" if status < 0 else f"exit status {status}"
