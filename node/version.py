"""Which version of the program this is, and which versions of the protocol it runs."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from consensus.primitives.errors import UserError
from consensus.relay.governance.records import FIRST_VERSION

PROTOCOL_VERSIONS: Final = frozenset({FIRST_VERSION})


def program_version() -> str:
    """The installed version, or `unknown` in a bare source tree."""
    try:
        return version("phalanx")
    except PackageNotFoundError:
        return "unknown"


def check_protocol(wanted: int, epoch: int) -> None:
    """Raises UserError if an epoch runs a version of the protocol that this program does not know: it could
    not tell what the epoch's blocks mean, so it neither votes in it nor executes any of it."""
    if wanted not in PROTOCOL_VERSIONS:
        raise UserError(
            f"epoch {epoch} runs version {wanted} of the protocol, and phalanx {program_version()} knows"
            f" {', '.join(map(str, sorted(PROTOCOL_VERSIONS)))}: nothing is lost; install a release that"
            f" knows version {wanted} and start the node again, with the same directory"
        )
