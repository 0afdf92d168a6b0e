"""Hashes and signatures against published vectors, and against the inputs on which libraries disagree."""

import itertools
import json
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from consensus.primitives import ids
from consensus.primitives.crypto import (
    SigningKey,
    hash_tagged,
    is_valid_public_key,
    public_key,
    verify,
)
from consensus.primitives.ids import PublicKey, SecretSeed, Signature

VECTORS = Path(__file__).parents[2] / "vectors"
RFC8032 = json.loads((VECTORS / "rfc8032.json").read_text())["cases"]
BLAKE3 = json.loads((VECTORS / "blake3.json").read_text())["cases"]

ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19

# The eight points of small order, and the encodings of them that are not canonical.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.parametrize("case", RFC8032, ids=lambda case: case["name"])
def test_rfc_8032_section_7_1(case: dict[str, str]) -> None:
    seed, public, message, signature = (
        bytes.fromhex(case[field]) for field in ("seed", "public", "message", "signature")
    )
    key = SigningKey(SecretSeed(seed))
    assert key.public == public == public_key(SecretSeed(seed))
    assert key.sign(message) == signature
    assert verify(PublicKey(public), message, Signature(signature))
    assert is_valid_public_key(public)


@pytest.mark.parametrize("case", BLAKE3, ids=lambda case: str(case["input_len"]))
def test_blake3_published_vectors(case: dict) -> None:
    data = bytes(index % 251 for index in range(case["input_len"]))
    assert blake3(data).hexdigest() == case["hash"]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_hash_tagged_is_the_hash_of_the_concatenation(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    parts = [data[low:high] for low, high in itertools.pairwise(edges)]
    assert hash_tagged(b"tag", *parts) == blake3(b"tag\x00" + b"".join(parts)).digest()


def test_tags_are_separate_domains() -> None:
    hashes = {hash_tagged(tag, b"data") for tag in (b"", b"a", b"ab", b"a/1", b"a/2")}
    assert len(hashes) == 5
    assert hash_tagged(b"a", b"b") != hash_tagged(b"ab")
    assert all(len(each) == 32 for each in hashes)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order_keys_are_refused_and_sign_nothing(point: str) -> None:
    """Under such a key S = 0 with R the identity would verify any message with a cofactored equation."""
    public = PublicKey(bytes.fromhex(point))
    assert not is_valid_public_key(public)
    for r in SMALL_ORDER:
        for message in (b"", b"a", b"b", b"c"):
            assert not verify(public, message, Signature(bytes.fromhex(r) + bytes(32)))


@pytest.mark.parametrize("y", [FIELD + 3, FIELD + 18, 2**255 - 1])
def test_non_canonical_keys_are_refused(y: int) -> None:
    for sign in (0, 1 << 255):
        assert not is_valid_public_key((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33), b"\x02" + bytes(31), b"\x01" * 31])
def test_keys_of_the_wrong_length_or_off_the_curve_are_refused(bad: bytes) -> None:
    assert not is_valid_public_key(bad)


def test_a_non_canonical_s_is_refused() -> None:
    """S + L satisfies the equation too: accepting it would make signatures malleable."""
    key = SigningKey(SecretSeed(b"s" * 32))
    signature = key.sign(b"message")
    s = int.from_bytes(signature[32:], "little")
    for multiple in (1, 2, 15):
        shifted = s + multiple * ORDER
        if shifted < 1 << 256:
            forged = Signature(signature[:32] + shifted.to_bytes(32, "little"))
            assert not verify(key.public, b"message", forged)
    assert verify(key.public, b"message", signature)


def test_every_flipped_bit_is_refused() -> None:
    key = SigningKey(SecretSeed(b"k" * 32))
    message = b"message"
    signature = key.sign(message)
    for bit in range(512):
        forged = bytearray(signature)
        forged[bit >> 3] ^= 1 << (bit & 7)
        assert not verify(key.public, message, Signature(bytes(forged)))
    for bit in range(256):
        other = bytearray(key.public)
        other[bit >> 3] ^= 1 << (bit & 7)
        assert not verify(PublicKey(bytes(other)), message, signature)
    assert not verify(key.public, message + b"\x00", signature)


@given(st.binary(max_size=70), st.binary(max_size=40), st.binary(max_size=70))
def test_verify_is_total(public: bytes, message: bytes, signature: bytes) -> None:
    assert verify(PublicKey(public), message, Signature(signature)) is False


def test_a_key_never_shows_its_secret() -> None:
    seed = SecretSeed(b"\xab" * 32)
    assert seed.hex() not in repr(SigningKey(seed))


def test_the_zero_hash_and_the_relay_chain() -> None:
    assert bytes(32) == ids.ZERO_HASH
    assert ids.RELAY_CHAIN == 0
