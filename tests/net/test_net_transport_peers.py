"""Whom a transport is connected with may change while it runs."""

import socket
import threading

import pytest
import trio
from net_world import IDS, LOOPBACK, QUICK, Node, free_port, wait_for

from net.identity import Identity
from net.transport import RESOLVERS

LOW, MIDDLE, HIGH = 0, 1, 2


def test_a_peer_that_is_listed_later_is_dialled_and_one_that_is_not_any_more_is_let_go() -> None:
    async def main() -> None:
        welcome = {IDS[MIDDLE], IDS[HIGH]}
        async with (
            Node(MIDDLE, {}).running() as middle,
            Node(HIGH, {}).running() as high,
            Node(LOW, {}, authorised=welcome.__contains__).running() as low,
        ):
            addresses = {IDS[MIDDLE]: middle.transport.address, IDS[HIGH]: high.transport.address}
            low.transport.set_peers({IDS[MIDDLE]: addresses[IDS[MIDDLE]]})
            await low.until_up(MIDDLE)
            low.transport.set_peers(addresses)
            await low.until_up(HIGH)
            assert low.story == [("up", IDS[MIDDLE]), ("up", IDS[HIGH])]  # who stays keeps its connection
            low.transport.set_peers({IDS[HIGH]: addresses[IDS[HIGH]]})
            await trio.sleep(0.05)
            assert IDS[MIDDLE] in low.transport.connected()  # not dialled any more, but welcome
            welcome.remove(IDS[MIDDLE])
            low.transport.set_peers({IDS[HIGH]: addresses[IDS[HIGH]]})
            await low.until(lambda: ("down", IDS[MIDDLE]) in low.story)
            await trio.sleep(2 * QUICK.dial_backoff_min_s)
            assert low.transport.connected() == [IDS[HIGH]]
            welcome.add(IDS[MIDDLE])
            low.transport.set_peers(addresses)  # and back again
            await low.until_up(MIDDLE, times=2)

    trio.run(main)


def test_a_peer_that_moves_is_found_at_its_new_address() -> None:
    async def main() -> None:
        with free_port() as port:
            nowhere = (LOOPBACK, port)
        async with Node(LOW, {IDS[HIGH]: nowhere}).running() as low:
            await low.log.wait("peer.refused", reason="unreachable")
            async with Node(HIGH, {}).running() as high:
                low.transport.set_peers({IDS[HIGH]: high.transport.address})
                await low.until_up(HIGH)
                low.transport.set_peers({IDS[HIGH]: high.transport.address})  # nothing new: nothing happens
                assert low.story == [("up", IDS[HIGH])]

    trio.run(main)


def test_peers_named_before_it_runs_are_dialled_when_it_does() -> None:
    async def main() -> None:
        async with Node(HIGH, {}).running() as high:
            node = Node(LOW, {})
            node.transport.set_peers({IDS[HIGH]: high.transport.address, IDS[LOW]: (LOOPBACK, 1)})
            async with node.running() as low:
                await low.until_up(HIGH)
                await wait_for(lambda: IDS[LOW] in high.transport.connected())

    trio.run(main)


@pytest.mark.parametrize("host", ["a..b", ".", "x" * 64, "\u2603" * 64, "xn--\u2603", "a\0b", "\u3002"])
def test_a_host_that_can_have_no_name_is_unreachable_and_no_more(host: str) -> None:
    async def main() -> None:
        async with Node(LOW, {IDS[MIDDLE]: (host, 1)}).running() as low, Node(HIGH, {}).running() as high:
            await low.log.wait("peer.refused", reason="unreachable")
            low.transport.set_peers({IDS[MIDDLE]: (host, 1), IDS[HIGH]: high.transport.address})
            await low.until_up(HIGH)

    trio.run(main)


def test_names_that_no_server_answers_for_keep_no_thread_from_others(monkeypatch) -> None:
    answered, real = threading.Event(), socket.getaddrinfo
    asked: list[str] = []

    def look_up(host, *rest, **more):
        if host.endswith(".invalid") and not more.get("flags", 0) & socket.AI_NUMERICHOST:
            asked.append(host)
            answered.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no server answers")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def main() -> None:
        strangers = [Identity(bytes([100 + number]) * 32).peer_id for number in range(3 * RESOLVERS)]
        peers = {each: (f"{each.hex()[:8]}.invalid", 1) for each in strangers}
        async with Node(HIGH, {}).running() as high:
            peers[IDS[HIGH]] = high.transport.address
            async with Node(LOW, peers).running() as low:
                await wait_for(lambda: len(asked) == RESOLVERS)
                await low.until_up(HIGH)  # an address needs nobody's answer
                assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
                assert len(asked) == RESOLVERS
                answered.set()

    trio.run(main)
