"""Files beside a database, on a disk that has no room for them."""

import errno
import os
from pathlib import Path

import pytest

from perdure import errors
from perdure.stores.sqlite import migrations, opening
from perdure.stores.sqlite.marker import FileMarker
from perdure.stores.sqlite.store import SqliteStore
from perdure.stores.sqlite.trouble import of_system

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is full")
def test_an_owner_that_cannot_keep_the_name_of_the_run_in_its_turn_is_told_and_not_killed(tmp_path: Path):
    (tmp_path / "runs.db-turn").symlink_to(FULL)
    store = SqliteStore(str(tmp_path / "runs.db"))
    assert store.admin.try_own("here", 1, "build-1", 1) is not None

    with pytest.raises(errors.StoreFull) as told:
        store.marking.marker()
    store.admin.close()

    assert str(told.value) == (
        f"{tmp_path}/runs.db-turn: no room left to write (No space left on device); nothing was lost. "
        "Free space on its disk, then start again"
    )


def test_the_file_that_is_mapped_has_no_hole_that_would_have_to_be_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def hole(descriptor: int, size: int) -> None:
        raise AssertionError("it was made longer without being written")

    monkeypatch.setattr(os, "ftruncate", hole)
    marker = FileMarker(str(tmp_path / "turn"))
    marker.enter(7)
    marker.close()

    assert FileMarker(str(tmp_path / "turn")).left_by_the_dead() == 7


def test_other_errors_of_the_system_say_what_to_do():
    told = of_system(PermissionError(errno.EACCES, "Permission denied"), "/x.db-owner", "says who owns the database")

    assert isinstance(told, errors.StoreReadOnly)
    assert str(told) == (
        "/x.db-owner: the file that says who owns the database cannot be written (Permission denied); "
        "make it writable for this user"
    )


def test_a_migration_that_cannot_take_the_lock_says_so(tmp_path: Path):
    path = tmp_path / "runs.db"
    opening.upgrade(str(path), migrations.schema()[:3])
    (tmp_path / "runs.db-owner").mkdir()

    with pytest.raises(
        errors.StoreReadOnly, match=r"runs.db-owner: the file that says who owns the database cannot be"
    ):
        SqliteStore(str(path))
