"""The operating system's side: bind, connect, tune; and one handshake driven over a socket.

Plain non-blocking sockets with `trio.lowlevel.wait_readable` and `wait_writable`, not trio streams: a
connection may then write from synchronous code (`Connection.send`) as well as from its writer task.
"""

import errno
import socket
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio

from net.errors import HandshakeRefused, RefusalReason
from net.handshake import Handshake, Session

BACKLOG: Final = 256
PARTING_S: Final = 0.5
PARTING_BYTES: Final = 4096  # more than a whole handshake
TCP_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS


async def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError` if the address can not be bound."""
    family, kind, protocol, _, address = (
        await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:  # whatever it is: nobody else has the socket
        sock.close()
        raise
    return sock


async def accept(listener: socket.socket) -> tuple[socket.socket, str]:
    """The next connection and where it is from. Raises `OSError` when out of file descriptors."""
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            continue
        sock.setblocking(False)
        return sock, f"{address[0]}:{address[1]}"


async def connect(host: str, port: int, resolvers: trio.CapacityLimiter) -> socket.socket:
    """A connected socket, trying the addresses of `host` in turn. Raises `OSError`.

    A name is looked up in a thread of `resolvers`: where no server answers, a look-up keeps its thread for
    long after nobody waits for it any more, and trio's own threads are needed for other things.
    """
    failure: OSError | None = None
    try:
        found = await _resolve(host, port, resolvers)
    except UnicodeError as error:  # "a..b"
        raise OSError(f"{host!r} can not be the name of a host: {error}") from None
    for family, kind, protocol, _, address in found:
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # of a family that this machine does not have
            failure = error
            continue
        try:
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code == errno.EINPROGRESS:  # else it is decided: nothing is left to wait for
                await trio.lowlevel.wait_writable(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except BaseException:  # a cancellation, above all: nobody else has the socket
            sock.close()
            raise
        if not code:
            return sock
        sock.close()
        failure = OSError(code, f"can not connect to {host}:{port}")
    raise failure if failure is not None else OSError(f"{host} has no address")


async def _resolve(host: str, port: int, resolvers: trio.CapacityLimiter) -> list[Any]:
    """What `socket.getaddrinfo` says; an IP literal needs no thread."""
    with suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    return await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=resolvers)


def tune(sock: socket.socket, unsent_bytes: int) -> None:
    """No Nagle delay, and at most `unsent_bytes` in the kernel beyond what is on the wire.

    Bytes in the kernel can not be overtaken by a vote; without the bound that would be megabytes.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if TCP_NOTSENT_LOWAT is not None:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent_bytes)


async def shake_hands(sock: socket.socket, handshake: Handshake, timeout_s: float) -> Session:
    """Drive one handshake. Raises `HandshakeRefused`, also when the peer hangs up or takes too long."""
    with trio.move_on_after(timeout_s):
        return await _shake_hands(sock, handshake)
    raise HandshakeRefused(RefusalReason.TIMED_OUT, f"the handshake took longer than {timeout_s} s")


async def _shake_hands(sock: socket.socket, handshake: Handshake) -> Session:
    await _send_all(sock, handshake.start())
    while handshake.session is None:
        data = await _receive_some(sock, handshake.awaited_bytes)
        if not data:
            raise HandshakeRefused(RefusalReason.CLOSED, "the peer hung up in the handshake", by_remote=True)
        try:
            out = handshake.receive(data)
        except HandshakeRefused:
            await _part(sock, handshake.farewell)
            raise
        await _send_all(sock, out)
    return handshake.session


async def _part(sock: socket.socket, farewell: bytes) -> None:
    """Say why, and hang up such that it is heard.

    Closing a socket with unread bytes resets the connection, and a reset overtakes the farewell.
    """
    if not farewell:
        return
    unread = PARTING_BYTES
    with trio.move_on_after(PARTING_S), suppress(HandshakeRefused, OSError):  # it left before it heard why
        await _send_all(sock, farewell)
        sock.shutdown(socket.SHUT_WR)
        while unread > 0 and (data := await _receive_some(sock, unread)):
            unread -= len(data)


async def _receive_some(sock: socket.socket, most: int) -> bytes:
    while True:
        try:
            await trio.lowlevel.wait_readable(sock)
            return sock.recv(most)
        except BlockingIOError:
            continue
        except OSError as error:
            raise _broke(error) from None


async def _send_all(sock: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
        except OSError as error:
            raise _broke(error) from None


def _broke(error: OSError) -> HandshakeRefused:
    detail = f"the connection broke in the handshake: {error.strerror or error}"
    return HandshakeRefused(RefusalReason.CLOSED, detail, by_remote=True)
