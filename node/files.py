"""Files on disk: read within bounds, written as a whole.

What is written is durable under its name, or what was there before is: a power cut leaves no half of it. The
journal and the databases see to that in their own ways.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consensus.primitives.errors import LocalFault, UserError


def read_file(path: Path, limit: int, excess: str) -> bytes:
    """The content of a file that the operator named. Raises UserError if it can not be read, or has more
    than `limit` bytes: `excess` says what that means, such as "more than any proof has"."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path}: can not be read: {error.strerror}") from None
    if len(content) > limit:
        raise UserError(f"{path}: has more than {limit} bytes, {excess}")
    return content


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the operator asked for, and the directories above it. Raises UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise UserError(f"{path}: can not be written: {error.strerror}") from None


def keep_file(path: Path, content: bytes) -> None:
    """Write a file of the node's own. Raises LocalFault."""
    try:
        replace_file(path, content)
    except OSError as error:
        raise LocalFault(
            f"{path} can not be written ({error.strerror}): make room or mend the disk, then restart"
        ) from None


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` into the place of what is at `path`, if anything is. Raises OSError; then that stands."""
    fresh = path.parent / f".{path.name}.new"
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def moving() -> Iterator[None]:
    """Around what moves or removes the node's own directories. Raises LocalFault where the disk refuses."""
    try:
        yield
    except OSError as error:
        what = error.filename or "the data directory"
        raise LocalFault(f"{what} can not be moved or removed: {error.strerror}") from None


def sync_directory(directory: Path) -> None:
    """Make durable which files are in a directory, under which names. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
