"""One node per directory: two processes that sign with one key are the fault of CONSENSUS.md section 13.4."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consensus.primitives.errors import UserError


@contextmanager
def directory_lock(directory: Path) -> Iterator[None]:
    """Hold `directory/lock` while the node runs. Raises UserError if another process holds it.

    The kernel drops the lock with the process, however it dies, so no stale lock can keep a node down.
    """
    path = directory / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"{path} can not be opened ({error.strerror}): is {directory} writable?") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise UserError(
                f"{directory} is in use by process {holder or '?'}: stop that node first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)
