"""A host may have several addresses, of which some lead nowhere."""

import socket

import pytest
import trio

from net import sockets

NO_FAMILY = (9_999, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))
NOWHERE = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("255.255.255.255", 1))  # nothing is even sent


def test_an_address_that_is_refused_at_once_is_no_connection_and_the_next_is_tried(monkeypatch) -> None:
    found = [NO_FAMILY, NOWHERE]

    async def resolve(*_):
        return found

    monkeypatch.setattr(sockets, "_resolve", resolve)

    async def main() -> None:
        nobody = trio.CapacityLimiter(1)
        with pytest.raises(OSError, match="can not connect to host:1"):
            await sockets.connect("host", 1, nobody)
        with await sockets.listen("127.0.0.1", 0) as listener:
            here = listener.getsockname()
            found.append((socket.AF_INET, socket.SOCK_STREAM, 0, "", here))
            with await sockets.connect("host", 1, nobody) as sock:
                assert sock.getpeername() == here

    trio.run(main)
