"""The journal against power cuts at every call to the system: what a commit returned for survives them.

A disk that forgets: what was written and not synced is gone, a rename that was not synced may have happened
or not. At every write, sync and rename of a history of commits and rewrites the power goes, the contents of
the disk are laid out anew, and the journal is opened: it holds exactly the records of the commits that
returned, and of the one under way all or nothing (CONSENSUS.md section 13.1).
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import journal as module
from node.journal import Origin, create_journal, open_journal

HISTORY = [("commit", 2), ("commit", 1), ("rewrite", 2), ("commit", 3), ("rewrite", 1), ("commit", 1)]


class PowerCut(BaseException):
    """Nothing after this call happens."""


class ForgetfulDisk:
    """Watches the calls of the journal module; knows what of each file, and of the directory, is durable."""

    def __init__(self, cut_at: int) -> None:
        self.calls = 0
        self.cut_at = cut_at
        self.durable: dict[int, bytes] = {}  # by inode
        self.names: dict[str, int] = {}  # the directory as it was last synced: name -> inode
        self.directory: Path | None = None

    def format(self, path: Path) -> None:
        """What is there now is durable."""
        self.directory = path.parent
        for each in path.parent.iterdir():
            self.names[each.name] = each.stat().st_ino
            self.durable[each.stat().st_ino] = each.read_bytes()

    def before(self) -> None:
        if self.calls == self.cut_at:
            raise PowerCut
        self.calls += 1

    # --- the calls

    def write(self, descriptor: int, content: bytes) -> int:
        self.before()
        return REAL_WRITE(descriptor, content)

    def sync(self, descriptor: int) -> None:
        self.before()
        status = os.fstat(descriptor)
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            assert self.directory is not None
            self.names = {each.name: each.stat().st_ino for each in self.directory.iterdir()}
        else:
            self.durable[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    # --- after the cut

    def layouts(self) -> Iterator[dict[str, bytes]]:
        """What the disk may hold: the directory as synced or as it is, each file as it was last synced."""
        assert self.directory is not None
        now = {each.name: each.stat().st_ino for each in self.directory.iterdir()}
        for names in (self.names, now):
            yield {name: self.durable.get(inode, b"") for name, inode in names.items()}


REAL_WRITE = os.write


def play(journal_path: Path, disk: ForgetfulDisk) -> tuple[list[list[bytes]], list[bytes] | None]:
    """Go through the history until the power is cut: the records after each step that returned, and what
    the step under way would have left (None: all were done)."""
    journal, _ = open_journal(journal_path)
    numbers = itertools.count()
    states: list[list[bytes]] = [[]]
    try:
        for what, count in HISTORY:
            records = [b"record %d" % next(numbers) * 200 for _ in range(count)]
            held = states[-1] + records if what == "commit" else records
            try:
                if what == "commit":
                    journal.commit_blocking(records)
                else:
                    journal.rewrite_blocking(records)
            except PowerCut:
                return states, held
            states.append(held)
    finally:
        journal.close()
    return states, None


def cut_power(tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """One run with a cut at call `at`; whether there was such a call."""
    home = tmp_path / f"cut-{at}"
    home.mkdir()
    path = home / "journal"
    create_journal(path)
    disk = ForgetfulDisk(at)
    disk.format(path)
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", disk.write)
        patch.setattr(module.os, "fdatasync", disk.sync)
        patch.setattr(module.os, "fsync", disk.sync)
        states, under_way = play(path, disk)
    if under_way is None:
        return False
    for number, layout in enumerate(disk.layouts()):
        after = tmp_path / f"after-{at}-{number}"
        after.mkdir()
        for name, content in layout.items():
            (after / name).write_bytes(content)
        journal, replay = open_journal(after / "journal")
        journal.close()
        assert replay.loss == "", (at, number, replay.loss)
        assert replay.origin is Origin.INIT
        assert list(replay.records) in (states[-1], under_way), (at, number)
    return True


def test_a_power_cut_at_any_call_leaves_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = 0
    while cut_power(tmp_path, cuts, monkeypatch):
        cuts += 1
    assert cuts >= 2 * len(HISTORY)


def test_a_commit_that_returned_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cut: all that any layout holds is all that was committed."""
    path = tmp_path / "home" / "journal"
    path.parent.mkdir()
    create_journal(path)
    disk = ForgetfulDisk(-1)
    disk.format(path)
    monkeypatch.setattr(module.os, "fdatasync", disk.sync)
    monkeypatch.setattr(module.os, "fsync", disk.sync)
    states, under_way = play(path, disk)
    assert under_way is None
    monkeypatch.undo()
    for number, layout in enumerate(disk.layouts()):
        after = tmp_path / f"after-{number}"
        after.mkdir()
        for name, content in layout.items():
            (after / name).write_bytes(content)
        journal, replay = open_journal(after / "journal")
        journal.close()
        assert list(replay.records) == states[-1]
