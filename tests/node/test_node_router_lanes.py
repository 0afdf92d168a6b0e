"""No message of agreement is too large for the lane that it is given."""

import pytest

from consensus.agreement.messages import (
    MAX_SUPPORT,
    Certificate,
    CertificateType,
    Group,
    Kind,
    Proposal,
    encode_message,
    genesis_header,
)
from consensus.primitives.ids import ZERO_HASH, Epoch, Milliseconds, Signature, View
from net.lanes import Lane
from net.limits import DEFAULT_LANES
from node.router import SMALL_PROPOSAL_BYTES, _lane_of

NO_SIGNATURE = Signature(bytes(64))


def proposal(*, payload: bytes, groups: int = 0) -> Proposal:
    group = Group(
        kind=int(Kind.NOTARIZE), block=ZERO_HASH, aux=ZERO_HASH, bitmap=bytes(25), sigs=(NO_SIGNATURE,)
    )
    certificate = Certificate(
        ctype=int(CertificateType.SKIP),
        epoch=Epoch(1),
        view=View(1),
        block=ZERO_HASH,
        groups=(group,) * groups,
        fault=None,
        leader_sigs=(),
    )
    header = genesis_header(
        chain_id_hash=ZERO_HASH, epoch=Epoch(1), time_ms=Milliseconds(1), validators_hash=ZERO_HASH
    )
    support = (certificate,) * MAX_SUPPORT if groups else ()
    return Proposal(header=header, leader_sig=NO_SIGNATURE, payload=payload, support=support, vote=None)


@pytest.mark.parametrize(
    ("message", "lane"),
    [
        (proposal(payload=b""), Lane.CONSENSUS),
        (proposal(payload=bytes(SMALL_PROPOSAL_BYTES + 1)), Lane.BLOCKS),
        (proposal(payload=b"", groups=256), Lane.BLOCKS),
    ],
    ids=["small", "large body", "an adversary's support: over the frame of CONSENSUS"],
)
def test_the_lane_of_a_proposal_can_carry_it(message: Proposal, lane: Lane) -> None:
    size = len(encode_message(message))
    assert _lane_of(message, size) is lane
    assert size <= DEFAULT_LANES[lane].frame_bytes
