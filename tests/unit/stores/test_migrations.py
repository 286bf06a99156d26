"""The schema and its versions, with made-up migrations in folders of the test's own."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, errors
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.project import RunRow
from perdure.stores import base
from perdure.stores.sqlite import migrations, opening
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.store import SqliteStore

FIRST = "-- why\nCREATE TABLE members (id INTEGER);\nCREATE TABLE a (b);\n"
SECOND = "ALTER TABLE a ADD COLUMN c TEXT;\nINSERT INTO a VALUES ('x; y', NULL);\n"
THIRD = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM a;\n  DELETE FROM a;\nEND;\n"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


def schema(folder: Path, *scripts: str) -> migrations.Schema:
    """Migrations 1, 2, 3 ... made of the scripts."""
    folder.mkdir(exist_ok=True)
    for number, script in enumerate(scripts, 1):
        (folder / f"{number:04}_step.sql").write_text(script)
    return migrations.schema(folder)


def state(path: str) -> tuple[int, Any]:
    """The version, and every definition in the database."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        return version, connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_the_migrations_of_this_version_are_numbered_without_gaps():
    numbers = [migration.number for migration in migrations.schema()]

    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("names", [["0001_a", "0003_b"], ["0001_a", "0001_b"], ["first"], []])
def test_files_that_do_not_follow_each_other_are_refused(tmp_path: Path, names: list[str]):
    for name in names:
        (tmp_path / f"{name}.sql").write_text("")

    with pytest.raises(ValueError, match=r"numbered 0001, 0002 .*found are: "):
        migrations.schema(tmp_path)


def test_an_empty_database_is_brought_to_the_newest_version(tmp_path: Path, path: str):
    assert opening.upgrade(path, schema(tmp_path / "schema", FIRST, SECOND, THIRD)) == 0

    version, definitions = state(path)
    assert version == 3
    assert [name for name, _ in definitions] == ["a", "members", "t"]


def test_what_is_missing_is_applied_once_to_what_is_there(tmp_path: Path, path: str):
    opening.upgrade(path, schema(tmp_path / "schema", FIRST))
    newest = schema(tmp_path / "schema", FIRST, SECOND)

    assert opening.upgrade(path, newest) == 1
    assert opening.upgrade(path, newest) == 2

    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT b, c FROM a").fetchall() == [("x; y", None)]


def test_a_migration_that_does_not_fit_leaves_everything_as_it_was(tmp_path: Path, path: str):
    opening.upgrade(path, schema(tmp_path / "schema", FIRST))
    before = state(path)

    with pytest.raises(errors.StoreCorrupt, match=r"the migration 0003_step does not fit .*nothing was changed"):
        opening.upgrade(path, schema(tmp_path / "schema", FIRST, SECOND, "CREATE TABLE x (y);\nCREATE TABLE a (b);\n"))

    assert state(path) == before


def test_a_first_schema_that_fails_leaves_an_empty_database(tmp_path: Path, path: str):
    with pytest.raises(errors.StoreCorrupt):
        opening.upgrade(path, schema(tmp_path / "schema", "CREATE TABLE a (b);\nCREATE TABLE a (b);\n"))

    assert state(path) == (0, [])
    SqliteStore(path).admin.close()


def test_the_script_does_what_migrating_does(tmp_path: Path, path: str):
    versions = schema(tmp_path / "schema", FIRST, SECOND, THIRD)
    opening.upgrade(path, versions)
    by_hand = str(tmp_path / "by-hand.db")
    scripts = [migrations.script_of(versions[:1], 0), migrations.script_of(versions[1:], 1)]

    with contextlib.closing(sqlite3.connect(by_hand)) as connection:
        for script in scripts:
            connection.executescript(script)

    assert state(by_hand) == state(path)
    assert opening.version(by_hand) == 3


def test_a_database_of_the_first_schema_keeps_its_runs(path: str):
    started = wire.encode([ev.RunStarted(1, "order", ev.Payload(b"[1]"), b"r", "build")])
    opening.upgrade(path, migrations.schema()[:1])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for key, id, status in ((2, "a", 1), (4, "b", 2)):
            columns = (key, id, b"r", "order", status, "note", "build", 1, None, None, 1, None, 0, 0)
            connection.execute(f"INSERT INTO runs VALUES ({', '.join('?' * 14)})", columns)
            connection.execute("INSERT INTO history VALUES (?, 1, ?)", (key, started))

    store = SqliteStore(path)
    store.admin.try_own("here", 1, "b", 1)

    assert store.views.row("a") == RunRow(2, "a", b"r", "order", 1, "note", "build", 1, None, None, 1)
    assert store.work.load([4])[4].history == [started]
    assert store.admin.check() == []
    newer = RunRow(6, "a", b"s", "order", 1, "", "build", 1, None, None, 0)
    store.journal.commit(base.Batch(followed=[(2, 6)], created=[newer]))
    assert [row.key for row in store.views.search(base.RunFilter(id_prefix="a"))] == [6, 2]
    store.admin.close()


def test_an_engine_migrates_what_an_older_one_left(tmp_path: Path, path: str):
    SqliteStore(path).admin.close()
    newer = _newer(tmp_path)

    SqliteStore(path, schema=newer).admin.close()

    assert opening.version(path) == len(newer)


def _newer(tmp_path: Path) -> migrations.Schema:
    """The schema of a version to come."""
    known = migrations.schema()
    return [*known, migrations.Migration(len(known) + 1, "next", "CREATE TABLE extra (a);\n")]


def test_nothing_is_migrated_under_an_engine_that_runs(tmp_path: Path, path: str):
    owner = SqliteStore(path)
    owner.admin.try_own("shop-1", os.getpid(), "build", 1)

    with pytest.raises(
        errors.SchemaTooOld, match="while an engine of an older version owns it; stop that engine first"
    ):
        opening.upgrade(path, _newer(tmp_path))

    owner.admin.close()
    opening.upgrade(path, _newer(tmp_path))


def test_who_has_to_migrate_waits_for_an_engine_that_is_being_stopped(tmp_path: Path, path: str):
    owner = SqliteStore(path)
    owner.admin.try_own("shop-1", os.getpid(), "build", 1)
    leaving = threading.Timer(0.1, owner.admin.close)
    leaving.start()

    SqliteStore(path, schema=_newer(tmp_path)).admin.close()

    leaving.join()
    assert opening.version(path) == len(_newer(tmp_path))


def test_who_finds_it_migrated_meanwhile_goes_on(tmp_path: Path, path: str):
    SqliteStore(path).admin.close()
    lock = OwnerLock(f"{path}-owner")
    lock.try_take()  # an engine of the new version, which migrates and then keeps it
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        migrating = threading.Timer(0.1, migrations.apply, [connection, path, _newer(tmp_path)])
        connection.isolation_level = None
        migrating.start()

        SqliteStore(path, schema=_newer(tmp_path)).admin.close()

        migrating.join()
    lock.release()


def test_a_client_does_not_migrate(tmp_path: Path, path: str):
    SqliteStore(path).admin.close()
    before = Path(path).read_bytes()

    with pytest.raises(
        errors.SchemaTooOld, match=r"has schema \d+, and this version of Perdure needs \d+; bring it up"
    ):
        SqliteStore(path, create=True, migrate=False, schema=_newer(tmp_path))

    assert Path(path).read_bytes() == before


def test_a_client_makes_no_database_of_a_misspelled_name(tmp_path: Path):
    SqliteStore(str(tmp_path / "orders.db")).admin.close()
    (tmp_path / "music.db").write_bytes(b"SQLite format 3\0" + bytes(100))

    with pytest.raises(
        errors.StoreNotFound, match=r"/oders.db: there is no such database; did you mean orders.db\? An"
    ):
        Client(f"sqlite:///{tmp_path}/oders.db")

    assert not (tmp_path / "oders.db").exists()


@pytest.mark.parametrize(
    ("others", "advice"),
    [
        ([], "it may have another name, or be elsewhere"),
        (["a.db", "b.db"], r"in its folder are: a.db, b.db\."),
        (["a.db"], r"did you mean a.db\?"),
    ],
)
def test_a_database_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path, others: list[str], advice: str):
    for name in others:
        SqliteStore(str(tmp_path / name)).admin.close()

    with pytest.raises(errors.StoreNotFound, match=advice):
        Client(f"sqlite:///{tmp_path}/orders.db")


def test_an_empty_file_is_no_database_for_a_client(path: str):
    Path(path).touch()

    with pytest.raises(errors.StoreNotFound, match="the file is empty"):
        Client(f"sqlite:///{path}")

    assert Path(path).read_bytes() == b""


def test_a_client_that_is_told_to_makes_a_database(path: str):
    with Client(f"sqlite:///{path}", create=True) as client:
        client.start("order", [3], id="order-1").wait()

    with Client(f"sqlite:///{path}") as client:
        assert [run.status for run in client.list().wait()] == ["queued"]


def test_the_version_of_what_is_not_there_is_none_and_looking_makes_nothing(path: str):
    assert opening.version(path) == 0

    assert not os.path.exists(path)


def test_processes_that_migrate_together_all_succeed(tmp_path: Path, path: str):
    SqliteStore(path).admin.close()
    program = (
        "import sys\n"
        "from perdure.stores.sqlite import migrations\n"
        "from perdure.stores.sqlite.store import SqliteStore\n"
        "known = migrations.schema()\n"
        "newer = [*known, migrations.Migration(len(known) + 1, 'next', 'CREATE TABLE extra (a);')]\n"
        "sys.stdin.readline()\n"
        "SqliteStore(sys.argv[1], schema=newer).admin.close()\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]

    said = [process.communicate("go\n")[1] for process in started]

    assert [process.returncode for process in started] == [0] * 4, said


def test_statements_of_the_schema_end_where_a_line_ends():
    """`apply` splits the files there; two statements in one line would come to SQLite as one."""
    for migration in migrations.schema():
        assert not re.search(r";[^\n]*\S[^\n]*;\s*$", re.sub(r"--.*", "", migration.script), re.MULTILINE)


def test_a_database_of_each_schema_is_brought_to_this_one(path: str):
    every = migrations.schema()
    for version in range(1, len(every) + 1):
        database = f"{path}-{version}"
        opening.upgrade(database, every[:version])

        store = SqliteStore(database)

        assert opening.version(database) == len(every)
        assert store.views.search(base.RunFilter()) == []
        assert store.views.attributes([2]) == {}
        store.admin.close()


def test_of_members_from_before_they_were_told_apart_none_is_forgotten(path: str):
    opening.upgrade(path, migrations.schema()[:4])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO members (host, pid, build, started_at) VALUES ('there', 7, 'b', 1)")
        connection.commit()
    store = SqliteStore(path)

    assert store.admin.try_own("here", 8, "b", 2) == 2
    assert list(store.views.members([1, 2])) == [1, 2]
    store.admin.close()
