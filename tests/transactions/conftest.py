"""A database that an application shares with its runs: one of PostgreSQL, or a file of SQLite."""

import sqlite3
from pathlib import Path

import psycopg
import pytest

from perdure.stores.postgres.store import PostgresStore
from perdure.stores.sqlite.store import SqliteStore
from tests.conformance.conftest import database as database
from tests.conformance.conftest import server as server
from tests.transactions.shared import Shared


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    if request.param == "postgres":
        address = request.getfixturevalue("database")
        return Shared(address, lambda: psycopg.connect(address), lambda: PostgresStore(address), "%s")
    path = str(tmp_path / "shop.db")
    SqliteStore(path).admin.close()
    return Shared(f"sqlite:///{path}", lambda: sqlite3.connect(path), lambda: SqliteStore(path), "?")
