"""Fixtures of the suite that every store passes."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from perdure.stores import base
from perdure.stores.memory import MemoryStore, Shelf
from perdure.stores.postgres.schema import migrate
from perdure.stores.sqlite.store import SqliteStore
from tests.conformance.rows import Opener
from tests.postgres.server import Missing, Server


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same store again and again, as several processes would."""
    shelf = Shelf()
    stores: list[base.Store] = []

    def open_again(faults: base.Faults | None = None) -> base.Store:
        if request.param == "memory":
            stores.append(MemoryStore(shelf=shelf, faults=faults))
        else:
            stores.append(SqliteStore(str(tmp_path / "runs.db"), faults))
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
