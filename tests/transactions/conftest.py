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


@pytest.fixture
def on_server(database: str) -> Shared:
    return Shared(database, lambda: psycopg.connect(database), lambda: PostgresStore(database), "%s")


@pytest.fixture
def in_file(tmp_path: Path) -> Shared:
    path = str(tmp_path / "shop.db")
    SqliteStore(path).admin.close()
    return Shared(f"sqlite:///{path}", lambda: sqlite3.connect(path), lambda: SqliteStore(path), "?")


@pytest.fixture(params=["in_file", "on_server"])
def shared(request: pytest.FixtureRequest) -> Shared:
    return request.getfixturevalue(request.param)
