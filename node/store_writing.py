"""A write transaction of the store, whose failures are this machine's: a full disk, a broken one."""

import errno
from pathlib import Path
from typing import Any

import lmdb

from consensus.primitives.errors import LocalFault


class Writing:
    """One durable write transaction, whose failures are this machine's."""

    def __init__(self, env: Any, path: Path) -> None:
        self._env = env
        self._path = path
        self._txn: Any = None

    def __enter__(self) -> Any:
        try:
            self._txn = self._env.begin(write=True)
        except lmdb.Error as failure:
            raise _fault(self._path, failure) from None
        return self._txn

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            try:
                self._txn.commit()
            except (lmdb.Error, OSError) as failure:
                raise _fault(self._path, failure) from None
            return
        self._txn.abort()
        if isinstance(error, lmdb.Error):
            raise _fault(self._path, error) from None


def _fault(path: Path, failure: Exception) -> LocalFault:
    full = (
        isinstance(failure, lmdb.DiskError | lmdb.MapFullError)
        or getattr(failure, "errno", 0) == errno.ENOSPC
    )
    cause = "the disk is full" if full else str(failure)
    return LocalFault(
        f"the store {path} can not be written ({cause}): make room or mend the disk, then restart"
    )
