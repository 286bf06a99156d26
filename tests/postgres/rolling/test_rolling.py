"""A database is brought to the schema of the next version while members of this one move runs; and the way back."""

import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from perdure import Client, errors
from perdure.stores.open import open_store
from perdure.stores.postgres import schema
from perdure.stores.postgres.migrating import LOCK
from perdure.stores.postgres.place import Place
from tests.operations.shipments import until
from tests.postgres.rolling.traffic import Traffic
from tests.postgres.rolling.versions import APP, FILES, THIS, Version, next_version, unserving
from tests.postgres.server import Server, programs

AT_FIRST, ALTERED, NEWEST = schema.Version(1, 1, 1), schema.Version(1, 1, 2), schema.Version(4, 1, 4)


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return next_version(tmp_path_factory.mktemp("next"))


@pytest.fixture
def users(database: str) -> dict[str, str]:
    """Addresses of users with least rights, by their role."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(schema.roles().replace("\\set ON_ERROR_STOP on\n", "").encode())
        for name in ("engine", "client"):
            connection.execute(f"DROP ROLE IF EXISTS a_{name}".encode())
            connection.execute(f"CREATE ROLE a_{name} LOGIN IN ROLE perdure_{name}".encode())
    return {name: database.replace("//perdure@", f"//a_{name}@") for name in ("engine", "client")}


def waiting(database: str, query: str) -> Callable[[], bool]:
    """Whether somebody's statement of that kind waits for a lock."""
    sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s"

    def asked() -> bool:
        with psycopg.connect(database) as connection:
            return connection.execute(sql, (query,)).fetchone() is not None

    return asked


def ended(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, (out, err)


def killed(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL


def test_engines_go_on_while_their_database_is_migrated_whatever_befalls_that(
    database: str, users: dict[str, str], newer: Version
) -> None:
    def found() -> schema.Version:
        return schema.version(Place(database))

    with (
        psycopg.connect(database) as other,
        THIS.engine(users["engine"]),
        Traffic(users["client"], "parcel").going_on() as traffic,
    ):
        traffic.more(2)
        assert newer.call(database, "migrate", "--check")[:2] == (1, "".join(f"pending\t{name}\n" for name in FILES))

        # Somebody reads, and does not end: what changes the tables has to wait, and nobody waits for that. It is killed.
        other.execute("SELECT count(*) FROM perdure.runs")
        migrating = newer.start(database, "migrate")
        until(waiting(database, "-- 0002_more%"))
        traffic.more(2)
        killed(migrating)
        assert found() == AT_FIRST
        other.rollback()

        # Somebody writes, and does not end: the index has to wait. Both that migrate are killed, and their server has the index
        # still in hand when the next two come.
        other.execute("INSERT INTO perdure.replies VALUES ('none', '', '', 1)")
        pair = [newer.start(database, "migrate") for _ in range(2)]
        until(waiting(database, "%CREATE INDEX CONCURRENTLY%"))
        killed(*pair)
        assert found() == ALTERED
        pair = [newer.start(database, "migrate") for _ in range(2)]
        traffic.more(2)
        assert [each.poll() for each in pair] == [None, None]
        other.rollback()
        ended(*pair)

        assert found() == NEWEST
        assert newer.call(database, "migrate", "--check")[0] == 0
        assert schema.invalid_indexes(other) == []
        traffic.more(2)
        traffic.end()
        assert set(traffic.versions) == {"this"}
        assert other.execute("SELECT DISTINCT mark FROM perdure.marks").fetchall() == [("read",)]


def test_a_deploy_goes_on_beside_the_version_before_and_is_taken_back(
    database: str, users: dict[str, str], newer: Version
) -> None:
    first, second = ExitStack(), ExitStack()
    with first, second:
        first.enter_context(THIS.engine(users["engine"]))
        with Traffic(users["client"], "parcel").going_on() as traffic:
            assert newer.call(database, "migrate")[0] == 0
            second.enter_context(newer.engine(users["engine"]))
            traffic.more(1, "this")
            traffic.more(1, "next")
            first.close()
            traffic.more(2, "next")

            assert THIS.call(database, "migrate", "--check")[0] == 0
            assert schema.version(Place(database)) == NEWEST
            first.enter_context(THIS.engine(users["engine"]))
            second.close()
            traffic.more(2, "this")
            traffic.end()

    store = open_store(database)
    assert store.admin.check() == []
    store.admin.close()


def test_members_that_the_next_version_does_not_serve_end_and_nothing_is_lost(
    database: str, users: dict[str, str], newer: Version, tmp_path: Path
) -> None:
    alone = unserving(newer, tmp_path)
    with Client(database) as client:
        old = THIS.start(users["engine"], "worker", str(APP), "--quiet")
        left = client.start("Delivery", ["left"], id="left").wait()
        until(lambda: left.describe().wait().status == "waiting")
        assert alone.call(database, "migrate")[0] == 0

        _, said = old.communicate()
        assert old.returncode != 0
        assert "serves no code that knows schema 1 only. Upgrade Perdure" in said
        with pytest.raises(errors.SchemaTooNew, match="serves code of schema 5 and newer; this one knows 1"):
            open_store(database)
        code, _, said = THIS.call(users["engine"], "worker", str(APP))
        assert code == 5 and "Upgrade Perdure" in said
        with alone.engine(users["engine"]):
            left.update("sign", "Bob").wait()
            assert left.result().wait() == "left this Bob"


@pytest.fixture
def psql(server: Server) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    if not (programs() / "psql").exists():
        pytest.skip("this PostgreSQL came without psql")

    def call(database: str, script: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([programs() / "psql", "-qX", database], input=script, capture_output=True, text=True)

    return call


def dump(database: str) -> str:
    """What the schema of a database is made of."""
    command = [programs() / "pg_dump", "--schema-only", "--schema=perdure", database]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.MULTILINE)


def test_the_script_leads_where_the_command_does_also_if_it_is_broken_off(
    server: Server, database: str, newer: Version, psql: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    copies = [f"{database.rpartition('/')[2]}_{n}" for n in range(3)]
    for name in copies[:2]:
        server.ask(f'CREATE DATABASE "{name}"')
    server.ask(f'CREATE DATABASE "{copies[2]}" TEMPLATE template0')
    whole, broken, new = map(server.address, copies)
    script = newer.call(database, "migrate", "--sql")[1]

    done = psql(whole, script)
    assert (done.returncode, done.stderr) == (0, "")
    done = psql(broken, script.partition("CREATE INDEX")[0])
    assert (done.returncode, schema.version(Place(broken))) == (0, ALTERED)
    done = psql(broken, script)
    assert done.returncode == 3 and "the schema has changed since this script was made" in done.stderr
    rest = newer.call(broken, "migrate", "--sql")[1]
    assert "0002_more" not in rest
    assert psql(broken, rest).returncode == 0
    for address in (database, new):
        assert newer.call(address, "migrate")[0] == 0

    assert schema.version(Place(whole)) == NEWEST
    assert [dump(address) == dump(database) for address in (whole, broken, new)] == [True, True, True]


def test_the_script_says_so_if_somebody_else_is_at_it(
    database: str, newer: Version, psql: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    script = newer.call(database, "migrate", "--sql")[1]
    with psycopg.connect(database) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        done = psql(database, script)
    assert done.returncode == 3 and "somebody else is just bringing this schema up to date" in done.stderr
    assert schema.version(Place(database)) == AT_FIRST
