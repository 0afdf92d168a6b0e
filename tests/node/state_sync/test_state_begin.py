"""What a node finds in its directory when an earlier life was killed at any point of fetching a state."""

from types import SimpleNamespace

import pytest

from consensus.primitives.errors import UserError
from node.api import Role
from node.lock import directory_lock
from node.state_sync.arriving import ARRIVING_DIRECTORY, REPLACED_DIRECTORY, STORE_DIRECTORY
from node.state_sync.begin import must_resume

FETCHING = {STORE_DIRECTORY: "own", ARRIVING_DIRECTORY: "fetched"}
BETWEEN_RENAMES = {REPLACED_DIRECTORY: "own", ARRIVING_DIRECTORY: "fetched"}
OVER = {STORE_DIRECTORY: "fetched", REPLACED_DIRECTORY: "own"}
STORE_LOST = {ARRIVING_DIRECTORY: "fetched"}


def config_of(path, mode="auto", role=Role.VALIDATOR):
    return SimpleNamespace(data_path=path, role=role, sync=SimpleNamespace(mode=mode))


def lay_out(path, stores):
    for name, whose in stores.items():
        (path / name).mkdir()
        (path / name / "data.mdb").write_text(whose)


def held(path):
    return {each.parent.name: each.read_text() for each in path.glob("*/data.mdb")}


@pytest.mark.parametrize(
    ("stores", "mode", "resumes", "left"),
    [
        ({}, "auto", False, {}),
        (FETCHING, "auto", True, FETCHING),
        (FETCHING, "blocks", False, {STORE_DIRECTORY: "own"}),
        (BETWEEN_RENAMES, "auto", True, FETCHING),
        (BETWEEN_RENAMES, "blocks", False, {STORE_DIRECTORY: "own"}),
        (OVER, "auto", False, {STORE_DIRECTORY: "fetched"}),
        (OVER, "blocks", False, {STORE_DIRECTORY: "fetched"}),
        (STORE_LOST, "auto", True, STORE_LOST),
        (STORE_LOST, "blocks", True, STORE_LOST),  # better than nothing
    ],
)
def test_a_store_is_in_its_place_wherever_the_kill_came(tmp_path, stores, mode, resumes, left) -> None:
    lay_out(tmp_path, stores)
    for _ in range(2):  # another kill right after changes nothing
        assert must_resume(config_of(tmp_path, mode)) == resumes
        assert held(tmp_path) == left


def test_a_collator_never_goes_on_fetching(tmp_path) -> None:
    lay_out(tmp_path, FETCHING)
    assert not must_resume(config_of(tmp_path, role=Role.COLLATOR))
    assert held(tmp_path) == {STORE_DIRECTORY: "own"}


def test_nothing_is_touched_while_another_process_has_the_directory(tmp_path) -> None:
    lay_out(tmp_path, FETCHING)
    with directory_lock(tmp_path), pytest.raises(UserError, match="in use"):
        must_resume(config_of(tmp_path, "blocks"))
    assert held(tmp_path) == FETCHING


def test_a_new_directory_stays_untouched(tmp_path) -> None:
    assert not must_resume(config_of(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
