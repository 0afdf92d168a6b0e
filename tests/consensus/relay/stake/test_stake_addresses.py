"""Addresses in the ledger: exactly those that a library would dial without asking a name server."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.relay.stake.addresses import is_dialable
from node.config import parse_address


@given(st.ip_addresses(v=4), st.integers(1, 65_535))
def test_every_ipv4_address_is_one(host: ipaddress.IPv4Address, port: int) -> None:
    assert is_dialable(f"{host}:{port}")


@given(st.integers(0, 2**128 - 1), st.integers(1, 65_535), st.booleans())
def test_every_ipv6_address_is_one(number: int, port: int, long: bool) -> None:
    host = ipaddress.IPv6Address(number)
    text = (
        host.exploded if long else ":".join(f"{number >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))
    )
    assert is_dialable(f"[{text}]:{port}")
    if "." not in host.compressed:
        assert is_dialable(f"[{host.compressed}]:{port}")


@given(st.text(alphabet="0123456789abf:.[]%x", max_size=24))
def test_what_is_taken_is_what_a_node_dials(text: str) -> None:
    """Whatever it takes beside the empty one, a node reads as a literal address with a port."""
    if text and is_dialable(text):
        found = parse_address(text)
        assert found.is_literal
        assert 0 < found.port < 65_536
        ipaddress.ip_address(found.host)


@pytest.mark.parametrize(
    "text",
    [
        "localhost:7700",
        "a.example:7700",
        "1.2.3:7700",
        "1.2.3.256:7700",
        "01.2.3.4:7700",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:0",
        "1.2.3.4:65536",
        "1.2.3.4:07700",
        "1.2.3.4:77 00",
        "1.2.3.4:٣",
        "::1:7700",
        "[::1]",
        "[::1%eth0]:7700",
        "[::ffff:1.2.3.4]:7700",
        "[1::2::3]:7700",
        "[1:2:3:4:5:6:7]:7700",
        "[1:2:3:4:5:6:7:8:9]:7700",
        "[12345::]:7700",
        "[:1:2:3:4:5:6:7]:7700",
        "1.2.3.4:7700\n",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not is_dialable(text)


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1:7700", "[::]:1", "[::1]:7700", "[2001:db8::1]:65535", "[1:2:3:4:5:6:7:8]:9"]
)
def test_what_is_one_is_taken(text: str) -> None:
    assert is_dialable(text)
