"""Errors of the network, sorted by who is at fault (STYLE: errors by blame), and the words for a refusal.

`RemoteFault` and its kin end one connection and never leave `net`; anything else that is raised is a bug
of ours and crashes the transport.
"""

from enum import StrEnum


class RefusalReason(StrEnum):
    """Why a connection did not come to be. Logged with `peer.refused` and counted in the statistics."""

    NOT_PHALANX = "not_phalanx"  # the first bytes are not our hello
    WRONG_VERSION = "wrong_version"  # a Phalanx node that speaks another protocol version
    WRONG_NETWORK = "wrong_network"  # a Phalanx node of another network (another genesis)
    BAD_HANDSHAKE = "bad_handshake"  # a Noise message that is malformed or does not authenticate
    BAD_IDENTITY = "bad_identity"  # the identity payload is malformed or its signature is wrong
    UNEXPECTED_IDENTITY = "unexpected_identity"  # we dialled one peer and another one answered
    UNKNOWN_PEER = "unknown_peer"  # a proven identity that is not authorised here
    SELF = "self"  # we reached ourselves
    BANNED = "banned"  # the peer misbehaved less than `ban_s` ago
    DIAL_ORDER = "dial_order"  # the other side dials in this pair (smaller PeerId dials)
    TIMED_OUT = "timed_out"  # the handshake took longer than `handshake_timeout_s`
    EVICTED = "evicted"  # too many unauthenticated connections: the oldest makes room
    CLOSED = "closed"  # the other side hung up in the middle of the handshake
    UNREACHABLE = "unreachable"  # no TCP connection to where the peer should be


class NetError(Exception):
    """Base of every declared error of this package."""


class RemoteFault(NetError):
    """An authenticated peer sent bytes that no correct node sends. It is disconnected and banned."""


class CorruptRecord(NetError):
    """A record failed authentication: corruption or tampering on the path.

    Not the peer's doing as far as anybody can tell (whoever can inject into the TCP stream can cause it),
    so it ends the connection and bans nobody.
    """


class HandshakeRefused(NetError):
    """One side ended the handshake. `reason` says why, `by_remote` who, `detail` in one sentence."""

    def __init__(self, reason: RefusalReason, detail: str, *, by_remote: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.by_remote = by_remote
