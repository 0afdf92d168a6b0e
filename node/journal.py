"""The journal: what must be durable before a signature leaves (CONSENSUS.md section 13.1).

A file of 512-byte sectors. The first is the header; after it come groups, one per commit (a rewritten file
begins with as many as its content needs: the rename makes them one unit):

    magic 4 | length u32 | sequence u64 | checksum 16 | records, each u32 length + bytes | zeros to the sector

The checksum is BLAKE3 over the file's salt, the sequence and the records, so neither bytes of an older file
nor of another group can pass for it. One group is one unit: it counts whole or not at all, and because it is
padded, a torn append never touches a sector that an earlier, synced group lives in.

Reading stops at the first group that does not check. If no later sector starts a group of this file that
does, it is the torn tail of the last append: none of its signatures left, and it is cut off. Otherwise, or
if the header is unreadable, synced records were lost, which is the same as losing the journal: the file is
put aside and a new one, marked `RECREATED`, takes its place. So does a missing file: `phalanx init` makes
the journal together with the keys, hence "missing" is never a first start. The mark stays in the header, so
that a crash before the node has signed anything can not wash it off.
"""

import enum
import errno
import os
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import LocalFault
from node.files import sync_directory

SECTOR_BYTES: Final = 512
MAX_GROUP_BYTES: Final = 64 * 1024 * 1024
_FILE_MAGIC: Final = b"PHXJRNL1"
_GROUP_MAGIC: Final = b"PHXG"
_HEADER: Final = struct.Struct(">8sB16s16s")  # magic, origin, salt, checksum of the three
_GROUP: Final = struct.Struct(">4sIQ16s")
_LENGTH: Final = struct.Struct(">I")


class Origin(enum.IntEnum):
    """How the file came to be."""

    INIT = 1  # with the keys: an empty one is a first start
    RECREATED = 2  # after a loss: an empty one is amnesia


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a journal held when it was opened. `dropped_bytes` is the torn tail that was cut off.

    `loss` says in one sentence what was lost and why, and is empty for a file that is whole.
    """

    records: tuple[bytes, ...]
    origin: Origin
    dropped_bytes: int = 0
    loss: str = ""


class Journal:
    """An open journal. One owner; `commit` and `rewrite` are never called at the same time.

    After the first failure every call raises: what did not become durable must not be relied on.
    """

    def __init__(self, path: Path, descriptor: int, *, salt: bytes, origin: Origin, sync: bool) -> None:
        self.path = path
        self.size_bytes = os.fstat(descriptor).st_size
        self.commits = 0
        self._descriptor = descriptor
        self._salt = salt
        self._origin = origin
        self._sync = sync
        self._sequence = 0
        self._failure: LocalFault | None = None

    @property
    def name(self) -> bytes:
        """16 random bytes that tell this file from any other, and from what it is rewritten to."""
        return self._salt

    async def commit(self, records: Sequence[bytes]) -> None:
        """Make `records` durable as one group. Raises LocalFault if the disk does not take them.

        It runs in a thread, so that the loop goes on receiving (decision record 017), and to its end even if
        cancelled: a half-known commit would be of no use to anybody.
        """
        await _in_thread(partial(self.commit_blocking, records))

    async def rewrite(self, records: Sequence[bytes]) -> None:
        """Replace the whole content by `records`, atomically. Raises LocalFault; then the old file stands."""
        await _in_thread(partial(self.rewrite_blocking, records))

    def commit_blocking(self, records: Sequence[bytes]) -> None:
        """`commit`, in the calling thread."""
        self._check()
        try:
            group = _encode_group(self._salt, self._sequence, records)
            _write_all(self._descriptor, group)
            if self._sync:
                os.fdatasync(self._descriptor)
        except OSError as error:
            raise self._failed(error) from None
        self._sequence += 1
        self.size_bytes += len(group)
        self.commits += 1

    def rewrite_blocking(self, records: Sequence[bytes]) -> None:
        """`rewrite`, in the calling thread."""
        self._check()
        salt = secrets.token_bytes(16)
        try:
            size, groups = _write_new_file(self.path, salt, self._origin, records)
            descriptor = _open_for_append(self.path)
        except OSError as error:
            raise self._failed(error) from None
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._salt = salt
        self._sequence = groups
        self.size_bytes = size

    def close(self) -> None:
        """Give the file back. A closed journal raises on use."""
        if self._failure is None:
            self._failure = LocalFault(f"{self.path} is closed")
        os.close(self._descriptor)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _failed(self, error: OSError) -> LocalFault:
        cause = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else os.strerror(error.errno or 0)
        )
        self._failure = LocalFault(
            f"{self.path} can not be written ({cause}): "
            "nothing more is signed; make room or mend the disk, then restart"
        )
        return self._failure


def create_journal(path: Path) -> None:
    """Make the empty journal of a first start. Raises FileExistsError rather than replace one."""
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    _write_new_file(path, secrets.token_bytes(16), Origin.INIT, ())


def open_journal(path: Path, *, sync: bool = True) -> tuple[Journal, Replay]:
    """Open the journal and read it back, mending a torn tail. Raises LocalFault if the disk refuses.

    A missing or damaged file is replaced by an empty `RECREATED` one and reported in `Replay.loss`.
    """
    try:
        return _open_existing(path, sync)
    except FileNotFoundError:
        loss = f"{path} is missing: what this validator signed before is not known"
    except _Damaged as damage:
        aside = _put_aside(path)
        loss = f"{path} is damaged ({damage}): kept as {aside.name}; what this validator signed is not known"
    except OSError as error:
        raise LocalFault(f"{path} can not be read ({error.strerror})") from None
    try:
        _write_new_file(path, secrets.token_bytes(16), Origin.RECREATED, ())
        journal, replay = _open_existing(path, sync)
    except OSError as error:
        raise LocalFault(f"{path} can not be made anew ({error.strerror})") from None
    return journal, Replay(records=replay.records, origin=replay.origin, loss=loss)


async def _in_thread(work: Callable[[], None]) -> None:
    """Run `work` in a thread, to its end whatever is cancelled; raises what it raises.

    A commit is on the way of every vote, and what `trio.to_thread` adds (a limiter, context variables, names
    for threads) takes more of the processor than the hop itself.
    """
    task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
    done = partial(token.run_sync_soon, trio.lowlevel.reschedule, task)
    trio.lowlevel.start_thread_soon(work, done)
    await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)


class _Damaged(Exception):
    """Bytes that were synced are not what was written."""


def _open_existing(path: Path, sync: bool) -> tuple[Journal, Replay]:
    content = path.read_bytes()
    origin, salt = _read_header(content)
    records, sequence, end = _read_groups(content, salt)
    dropped = len(content) - end
    descriptor = _open_for_append(path)
    if dropped:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    journal = Journal(path, descriptor, salt=salt, origin=origin, sync=sync)
    journal._sequence = sequence
    return journal, Replay(records=tuple(records), origin=origin, dropped_bytes=dropped)


def _read_header(content: bytes) -> tuple[Origin, bytes]:
    if len(content) < SECTOR_BYTES:
        raise _Damaged("its header is cut short")
    magic, origin, salt, checksum = _HEADER.unpack_from(content)
    if magic != _FILE_MAGIC or checksum != _header_checksum(origin, salt):
        raise _Damaged("its header does not check")
    return Origin(origin), salt


def _read_groups(content: bytes, salt: bytes) -> tuple[list[bytes], int, int]:
    """(records, next sequence, end of the last good group)."""
    records: list[bytes] = []
    sequence, position = 0, SECTOR_BYTES
    while position < len(content):
        group = _group_at(content, position, salt, sequence)
        if group is None:
            if _later_group_exists(content, position, salt, sequence):
                raise _Damaged(f"group {sequence} at byte {position} does not check and others follow it")
            break
        body, position = group
        records.extend(_split_records(body))
        sequence += 1
    return records, sequence, position


def _group_at(content: bytes, position: int, salt: bytes, sequence: int) -> tuple[bytes, int] | None:
    """(records, end) of the group that starts at `position` if it is the one with that sequence."""
    if position + _GROUP.size > len(content):
        return None
    magic, length, found, checksum = _GROUP.unpack_from(content, position)
    start = position + _GROUP.size
    if magic != _GROUP_MAGIC or found != sequence or start + length > len(content):
        return None
    end = position + _padded(_GROUP.size + length)
    body = content[start : start + length]
    if end > len(content) or checksum != _group_checksum(salt, sequence, body):
        return None
    return body, end


def _later_group_exists(content: bytes, position: int, salt: bytes, sequence: int) -> bool:
    for start in range(position + SECTOR_BYTES, len(content) - _GROUP.size + 1, SECTOR_BYTES):
        if content.startswith(_GROUP_MAGIC, start):
            _, _, found, _ = _GROUP.unpack_from(content, start)
            if found > sequence and _group_at(content, start, salt, found) is not None:
                return True
    return False


def _split_records(body: bytes) -> Iterable[bytes]:
    position = 0
    while position < len(body):
        (length,) = _LENGTH.unpack_from(body, position)
        position += _LENGTH.size
        yield body[position : position + length]
        position += length


def _encode_group(salt: bytes, sequence: int, records: Sequence[bytes]) -> bytes:
    parts = []
    for record in records:
        parts.append(_LENGTH.pack(len(record)))
        parts.append(record)
    body = b"".join(parts)
    if len(body) > MAX_GROUP_BYTES:
        raise ValueError(f"a journal group of {len(body)} bytes; the bound is {MAX_GROUP_BYTES}")
    head = _GROUP.pack(_GROUP_MAGIC, len(body), sequence, _group_checksum(salt, sequence, body))
    return (head + body).ljust(_padded(len(head) + len(body)), b"\x00")


def _in_groups(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The records in order, as few at a time as a group holds."""
    group: list[bytes] = []
    size = 0
    for record in records:
        needed = _LENGTH.size + len(record)
        if group and size + needed > MAX_GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(record)
        size += needed
    if group:
        yield group


def _group_checksum(salt: bytes, sequence: int, body: bytes) -> bytes:
    return hash_tagged(b"phalanx/journal/group/1", salt, sequence.to_bytes(8, "big"), body)[:16]


def _header_checksum(origin: int, salt: bytes) -> bytes:
    return hash_tagged(b"phalanx/journal/header/1", bytes([origin]), salt)[:16]


def _padded(length: int) -> int:
    return -(-length // SECTOR_BYTES) * SECTOR_BYTES


def _open_for_append(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)


def _write_new_file(path: Path, salt: bytes, origin: Origin, records: Sequence[bytes]) -> tuple[int, int]:
    """Write, sync and rename into place; the directory is synced too. Returns (bytes, groups) of the file."""
    header = _HEADER.pack(_FILE_MAGIC, origin, salt, _header_checksum(origin, salt))
    size, groups = SECTOR_BYTES, 0
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, header.ljust(SECTOR_BYTES, b"\x00"))
        for some in _in_groups(records):
            group = _encode_group(salt, groups, some)
            _write_all(descriptor, group)
            size += len(group)
            groups += 1
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(path)
    sync_directory(path.parent)
    return size, groups


def _put_aside(path: Path) -> Path:
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.damaged-{number}")
        if not aside.exists():
            path.rename(aside)
            sync_directory(path.parent)
            return aside
    raise LocalFault(f"{path} is damaged, and 999 damaged ones lie beside it: look into that first")


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
