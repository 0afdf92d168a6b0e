"""Which keys may have signed what a lost journal knew (CONSENSUS.md section 13.4).

A lost journal weighs on every key that was here when it was lost, for ever, and on no key that was made
since: a fresh key has signed nothing. So a loss writes down the keys that it found, once, before anything is
signed; a later loss adds to them. The journal that took the lost one's place names the loss.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import PublicKey
from node.files import keep_file

FILE: Final = "lost-keys"


def note_loss(data: Path, journal: bytes, keys: Collection[PublicKey]) -> None:
    """Write down that what `keys` signed is not known; once for each journal that replaces a lost one.

    `journal` names the replacement. Raises LocalFault if the disk refuses: then nothing may be signed.
    """
    path = data / FILE
    name, before = _read(path) or (b"", frozenset())
    if name == journal:
        return
    lines = [journal.hex(), *sorted(each.hex() for each in before | set(keys))]
    keep_file(path, "".join(f"{line}\n" for line in lines).encode())


def lost_keys(data: Path) -> frozenset[PublicKey] | None:
    """The keys that were here at a loss; None where none is written down. Raises LocalFault."""
    found = _read(data / FILE)
    return None if found is None else found[1]


def _read(path: Path) -> tuple[bytes, frozenset[PublicKey]] | None:
    try:
        name, *keys = [bytes.fromhex(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LocalFault(
            f"{path} can not be read ({error}): it says which keys must not sign; if it can not be mended,"
            " this validator needs an identity and keys that are new"
        ) from None
    return name, frozenset(map(PublicKey, keys))
