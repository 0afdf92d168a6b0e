"""What a validator signs about a consumer chain's candidate (CONSENSUS.md section 13.2, last paragraph).

Not votes: they have a domain of their own, so that neither can ever be taken for the other. They do pass the
same journal and the same choke point in front of the key.
"""

import enum
from dataclasses import dataclass
from typing import Final

from consensus.primitives.codec import U8
from consensus.primitives.ids import Epoch, Hash, Height

STATEMENT_DOMAIN: Final = b"TALLY/statement/1\x00"
STATEMENT_BYTES_LENGTH: Final = 124
STATEMENT_WINDOW: Final = 1024  # blocks for which a signer remembers its verdicts, and may give them


class Role(enum.IntEnum):
    """In which capacity a statement is made."""

    ATTEST = 1  # re-executed under the `replicated` policy; also a promise to serve the PoV


class Verdict(enum.IntEnum):
    """What the signer found. A local fault is no verdict: it is silence."""

    INVALID = 0
    VALID = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One validator's verdict on one candidate, before it is signed.

    `relay_parent` is the final relay block that the candidate builds on, at `relay_parent_height`; the
    height is not signed (the hash binds it) and only says when the signer may forget.
    """

    role: U8
    relay_parent: Hash
    relay_parent_height: Height
    candidate: Hash
    verdict: U8


def statement_sign_bytes(
    chain_id_hash: Hash, epoch: Epoch, role: int, relay_parent: Hash, candidate: Hash, verdict: int
) -> bytes:
    """The 124 fixed-width bytes: domain 18 ‖ chain 32 ‖ role 1 ‖ epoch 8 ‖ relay parent 32 ‖ candidate 32 ‖
    verdict 1."""
    return b"".join(
        (
            STATEMENT_DOMAIN,
            chain_id_hash,
            role.to_bytes(1, "big"),
            epoch.to_bytes(8, "big"),
            relay_parent,
            candidate,
            verdict.to_bytes(1, "big"),
        )
    )
