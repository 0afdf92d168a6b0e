"""Every message of state sync survives its encoding, and nothing else decodes to one."""

import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "consensus" / "light"))

from light_chain import LightChain

from consensus.agreement.messages import FinalityProof
from consensus.primitives.errors import DecodeError
from consensus.primitives.ids import Epoch, Hash, Height
from net.lanes import Lane
from net.limits import DEFAULT_LANES
from node.state_sync.messages import (
    MAX_FRAME_BYTES,
    MAX_PIECE_BYTES,
    GetHops,
    GetOffer,
    GetPiece,
    GetSnapshot,
    GetStart,
    HopsFound,
    Offer,
    PieceFound,
    PieceGone,
    Snapshot,
    SnapshotProof,
    StartFound,
    decode_sync_message,
    encode_sync_message,
    kind_of,
)

CHAIN = LightChain([[1, 1, 1], [1, 2, 1]])
HEAD = CHAIN.head(2)
ROOT, FIRST = Hash(b"r" * 32), Hash(b"f" * 32)
SNAPSHOT = Snapshot(
    header=CHAIN.headers[1],
    payload=b"",
    proof=FinalityProof(path=(HEAD.header,), certificate=HEAD.finality.certificate),
)
MESSAGES = [
    GetOffer(),
    Offer(final_height=Height(9), oldest_block=Height(2), snapshots=(Height(3), Height(7))),
    GetSnapshot(height=Height(7)),
    SnapshotProof(height=Height(1), snapshot=SNAPSHOT),
    SnapshotProof(height=Height(1), snapshot=None),
    GetPiece(height=Height(7), root=ROOT, first=FIRST),
    PieceFound(root=ROOT, first=FIRST, piece=b"piece"),
    PieceGone(height=Height(7), root=ROOT, first=FIRST),
    GetHops(epoch=Epoch(1)),
    HopsFound(epoch=Epoch(1), hops=(CHAIN.hop(1),)),
    GetStart(height=Height(0)),
    StartFound(height=Height(0), start=CHAIN.start(0)),
]


def test_messages_survive_the_wire() -> None:
    for message in MESSAGES:
        assert decode_sync_message(encode_sync_message(message)) == message
        assert kind_of(encode_sync_message(message)) is type(message)
    assert {kind_of(frame) for frame in (b"", b"\x91", b"\x91\x00", b"\x91\x63")} == {None}


@given(message=st.sampled_from(MESSAGES), data=st.data())
def test_changed_bytes_decode_to_what_encodes_to_them_or_are_refused(message, data) -> None:
    raw = bytearray(encode_sync_message(message))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_sync_message(bytes(raw))
    except DecodeError:
        return
    assert encode_sync_message(decoded) == raw


@given(raw=st.binary(max_size=300))
def test_whatever_bytes_come_only_the_declared_error_is_raised(raw) -> None:
    try:
        decoded = decode_sync_message(raw)
    except DecodeError:
        return
    assert encode_sync_message(decoded) == raw


def test_the_largest_piece_fits_its_lane() -> None:
    assert MAX_PIECE_BYTES + 128 < MAX_FRAME_BYTES == DEFAULT_LANES[Lane.BULK].frame_bytes
