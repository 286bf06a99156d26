"""Connections of an application, of several drivers, each called in its own way. None is imported here: whoever has made a
connection has its module.

An async connection is called on its own loop, by whoever awaits; any other on the thread that waits or awaits.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from perdure.errors import ConnectionUnfit
from perdure.stores.enlisting import Statement

Rows = list[tuple[Any, ...]]


class Carrier(NamedTuple):
    """A connection, with what is done with it. `product` is whose it is, "PostgreSQL" or "SQLite"; `idle` whether it would commit
    each statement by itself; `ask` gives rows, or something to await that does, if `is_async`."""

    product: str
    is_async: bool
    idle: bool
    advice: str
    ask: Callable[[Statement], Any]


def carrier_of(connection: Any) -> Carrier:
    """What can be done with a connection.

    Raises:
        ConnectionUnfit: it is none that is known, or is in no transaction.
    """
    for kind in type(connection).__mro__:
        known = _KNOWN.get((kind.__module__.partition(".")[0], kind.__name__))
        if known is not None:
            carrier = known(connection)
            if carrier.idle:
                raise ConnectionUnfit(
                    f"{connection!r} is in no transaction, and commits each statement by itself, so that nothing could be undone "
                    f"together; {carrier.advice}"
                )
            return carrier
    raise ConnectionUnfit(
        f"connection={connection!r} is none that a start can be part of; there are those of psycopg, asyncpg, sqlite3, aiosqlite, "
        "SQLAlchemy (connections and sessions) and Django"
    )


def marked(statement: Statement, mark: str) -> str:
    """The SQL with other placeholders. Ours has no other question marks, and no percent signs."""
    return statement.sql.replace("?", mark)


def _psycopg(connection: Any) -> Carrier:
    """By a plain cursor, whatever those of the connection are; and nothing is prepared, which a pooler would lose."""
    idle = connection.autocommit and connection.info.transaction_status == 0
    psycopg, rows = sys.modules["psycopg"], sys.modules["psycopg.rows"].tuple_row

    def ask(statement: Statement) -> Rows:
        with psycopg.Cursor(connection, row_factory=rows) as cursor:
            cursor.execute(marked(statement, "%s"), statement.values, prepare=False)
            return cursor.fetchall()  # in a pipeline nothing is known of them before

    return Carrier("PostgreSQL", False, idle, "write: with connection.transaction(): ...", ask)


def _psycopg_async(connection: Any) -> Carrier:
    idle = connection.autocommit and connection.info.transaction_status == 0
    psycopg, rows = sys.modules["psycopg"], sys.modules["psycopg.rows"].tuple_row

    async def ask(statement: Statement) -> Rows:
        async with psycopg.AsyncCursor(connection, row_factory=rows) as cursor:
            await cursor.execute(marked(statement, "%s"), statement.values, prepare=False)
            return await cursor.fetchall()

    return Carrier("PostgreSQL", True, idle, "write: async with connection.transaction(): ...", ask)


def _asyncpg(connection: Any) -> Carrier:
    async def ask(statement: Statement) -> Rows:
        sql = statement.sql
        for place in range(1, len(statement.values) + 1):
            sql = sql.replace("?", f"${place}", 1)
        return [tuple(record) for record in await connection.fetch(sql, *statement.values)]

    idle = not connection.is_in_transaction()
    return Carrier("PostgreSQL", True, idle, "write: async with connection.transaction(): ...", ask)


def _sqlite(connection: Any) -> Carrier:
    def ask(statement: Statement) -> Rows:
        cursor = connection.cursor()
        cursor.row_factory = None
        texts, connection.text_factory = connection.text_factory, str
        try:
            return cursor.execute(*statement).fetchall()
        finally:
            connection.text_factory = texts

    return Carrier("SQLite", False, _commits_at_once(connection), _BEGIN, ask)


def _aiosqlite(connection: Any) -> Carrier:
    async def ask(statement: Statement) -> Rows:
        async with connection.execute(*statement) as cursor:
            return [tuple(row) for row in await cursor.fetchall()]

    return Carrier("SQLite", True, _commits_at_once(connection), _BEGIN, ask)


_BEGIN = 'begin one: connection.execute("BEGIN IMMEDIATE")'


def _commits_at_once(connection: Any) -> bool:
    """Of sqlite3, which begins a transaction before it writes, unless it was told not to."""
    if connection.in_transaction:
        return False
    autocommit: Any = getattr(connection, "autocommit", -1)  # from Python 3.12 on; -1 asks the isolation level
    return autocommit is True or (autocommit == -1 and connection.isolation_level is None)


_PRODUCTS = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}


def _product(name: str) -> str:
    return _PRODUCTS.get(name, name)


def _sqlalchemy(connection: Any) -> Carrier:
    def ask(statement: Statement) -> Rows:
        return _rows(connection.execute(*_clause(statement)))

    dialect, idle = _dialect(connection)
    return Carrier(_product(dialect), False, idle, _NO_AUTOCOMMIT, ask)


def _sqlalchemy_async(connection: Any) -> Carrier:
    async def ask(statement: Statement) -> Rows:
        return _rows(await connection.execute(*_clause(statement)))

    of_it = connection.sync_session if hasattr(connection, "sync_session") else connection.sync_connection
    dialect, idle = _dialect(of_it)
    return Carrier(_product(dialect), True, idle, _NO_AUTOCOMMIT, ask)


_NO_AUTOCOMMIT = 'use one without isolation_level="AUTOCOMMIT"'


def _clause(statement: Statement) -> tuple[Any, dict[str, Any]]:
    values: dict[str, Any] = {f"v{place}": value for place, value in enumerate(statement.values)}
    sql = statement.sql
    for name in values:
        sql = sql.replace("?", f":{name}", 1)
    return sys.modules["sqlalchemy"].text(sql), values


def _rows(result: Any) -> Rows:
    return [tuple(row) for row in result.fetchall()] if result.returns_rows else []


def _dialect(connection: Any) -> tuple[str, bool]:
    """The name of the dialect, and whether the connection commits each statement; of a session, by its engine's options."""
    engine = connection.get_bind() if hasattr(connection, "get_bind") else connection
    options = engine.get_execution_options()
    level = options.get("isolation_level") or getattr(engine.dialect, "_on_connect_isolation_level", None)
    return engine.dialect.name, level == "AUTOCOMMIT"


def _django(connection: Any) -> Carrier:
    def ask(statement: Statement) -> Rows:
        with connection.cursor() as cursor:
            cursor.execute(marked(statement, "%s"), statement.values)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description is not None else []

    idle = connection.get_autocommit() and not connection.in_atomic_block
    return Carrier(_product(connection.vendor), False, idle, "write: with transaction.atomic(): ...", ask)


_KNOWN: dict[tuple[str, str], Callable[[Any], Carrier]] = {
    ("psycopg", "Connection"): _psycopg,
    ("psycopg", "AsyncConnection"): _psycopg_async,
    ("asyncpg", "Connection"): _asyncpg,
    ("asyncpg", "PoolConnectionProxy"): _asyncpg,
    ("sqlite3", "Connection"): _sqlite,
    ("aiosqlite", "Connection"): _aiosqlite,
    ("sqlalchemy", "Connection"): _sqlalchemy,
    ("sqlalchemy", "Session"): _sqlalchemy,
    ("sqlalchemy", "scoped_session"): _sqlalchemy,
    ("sqlalchemy", "AsyncConnection"): _sqlalchemy_async,
    ("sqlalchemy", "AsyncSession"): _sqlalchemy_async,
    ("sqlalchemy", "async_scoped_session"): lambda scoped: _sqlalchemy_async(scoped()),
    ("django", "BaseDatabaseWrapper"): _django,
    ("django", "ConnectionProxy"): _django,
}
