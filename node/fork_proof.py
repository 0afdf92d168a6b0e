"""Two finality proofs that no chain holds both of: kept, whoever is shown them, and what to do said."""

from pathlib import Path
from typing import Final

from consensus.light.client import Conflict
from consensus.primitives.codec import encode
from consensus.primitives.errors import UserError
from node.files import write_file

SIDES: Final = ("known", "other")


def keep_fork(conflict: Conflict, directory: Path) -> UserError:
    """Write both proofs into `directory`; what to tell whoever runs this. Raises UserError if the disk
    refuses."""
    known = conflict.known.header.height
    files = [directory / f"conflict-{known}-{side}.final" for side in SIDES]
    for file, head in zip(files, (conflict.known, conflict.other), strict=True):
        write_file(file, encode(head))
    return UserError(
        f"{conflict}: they are in {files[0]} and {files[1]}. To name the guilty, have a node of each"
        f" side write `phalanx evidence dossier {conflict.height}` and give both to `phalanx evidence blame`"
    )
