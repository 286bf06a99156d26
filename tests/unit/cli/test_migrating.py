"""`perdure migrate`, with versions to come in folders of the test's own."""

import contextlib
import json
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from perdure.cli import migrating
from perdure.stores.sqlite import migrations, opening
from perdure.stores.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Perdure

NEWEST = len(migrations.schema())


@pytest.fixture
def two_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A Perdure that has two more versions of the schema; the number of the newest."""
    folder = tmp_path / "schema"
    folder.mkdir()
    for migration in migrations.schema():
        (folder / f"{migration.name}.sql").write_text(migration.script)
    (folder / f"{NEWEST + 1:04}_apples.sql").write_text("-- why\nCREATE TABLE apples (a);\n")
    (folder / f"{NEWEST + 2:04}_pears.sql").write_text("CREATE TABLE pears (a);\n")
    newer = migrations.schema(folder)
    monkeypatch.setattr(migrations, "schema", lambda: newer)
    return NEWEST + 2


@pytest.fixture
def path(address: str) -> str:
    return address.removeprefix("sqlite:///")


def test_a_database_that_is_not_there_is_made(perdure: Perdure, tmp_path: Path) -> None:
    said = perdure("migrate", "--db", str(tmp_path / "new.db"))

    assert said.code == 0
    assert said.out.splitlines() == [f"applied\t{migration.name}" for migration in migrations.schema()]
    assert said.err.endswith(f"new.db: made with schema {NEWEST}\n")
    assert perdure("list", "--db", str(tmp_path / "new.db")).code == 0


def test_what_is_up_to_date_is_left_alone(perdure: Perdure) -> None:
    said = perdure("migrate")

    assert (said.code, said.out) == (0, "")
    assert said.err.endswith(f"runs.db has schema {NEWEST}: nothing to do\n")


def test_check_says_what_is_pending_by_its_exit_code_and_changes_nothing(perdure: Perdure, path, two_more) -> None:
    said = perdure("migrate", "--check")

    assert said.code == 1
    assert said.out == f"pending\t{two_more - 1:04}_apples\npending\t{two_more:04}_pears\n"
    assert said.err.endswith(f"runs.db has schema {NEWEST} of {two_more}: 2 migrations are pending\n")
    assert opening.version(path) == NEWEST


def test_check_is_content_when_nothing_is_pending(perdure: Perdure) -> None:
    assert perdure("migrate", "--check").code == 0


def test_check_does_not_make_a_database(perdure: Perdure, tmp_path: Path) -> None:
    said = perdure("migrate", "--check", "--db", str(tmp_path / "typo.db"))

    assert said.code == 5
    assert "did you mean" in said.err or "name it with  --db" in said.err
    assert not (tmp_path / "typo.db").exists()


def test_what_is_pending_is_applied_once_no_engine_owns_the_database(perdure: Perdure, store, path, two_more) -> None:
    refused = perdure("migrate")
    store.admin.close()
    said = perdure("migrate")

    assert refused.code == 5
    assert "while an engine of an older version owns it; stop that engine first" in refused.err
    assert said.code == 0
    assert said.out == f"applied\t{two_more - 1:04}_apples\napplied\t{two_more:04}_pears\n"
    assert said.err.endswith(f"runs.db: schema {NEWEST} → {two_more}\n")
    assert perdure("migrate", "--check").code == 0


def test_it_may_stop_on_the_way(perdure: Perdure, unowned, path, two_more) -> None:
    said = perdure("migrate", "--to", str(two_more - 1), "-q")

    assert said == (0, f"{two_more - 1:04}_apples\n", "")
    assert opening.version(path) == two_more - 1


def test_there_is_no_way_back(perdure: Perdure, unowned, path, two_more) -> None:
    perdure("migrate")

    said = perdure("migrate", "--to", str(NEWEST))

    assert said.code == 7
    assert said.err.startswith("error: ") and f"there is no way back to {NEWEST}\n" in said.err
    assert "hint: restore the copy made before the migration" in said.err
    assert opening.version(path) == two_more


def test_a_version_nobody_knows_is_named(perdure: Perdure) -> None:
    said = perdure("migrate", "--to", "99")

    assert said.code == 2
    assert f"there is no schema 99\n  this version of Perdure knows 1 to {NEWEST}\n" in said.err


def test_a_database_of_a_newer_version_is_refused(perdure: Perdure, path, unowned) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")

    for arguments in ([], ["--check"], ["--sql"]):
        said = perdure("migrate", *arguments)
        assert said.code == 5
        assert "was written by a newer Perdure (schema 99" in said.err


def test_the_statements_can_be_run_by_hand(perdure: Perdure, tmp_path: Path, path, two_more) -> None:
    script = perdure("migrate", "--sql").out
    whole = perdure("migrate", "--sql", "--db", str(tmp_path / "new.db")).out

    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    with contextlib.closing(sqlite3.connect(tmp_path / "by-hand.db")) as connection:
        connection.executescript(whole)

    assert not (tmp_path / "new.db").exists()
    assert opening.version(path) == opening.version(str(tmp_path / "by-hand.db")) == two_more
    SqliteStore(str(tmp_path / "by-hand.db"), create=False, migrate=False, schema=migrations.schema()).admin.close()


def test_json_says_from_where_to_where(perdure: Perdure, unowned, two_more) -> None:
    pending = json.loads(perdure("migrate", "--check", "--json=from,to,newest").out)
    applied = json.loads(perdure("migrate", "--json").out)

    assert pending == {"from": NEWEST, "to": NEWEST, "newest": two_more}
    assert tuple(applied) == migrating.FIELDS
    assert applied["to"] == two_more
    assert applied["migrations"][-1] == {"number": two_more, "name": f"{two_more:04}_pears", "state": "applied"}


def test_a_terminal_gets_signs(perdure: Perdure, unowned, two_more, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert perdure("migrate", "--check", "--color", "never").out.splitlines()[0] == f"◌ {two_more - 1:04}_apples"
    assert perdure("migrate", "--color", "never").out.splitlines()[0] == f"✓ {two_more - 1:04}_apples"


def test_what_excludes_itself_is_refused(perdure: Perdure) -> None:
    assert perdure("migrate", "--check", "--sql").code == 2


def test_other_commands_do_not_migrate_and_say_what_does(perdure: Perdure, unowned, path, two_more) -> None:
    said = perdure("list")

    assert said.code == 5
    assert f"has schema {NEWEST}, and this version of Perdure needs {two_more}" in said.err
    assert "perdure migrate" in said.err
    assert opening.version(path) == NEWEST


def test_a_folder_without_permission_is_named(perdure: Perdure, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "closed").mkdir(mode=0o555)

    assert "may not create files" in perdure("migrate", "--db", str(tmp_path / "closed" / "x.db")).err
