"""Fixtures of the suite that every store passes."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from perdure.stores import base
from perdure.stores.memory import MemoryStore, Shelf
from perdure.stores.postgres.migrating import migrate
from perdure.stores.postgres.store import PostgresStore
from perdure.stores.sqlite.store import SqliteStore
from tests.conformance.rows import ONE_OWNER, SHARED, Opener
from tests.postgres.late import open_with
from tests.postgres.server import Missing, Server

_TABLES = "SELECT 'perdure.' || tablename FROM pg_tables WHERE schemaname = 'perdure' AND tablename NOT IN ('version', 'secret')"

_ONE_MORE = """
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'perdure' AND tablename <> 'version' LOOP
        EXECUTE format('ALTER TABLE perdure.%I ADD COLUMN later integer NOT NULL DEFAULT 7', name);
    END LOOP;
END $$
"""
"""Each table gets a column that this version knows nothing of, as a later one may give it while members of this one go on."""


COUNTED = """
CREATE OR REPLACE FUNCTION perdure.new_member() RETURNS bigint LANGUAGE sql VOLATILE
SET search_path = perdure, pg_temp AS 'SELECT nextval(''members_id_seq'')'
"""
"""Members get the numbers 1, 2, 3: those of whoever is compared with the server."""


@pytest.fixture(params=[*ONE_OWNER, *SHARED])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same store again and again, as several processes would."""
    shelf = Shelf(shared=request.param in SHARED)
    address = request.getfixturevalue("emptied") if request.param == "postgres" else ""
    stores: list[base.Store] = []

    def open_again(faults: base.Faults | None = None) -> base.Store:
        if request.param == "postgres":
            stores.append(PostgresStore(address) if faults is None else open_with(address, faults))
        elif request.param == "sqlite":
            stores.append(SqliteStore(str(tmp_path / "runs.db"), faults))
        else:
            stores.append(MemoryStore(shelf=shelf, faults=faults))
        return stores[-1]

    yield open_again
    for store in stores:
        store.admin.close()


@pytest.fixture
def store(opened: Opener) -> base.Store:
    """A store that is owned by its only handle."""
    store = opened()
    assert store.admin.try_own("here", 1, "build-1", 1) is not None
    return store


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One for all tests of a process; new databases have the schema."""
    try:
        made = Server()
    except Missing as missing:
        pytest.skip(str(missing))
    with made as server:
        migrate(server.address("template1"))
        yield server


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> str:
    """The address of a new one."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(server.address(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return server.address(name)


@pytest.fixture(scope="session")
def janitor(server: Server) -> Iterator[psycopg.Connection]:
    """A connection to the database that tests have one after the other."""
    with psycopg.connect(server.address(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE emptied")
    with psycopg.connect(server.address("emptied"), autocommit=True) as connection:
        connection.execute(_ONE_MORE.encode())
        yield connection


@pytest.fixture
def emptied(server: Server, janitor: psycopg.Connection) -> str:
    """The address of one that is as new, for tests that leave its schema alone: to empty one takes a fraction of the time that it
    takes to make one."""
    empty(janitor)
    return server.address("emptied")


@pytest.fixture
def counted(emptied: str, janitor: psycopg.Connection) -> Iterator[str]:
    """The same one, and members have the numbers of the oracle."""
    ((drawn,),) = janitor.execute("SELECT pg_get_functiondef('perdure.new_member'::regproc)").fetchall()
    janitor.execute(COUNTED.encode())
    yield emptied
    janitor.execute(drawn.encode())


def empty(janitor: psycopg.Connection) -> None:
    tables = ", ".join(name for (name,) in janitor.execute(_TABLES))
    janitor.execute(f"TRUNCATE {tables} RESTART IDENTITY".encode())
    janitor.execute("ALTER SEQUENCE perdure.keys RESTART")
