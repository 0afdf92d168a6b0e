"""Files that are written are whole and durable, or what was there before; none is read without a bound."""

import errno
import os
import stat
from pathlib import Path

import pytest

from consensus.primitives.errors import LocalFault, UserError
from node.files import keep_file, read_file, write_file


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("owner_and_name", [(os, "fsync"), (Path, "replace")], ids=["sync", "rename"])
@pytest.mark.parametrize(("write", "fault"), [(write_file, UserError), (keep_file, LocalFault)])
def test_a_disk_that_refuses_leaves_what_was_there_and_nothing_beside_it(
    tmp_path, monkeypatch, owner_and_name, write, fault
) -> None:
    path = tmp_path / "file"
    write(path, b"before")
    with monkeypatch.context() as patch:
        patch.setattr(*owner_and_name, refuse)
        with pytest.raises(fault, match=f"{path}.* can not be written.*No space left"):
            write(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    write(path, b"after")
    assert path.read_bytes() == b"after"


def test_the_content_is_synced_before_its_name_and_the_name_before_it_is_relied_on(
    tmp_path, monkeypatch
) -> None:
    path, done = tmp_path / "file", []
    fsync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def note_rename(fresh: Path, target: Path) -> Path:
        done.append("name")
        return replace(fresh, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    keep_file(path, b"content")
    assert done == ["content", "name", "directory"]


def test_directories_are_made_for_what_an_operator_asks_for_alone(tmp_path) -> None:
    path = tmp_path / "new" / "file"
    with pytest.raises(LocalFault, match="No such file"):
        keep_file(path, b"")
    write_file(path, b"content")
    assert path.read_bytes() == b"content"
    with pytest.raises(UserError, match="can not be written"):
        write_file(path / "below", b"")
    with pytest.raises(UserError, match="can not be written"):
        write_file(path.parent, b"")


def test_no_file_is_read_further_than_it_may_be_long(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert read_file(path, 100, "more than any has") == bytes(100)
    for long in (path, Path("/dev/zero")):
        with pytest.raises(UserError, match="has more than 99 bytes, more than any has"):
            read_file(long, 99, "more than any has")
    with pytest.raises(UserError, match="can not be read"):
        read_file(tmp_path / "none", 100, "")
