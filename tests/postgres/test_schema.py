"""How a database gets its schema, and what becomes of one that is older or newer."""

import itertools
import queue
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure import errors
from perdure.stores.open import open_store
from perdure.stores.postgres import migrating, schema, standing_by
from perdure.stores.postgres.place import Place
from tests.postgres.server import Server

RECORDED = Path(__file__).with_name("recorded")
_INDEX = "-- serves: 1\nCREATE INDEX CONCURRENTLY IF NOT EXISTS runs_by_note ON perdure.runs (note);\n"


@pytest.fixture
def empty(server: Server, request: pytest.FixtureRequest) -> str:
    """A database without a schema."""
    name = f"empty_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(server.address(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
    return server.address(name)


def _next(folder: Path, name: str, script: str) -> schema.Schema:
    """The schema of a version of Perdure that comes after this one."""
    for each in schema.schema():
        (folder / f"{each.name}.sql").write_text(each.script)
    (folder / name).write_text(script)
    return schema.schema(folder)


def test_a_database_gets_its_schema_when_it_is_opened(empty: str) -> None:
    with pytest.raises(errors.StoreNotFound, match="has no schema of Perdure"):
        open_store(empty, create=False)
    assert schema.version(Place(empty)).number == 0
    open_store(empty).admin.close()
    assert schema.version(Place(empty)).number == schema.schema()[-1].number
    open_store(empty, create=False, migrate=False).admin.close()


def test_of_several_that_open_an_empty_database_one_makes_the_schema(empty: str) -> None:
    faults: list[BaseException] = []

    def open_it() -> None:
        try:
            open_store(empty).admin.close()
        except BaseException as error:  # noqa: BLE001  told by the assertion
            faults.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    store = open_store(empty)
    assert store.admin.try_own("here", 1, "b", 1) is not None
    store.admin.close()


def test_the_script_makes_the_same_schema(empty: str, database: str) -> None:
    script = migrating.script_of(schema.schema(), schema.NONE)
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(script.replace("\\set ON_ERROR_STOP on\n", "").encode())
    assert _catalogue(empty) == _catalogue(database)
    open_store(empty, create=False, migrate=False).admin.close()


def _catalogue(address: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address) as connection:
        return connection.execute(
            "SELECT c.relname, a.attname, a.atttypid::regtype::text, a.attnotnull FROM pg_attribute a "
            "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'perdure' AND a.attnum > 0 UNION ALL "
            "SELECT p.proname, pg_get_function_arguments(p.oid), md5(p.prosrc), true FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'perdure' ORDER BY 1, 2, 3"
        ).fetchall()


def test_the_schema_of_each_version_before_is_recorded_and_leads_where_a_new_database_begins(
    server: Server, database: str
) -> None:
    """Recorded as `perdure migrate --sql` of the last release that had it prints it for an empty database: with its functions, which
    those of this version have to replace, or to stand beside."""
    recorded = {int(file.stem): file.read_text() for file in RECORDED.glob("*.sql")}
    assert sorted(recorded) == [each.number for each in schema.schema()[:-1]]
    for number, script in recorded.items():
        name = f"from_{number}"
        server.ask(f"CREATE DATABASE {name} TEMPLATE template0")
        with psycopg.connect(server.address(name), autocommit=True) as connection:
            connection.execute(script.replace("\\set ON_ERROR_STOP on\n", "").encode())
        migrating.bring(Place(server.address(name)))
        assert _catalogue(server.address(name)) == _catalogue(database)


def test_an_owner_of_the_version_before_goes_on_while_its_database_gets_a_new_schema(
    database: str, tmp_path: Path
) -> None:
    store = open_store(database)
    assert store.admin.try_own("here", 1, "b", 1) is not None and store.membership is not None
    newer = _next(tmp_path, "0002_index.online.sql", _INDEX)
    assert migrating.bring(Place(database), newer) == schema.Version(1, 1, 1)
    assert schema.version(Place(database)) == schema.Version(2, 1, 2)
    assert store.membership.poll(1, 10, 10).claimed == []
    store.admin.close()
    open_store(database).admin.close()  # the version before is served still
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('perdure.runs_by_note')").fetchone() != (None,)


def test_of_several_that_start_while_an_index_is_to_be_built_one_builds_it(database: str, tmp_path: Path) -> None:
    newer = _next(tmp_path, "0002_index.online.sql", _INDEX)
    threads = [threading.Thread(target=migrating.bring, args=(Place(database), newer), daemon=True) for _ in range(2)]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (migrating.LOCK,))
        for thread in threads:
            thread.start()
        while connection.execute(_COME).fetchone() != (len(threads),):
            time.sleep(0.01)
        connection.execute("SELECT pg_advisory_unlock(%s)", (migrating.LOCK,))
        for thread in threads:
            thread.join(60)
        assert [thread.is_alive() for thread in threads] == [False, False]
        assert schema.version(Place(database)) == schema.Version(2, 1, 2)
        assert connection.execute("SELECT to_regclass('perdure.runs_by_note')").fetchone() != (None,)


_COME = """
SELECT count(DISTINCT pid)::int FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND application_name = 'perdure' AND query ~ 'advisory|^BEGIN|^COMMIT'
"""


def test_an_index_whose_building_has_failed_is_built_anew(database: str, tmp_path: Path) -> None:
    newer = _next(tmp_path, "0002_index.online.sql", _INDEX)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'perdure.runs_by_note'::regclass"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE INDEX runs_by_note ON perdure.runs (note)")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'perdure.runs_by_note'::regclass")
        migrating.bring(Place(database), newer)
        assert connection.execute(valid.encode()).fetchone() == (True,)


def test_whoever_waits_for_an_index_of_a_migration_that_was_killed_is_told_for_whom_and_how_to_end_that(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes on with what nobody waits for any more, and that waits for a transaction which may be open for ever."""
    monkeypatch.setattr(standing_by, "TELL_SECONDS", (0.0, 3600.0))
    newer = _next(tmp_path, "0002_index.online.sql", _INDEX)
    told: queue.Queue[str] = queue.Queue()
    with psycopg.connect(database) as old, psycopg.connect(database, autocommit=True) as watch:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # as a backup
        old.execute("SELECT count(*) FROM perdure.runs")
        killed = psycopg.connect(database, autocommit=True)
        pid = killed.info.backend_pid
        killed.pgconn.send_query(b"CREATE INDEX CONCURRENTLY runs_by_note ON perdure.runs (note)")
        waits = "SELECT 1 FROM pg_stat_progress_create_index WHERE pid = %s AND current_locker_pid = %s"
        while not watch.execute(waits.encode(), (pid, old.info.backend_pid)).fetchone():
            time.sleep(0.01)
        killed.close()

        migrates = threading.Thread(target=lambda: migrating.bring(Place(database), newer, tell=told.put), daemon=True)
        migrates.start()
        said = told.get()
        assert f"waits for backend {pid}, which has been building an index on perdure.runs for " in said
        assert f"and waits for the transaction of backend {old.info.backend_pid}" in said
        other = threading.Thread(target=lambda: migrating.bring(Place(database), newer, tell=told.put), daemon=True)
        other.start()
        assert "(perdure), which has been bringing the schema up to date for" in told.get()
        watch.execute(said[said.index("SELECT pg_terminate_backend") :].encode())
        old.rollback()
        for thread in (migrates, other):
            thread.join()
        assert schema.version(Place(database)) == schema.Version(2, 1, 2)
        assert watch.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'perdure.runs_by_note'::regclass"
        ).fetchall() == [(True,)]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_does_not_hold_every_text_is_refused(server: Server, encoding: str) -> None:
    name = f"in_{encoding.lower()}"
    server.ask(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(errors.StoreUnreachable, match=f"the encoding of the database is {encoding}, .* needs UTF8"):
        open_store(server.address(name))
    assert server.ask("SELECT to_regnamespace('perdure')", name) == [(None,)]


def test_texts_are_written_in_utf_8_whatever_is_said_elsewhere(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    for address in (database, f"{database}?client_encoding=SQL_ASCII"):
        with Place(address).connect() as connection:
            assert connection.info.encoding == "utf-8"
            assert connection.execute("SELECT %s::text", ("\u20ac",)).fetchone() == ("\u20ac",)


def test_a_schema_that_does_not_serve_this_version_any_more_refuses_it(database: str, tmp_path: Path) -> None:
    newer = _next(tmp_path, "0002_gone.sql", "-- serves: 2\nDROP TABLE perdure.replies;\n")
    migrating.bring(Place(database), newer)
    with pytest.raises(errors.SchemaTooNew, match="serves code of schema 2 and newer; this one knows 1"):
        open_store(database)


def test_a_migration_that_fails_changes_nothing(database: str, tmp_path: Path) -> None:
    newer = _next(tmp_path, "0002_bad.sql", "-- serves: 1\nCREATE TABLE perdure.extra ();\nSELECT 1 / 0;\n")
    with pytest.raises(errors.StoreError, match="division by zero"):
        migrating.bring(Place(database), newer)
    assert schema.version(Place(database)).number == 1
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('perdure.extra')").fetchone() == (None,)


def test_a_migration_keeps_nobody_waiting_and_names_who_is_in_its_way(database: str, tmp_path: Path) -> None:
    newer = _next(tmp_path, "0002_more.sql", "-- serves: 1\nALTER TABLE perdure.runs ADD COLUMN extra text;\n")
    with psycopg.connect(database, application_name="reports") as other:
        other.execute("SELECT count(*) FROM perdure.runs")
        said = rf"in use by backend {other.info.backend_pid} \(reports, idle in transaction\), .* end that transaction, and migrate"
        with pytest.raises(errors.StoreUnreachable, match=said):
            migrating.apply(Place(database), newer, patience=0)
        with psycopg.connect(database) as third:  # which would wait behind a migration that waits
            third.execute("LOCK TABLE perdure.runs IN ROW EXCLUSIVE MODE NOWAIT")
    migrating.apply(Place(database), newer, patience=0)
    assert schema.version(Place(database)) == schema.Version(2, 1, 2)


def test_a_version_in_between_goes_on_from_a_migration_that_was_broken_off(database: str, tmp_path: Path) -> None:
    """By one that knows three files and has come to the end of the second: its functions are still to come, and so are those of
    a version that knows two."""
    (tmp_path / "0003_bad.online.sql").write_text("-- serves: 1\nSELECT 1 / 0;\n")
    newest = _next(tmp_path, "0002_more.sql", "-- serves: 1\nDROP FUNCTION perdure.mark;\n")
    with pytest.raises(errors.StoreError, match="division by zero"):
        migrating.bring(Place(database), newest)
    assert schema.version(Place(database)) == schema.Version(1, 1, 2)

    migrating.bring(Place(database), newest[:2])

    assert schema.version(Place(database)) == schema.Version(2, 1, 2)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT perdure.mark() <> ''").fetchone() == (True,)


def test_a_client_changes_no_schema(database: str, tmp_path: Path) -> None:
    newer = _next(tmp_path, "0002_more.sql", "-- serves: 1\nCREATE TABLE perdure.extra ();\n")
    with pytest.raises(
        errors.SchemaTooOld, match="has schema 1, and this version of Perdure needs 2; bring it up to date"
    ):
        migrating.bring(Place(database), newer, upgrade=False)


def test_a_user_who_may_not_make_the_schema_is_told_who_may(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS weak")
        connection.execute("CREATE ROLE weak LOGIN")
    with pytest.raises(errors.SchemaTooOld, match="this user may not change it; run `perdure migrate` as one who may"):
        open_store(empty.replace("//perdure@", "//weak@"))


@pytest.mark.parametrize(
    ("script", "said"),
    [("CREATE TABLE perdure.extra ();", "the first line of 0002_x.sql must be like"), (None, "numbered 0001, 0002")],
)
def test_files_of_a_schema_that_make_no_sense_are_refused(tmp_path: Path, script: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        if script is None:
            _next(tmp_path, "0003_x.sql", "-- serves: 1\n")
        else:
            _next(tmp_path, "0002_x.sql", script)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://me:hush@127.0.0.1:1/x", r"postgresql://me@127.0.0.1:1/x: the server does not answer"),
        ("postgresql://me@127.0.0.1/x?password=hush&nonsense=1", "is no address of a PostgreSQL database"),
        ("postgres://me:hush@127.0.0.1:port/x", "invalid"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_without_its_password(address: str, said: str) -> None:
    with pytest.raises(errors.StoreUnreachable, match=said) as caught:
        open_store(address)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value) and "Is the server running" not in str(caught.value)


def test_a_database_that_is_not_there_is_named(server: Server) -> None:
    with pytest.raises(errors.StoreUnreachable, match=r"there is no such database nowhere, .*: createdb nowhere$"):
        open_store(server.address("nowhere"))


def test_whoever_opens_a_database_gives_a_server_some_time_that_takes_a_connection_and_ends_it(database: str) -> None:
    """As a balancer does whose server is gone."""
    place = Place(database)
    connect, tries = place.connect, itertools.count()

    def closed_at_first() -> Any:
        if next(tries) < 3:
            raise psycopg.OperationalError("connection failed: server closed the connection unexpectedly")
        return connect()

    place.connect = closed_at_first  # type: ignore[method-assign]
    place.connect_soon().close()

    assert next(tries) == 4
