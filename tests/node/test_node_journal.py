"""The journal: what was committed is read back whole, a torn tail is cut off, everything else is a loss."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.primitives.errors import LocalFault
from node import journal as module
from node.journal import SECTOR_BYTES, Journal, Origin, Replay, create_journal, open_journal


def reopened(path: Path) -> Replay:
    journal, replay = open_journal(path)
    journal.close()
    return replay


def made(path: Path) -> Journal:
    create_journal(path)
    return open_journal(path)[0]


def bytes_with(path: Path, groups: list[list[bytes]]) -> list[bytes]:
    """The file's content after each group, the empty journal first."""
    journal = made(path)
    contents = [path.read_bytes()]
    for group in groups:
        journal.commit_blocking(group)
        contents.append(path.read_bytes())
    journal.close()
    return contents


def test_what_was_committed_is_read_back_in_order(tmp_path) -> None:
    path = tmp_path / "journal"
    journal = made(path)
    trio.run(journal.commit, [b"one", b"", b"two"])
    trio.run(journal.commit, [b"x" * 2_000])
    assert journal.commits == 2
    assert journal.size_bytes == path.stat().st_size
    assert path.stat().st_size % SECTOR_BYTES == 0
    journal.close()
    assert reopened(path) == Replay(records=(b"one", b"", b"two", b"x" * 2_000), origin=Origin.INIT)


def test_a_first_start_is_never_made_over_a_journal(tmp_path) -> None:
    create_journal(tmp_path / "journal")
    with pytest.raises(FileExistsError):
        create_journal(tmp_path / "journal")


@given(
    groups=st.lists(st.lists(st.binary(max_size=1_500), min_size=1, max_size=4), max_size=4),
    later=st.lists(st.binary(max_size=50), min_size=1, max_size=3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_any_groups_are_read_back_and_can_be_added_to(tmp_path, groups, later) -> None:
    path = tmp_path / "journal"
    path.unlink(missing_ok=True)
    bytes_with(path, groups)
    journal, replay = open_journal(path)
    journal.commit_blocking(later)
    journal.close()
    flat = tuple(record for group in groups for record in group)
    assert replay.records == flat
    assert reopened(path).records == (*flat, *later)


def test_at_every_cut_of_the_last_group_the_groups_before_it_stand(tmp_path, monkeypatch) -> None:
    path = tmp_path / "journal"
    *_, before, whole = bytes_with(path, [[b"first", b"second"], [b"third" * 200], [b"last" * 150]])
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of files, none of them precious
    for length in range(len(before), len(whole)):
        path.write_bytes(whole[:length])
        replay = reopened(path)
        assert replay.records == (b"first", b"second", b"third" * 200)
        assert replay.dropped_bytes == length - len(before)
        assert not replay.loss
        assert path.read_bytes() == before, "the tail is gone from the file as well"


def test_after_a_torn_tail_the_next_commit_takes_its_place(tmp_path) -> None:
    path = tmp_path / "journal"
    *_, whole = bytes_with(path, [[b"first"], [b"torn" * 300]])
    path.write_bytes(whole[:-SECTOR_BYTES])
    journal, _ = open_journal(path)
    journal.commit_blocking([b"next"])
    journal.close()
    assert reopened(path).records == (b"first", b"next")


def test_damage_before_the_tail_is_a_loss(tmp_path, monkeypatch) -> None:
    path = tmp_path / "journal"
    contents = bytes_with(path, [[b"first" * 150], [b"second"], [b"third"]])
    whole, first_end = contents[-1], len(contents[1])
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    header = range(41)
    body = range(SECTOR_BYTES, SECTOR_BYTES + 36 + 750, 17)
    second = range(first_end, first_end + 36)
    for position in [*header, *body, *second]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        replay = reopened(path)
        assert replay.records == ()
        assert replay.origin is Origin.RECREATED
        assert "damaged" in replay.loss, f"byte {position}"
        aside = path.with_name("journal.damaged-1")
        assert aside.exists(), "what is left is kept for who looks into it"
        aside.unlink()


@pytest.mark.parametrize("length", [0, 1, 40, SECTOR_BYTES - 1])
def test_a_file_without_its_header_is_a_loss(tmp_path, length) -> None:
    path = tmp_path / "journal"
    *_, whole = bytes_with(path, [[b"first"]])
    path.write_bytes(whole[:length])
    assert "cut short" in reopened(path).loss


def test_a_group_of_another_file_does_not_pass(tmp_path) -> None:
    """Blocks of a deleted journal may lie behind the end of a new one: the salt tells them apart."""
    old = bytes_with(tmp_path / "old", [[b"old"], [b"older"]])
    path = tmp_path / "journal"
    new = bytes_with(path, [[b"new"]])
    path.write_bytes(new[-1] + old[-1][len(new[-1]) :])
    replay = reopened(path)
    assert replay.records == (b"new",)
    assert replay.dropped_bytes == SECTOR_BYTES
    assert not replay.loss


def test_a_group_twice_does_not_pass(tmp_path) -> None:
    path = tmp_path / "journal"
    whole = bytes_with(path, [[b"one"], [b"two"]])[-1]
    path.write_bytes(whole + whole[-SECTOR_BYTES:])
    assert reopened(path).records == (b"one", b"two")


def test_a_missing_journal_stays_marked_until_something_is_in_it(tmp_path) -> None:
    path = tmp_path / "journal"
    assert "missing" in reopened(path).loss
    for _ in range(3):  # starts that crash before they write anything
        replay = reopened(path)
        assert replay.origin is Origin.RECREATED
        assert replay.records == ()
    journal, _ = open_journal(path)
    journal.commit_blocking([b"amnesia"])
    journal.rewrite_blocking([b"bar"])
    journal.close()
    assert reopened(path) == Replay(records=(b"bar",), origin=Origin.RECREATED)


# --- rewriting


def test_a_rewritten_journal_has_the_new_content_and_goes_on(tmp_path) -> None:
    path = tmp_path / "journal"
    journal = made(path)
    journal.commit_blocking([b"old"])
    trio.run(journal.rewrite, [b"kept"])
    journal.commit_blocking([b"later"])
    assert journal.size_bytes == path.stat().st_size
    trio.run(journal.rewrite, [])
    journal.commit_blocking([b"last"])
    journal.close()
    assert reopened(path).records == (b"last",)


def test_a_rewrite_takes_as_many_groups_as_its_content_needs(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUP_BYTES", 1_000)
    path = tmp_path / "journal"
    journal = made(path)
    records = [bytes([index]) * 300 for index in range(20)]
    journal.rewrite_blocking(records)
    journal.commit_blocking([b"later"])
    assert journal.size_bytes == path.stat().st_size
    journal.close()
    assert reopened(path).records == (*records, b"later")


_REWRITER = """
import sys
from pathlib import Path
from node.journal import open_journal
journal, _ = open_journal(Path(sys.argv[1]))
journal.rewrite_blocking([b"a"] * 200)
print("ready", flush=True)
while True:
    for letter in (b"b", b"a"):
        journal.rewrite_blocking([letter * 1000] * 200)
        journal.commit_blocking([letter])
"""


def test_a_kill_during_rewrites_leaves_one_content_or_the_other(tmp_path) -> None:
    path = tmp_path / "journal"
    made(path).close()
    chance = random.Random(1)
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", _REWRITER, str(path)], stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(chance.uniform(0.02, 0.1))
            child.send_signal(signal.SIGKILL)
        replay = reopened(path)
        assert not replay.loss
        letters = {record[:1] for record in replay.records}
        assert len(letters) == 1
        assert len(replay.records) in (200, 201)


# --- a disk that refuses

_FULL_DISK = """
import resource, sys
from pathlib import Path
from consensus.primitives.errors import LocalFault
from node.journal import open_journal
journal, _ = open_journal(Path(sys.argv[1]))
bound = 512 * 21
resource.setrlimit(resource.RLIMIT_FSIZE, (bound, bound))
count = 0
try:
    while True:
        journal.commit_blocking([b"%d" % count])
        count += 1
        if sys.argv[2] == "rewrite" and count == 5:
            journal.rewrite_blocking([b"x" * 20000])
except LocalFault as fault:
    print(count)
    print(fault)
try:
    journal.commit_blocking([b"tiny"])
except LocalFault as fault:
    print(fault)
"""


@pytest.mark.parametrize(("how", "count"), [("commit", 20), ("rewrite", 5)])
def test_when_the_disk_refuses_nothing_more_is_taken_and_nothing_is_lost(tmp_path, how, count) -> None:
    path = tmp_path / "journal"
    made(path).close()
    ran = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path), how], capture_output=True, text=True, check=True
    )
    written, first, again = ran.stdout.splitlines()
    assert int(written) == count
    assert first == again, "after the first failure every call raises, whatever room there is"
    assert "can not be written" in first
    assert "nothing more is signed" in first
    assert reopened(path).records == tuple(b"%d" % each for each in range(count))


def test_a_closed_journal_takes_nothing(tmp_path) -> None:
    journal = made(tmp_path / "journal")
    journal.close()
    with pytest.raises(LocalFault, match="closed"):
        journal.commit_blocking([b"late"])
