"""A disposable process that runs guests: `python -m enclaves.worker`, started by `pool` alone.

It holds no secret and no state but compiled modules. Whatever a guest does to it, up to killing it, is seen
by the node as the end of two pipes. It ends when its node does, even in the middle of a guest.
"""

import os
import resource
import select
import signal
import struct
import sys
import threading
from collections.abc import Sequence
from typing import Final

from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError, LocalFault
from consensus.primitives.guest import GuestCall, GuestOutcome, Status
from consensus.primitives.ids import Fuel, Hash
from consensus.primitives.tree import WitnessIncomplete, get_many, load_witness, tree_key, update
from enclaves import protocol
from enclaves.execute import execute, is_compiled, prepare, start_engine
from enclaves.module import InvalidModule, admit
from enclaves.protocol import (
    FRAME_LIMIT,
    GUEST_NAMESPACE,
    WITNESS_LIMIT,
    Admission,
    Admit,
    BadWitness,
    Code,
    FromNode,
    FromWorker,
    NeedCode,
    Prepare,
    ReadReply,
    ReadRequest,
    Ready,
    Run,
    RunStateless,
    Unable,
)

DATA_LIMIT_BYTES: Final = 1024 * 1024 * 1024  # private writable memory; a guest's own cap is 32 MiB
STACK_LIMIT_BYTES: Final = 8 * 1024 * 1024  # of this process; guests get a fourth of it at most
_LENGTH: Final = struct.Struct("<I")


class _NodeGone(Exception):
    """The node closed its end."""


class Worker:
    """The worker's side of `protocol`, over two file descriptors."""

    def __init__(self, receive_fd: int, send_fd: int) -> None:
        self._receive_fd = receive_fd
        self._send_fd = send_fd

    def serve(self) -> None:
        """Answer requests until the node goes away."""
        self._send(Ready())
        try:
            while True:
                request = self._receive()
                try:
                    answer = self._answer(request)
                except LocalFault as fault:
                    answer = Unable(reason=protocol.shorten(str(fault)))
                except MemoryError:
                    answer = Unable(reason="the guest worker is out of memory")
                self._send(answer)
        except (_NodeGone, BrokenPipeError):
            return

    def _answer(self, request: FromNode) -> FromWorker:
        match request:
            case Run(call=wire):
                outcome = execute(self._with_code(protocol.restore_call(wire)), self._read)
                return protocol.done(outcome, None)
            case RunStateless(call=wire, pre_root=pre_root, witness=witness):
                return run_stateless(self._with_code(protocol.restore_call(wire)), pre_root, witness)
            case Prepare(call=wire):
                prepare(self._with_code(protocol.restore_call(wire)))
                return protocol.done(GuestOutcome(status=Status.OK, fuel_used=Fuel(0)), None)
            case Admit(code=code):
                return Admission(refusal=refusal_of(code))
            case _:
                raise RuntimeError(f"the node sent {type(request).__name__} out of turn")

    def _with_code(self, call: GuestCall) -> GuestCall:
        if is_compiled(call):
            return call
        self._send(NeedCode())
        reply = self._receive()
        if not isinstance(reply, Code):
            raise RuntimeError(f"the node sent {type(reply).__name__} in place of code")
        return protocol.with_code(call, reply.code)

    def _read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        self._send(ReadRequest(keys=tuple(keys)))
        reply = self._receive()
        if not isinstance(reply, ReadReply):
            raise RuntimeError(f"the node sent {type(reply).__name__} in place of values")
        return reply.values

    def _receive(self) -> FromNode:
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        message: FromNode = decode(FromNode, self._take(length), limit=FRAME_LIMIT)  # type: ignore[arg-type]
        return message

    def _take(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = os.read(self._receive_fd, min(length - len(parts), 1 << 20))
            if not part:
                raise _NodeGone
            parts += part
        return bytes(parts)

    def _send(self, message: FromWorker) -> None:
        body = encode(message)
        rest = memoryview(_LENGTH.pack(len(body)) + body)
        while rest:
            rest = rest[os.write(self._send_fd, rest) :]


def refusal_of(code: bytes) -> str | None:
    """Why these bytes may not run as a guest, or None. It enters receipts: no word of it is the engine's."""
    try:
        admit(code)
    except InvalidModule as reason:
        return protocol.shorten(reason.rule)
    return None


def run_stateless(call: GuestCall, pre_root: Hash, witness: bytes) -> protocol.Done | BadWitness:
    """Run a call over the partial tree of a witness, write its changes, and say what the root became."""
    try:
        nodes = load_witness(witness, pre_root, WITNESS_LIMIT)

        def read(keys: Sequence[bytes]) -> Sequence[bytes | None]:
            return get_many(nodes, pre_root, [tree_key(GUEST_NAMESPACE, key) for key in keys])

        outcome = execute(call, read)
        changes = {tree_key(GUEST_NAMESPACE, key): value for key, value in outcome.writes}
        post_root = update(nodes, pre_root, changes).root if changes else pre_root
    except (DecodeError, WitnessIncomplete) as reason:
        return BadWitness(reason=protocol.shorten(str(reason)))
    return protocol.done(outcome, post_root)


def _end_with_node(receive_fd: int) -> None:
    """Leave at once when the node's end of the pipe closes, whatever a guest is doing."""
    poll = select.poll()
    poll.register(receive_fd, 0)  # hang-up is always reported
    poll.poll()
    os._exit(0)


def main() -> None:
    """Take the pipes off the standard streams, bound memory, warm up, serve."""
    receive_fd, send_fd = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # a stray print goes to the log, not into a frame
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the node, which closes the pipe
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT_BYTES, DATA_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    stack = STACK_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(STACK_LIMIT_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, hard))
    threading.Thread(target=_end_with_node, args=(receive_fd,), daemon=True).start()
    warm_up()
    Worker(receive_fd, send_fd).serve()
    sys.exit(0)


def warm_up() -> None:
    """Build the engine and the codec's plans before the first call needs them."""
    outcome = GuestOutcome(status=Status.OK, fuel_used=Fuel(0))
    encode(protocol.done(outcome, None))
    encode(ReadRequest(keys=()))
    decode(FromNode, encode(ReadReply(values=())), limit=FRAME_LIMIT)  # type: ignore[arg-type]
    start_engine()


if __name__ == "__main__":
    main()
