"""A start on connections of each driver: the run is committed, and rolled back, with the row of the application beside it."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import aclosing, nullcontext
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from perdure import Client, Engine, activity, errors, workflow
from tests.transactions.shared import Shared


@activity
async def charge(number: int) -> str:
    return f"charged {number}"


@workflow
async def order(number: int) -> str:
    return await charge(number)


INSERT = "INSERT INTO ledger VALUES ({})"


def started(engine: Any, connection: Any, number: int) -> Any:
    return engine.start(order(number), id=f"order-{number}", connection=connection)


def demand_same(shared: Shared, *numbers: int) -> None:
    """The ledger has these, there are their runs and no others, and they come to their ends."""
    with Engine(shared.address, [order, charge]) as engine:
        results = [engine.handle(f"order-{number}", order).result().wait() for number in numbers]
        assert results == [f"charged {number}" for number in numbers]
        assert sorted(run.id for run in engine.list().wait()) == [f"order-{number}" for number in numbers]
    assert shared.ledger() == list(numbers)


async def in_turns(begin: Callable[[int], Awaitable[Any]], end: Callable[[str], Awaitable[Any]]) -> None:
    """Committed, rolled back, committed: 1 and 3 are there."""
    for number, verb in ((1, "commit"), (2, "rollback"), (3, "commit")):
        await begin(number)
        await end(verb)


def of_address(address: str, scheme: str, sqlite: str = "") -> str:
    """The address for SQLAlchemy, with a driver."""
    return address.replace("postgresql", scheme, 1) if "postgresql" in address else address.replace("sqlite", sqlite, 1)


def test_psycopg_of_which_the_rows_are_dicts(on_server: Shared):
    async def main() -> None:
        async with Engine(on_server.address, [order, charge]) as engine:
            connection = await psycopg.AsyncConnection.connect(on_server.address, row_factory=dict_row)

            async def begin(number: int) -> None:
                await connection.execute(INSERT.format("%s"), (number,))
                await started(engine, connection, number)

            await in_turns(begin, lambda verb: getattr(connection, verb)())
            with pytest.raises(RuntimeError, match="used on its loop"):
                await asyncio.to_thread(lambda: started(engine, connection, 9).wait())
            await connection.set_autocommit(True)
            with pytest.raises(errors.ConnectionUnfit, match="in no transaction"):
                await started(engine, connection, 9)
            await connection.close()

    asyncio.run(main())
    demand_same(on_server, 1, 3)


@pytest.mark.parametrize("cursor", [psycopg.Cursor, psycopg.RawCursor, psycopg.ClientCursor])
@pytest.mark.parametrize("pipeline", [False, True])
def test_psycopg_however_its_cursors_are_and_in_a_pipeline(on_server: Shared, cursor: Any, pipeline: bool):
    """Nothing is prepared for it either: behind a pooler that would be gone."""
    numbers = range(1, 9)
    with Client(on_server.address) as client, psycopg.connect(on_server.address, cursor_factory=cursor) as connection:
        with connection.pipeline() if pipeline else nullcontext():
            for number in numbers:
                connection.execute(f"INSERT INTO ledger VALUES ({number})".encode(), prepare=False)
                client.start("order", [number], id=f"order-{number}", connection=connection).wait()
        assert connection.execute("SELECT statement FROM pg_prepared_statements").fetchall() == []

    demand_same(on_server, *numbers)


def test_a_client_in_an_async_transaction_of_psycopg(on_server: Shared):
    async def main() -> None:
        async with (
            await psycopg.AsyncConnection.connect(on_server.address, autocommit=True) as connection,
            Client(on_server.address) as client,
            connection.transaction(),
        ):
            await connection.execute(INSERT.format("%s"), (5,))
            await client.start("order", [5], id="order-5", connection=connection)

    asyncio.run(main())
    demand_same(on_server, 5)


def test_asyncpg(on_server: Shared):
    asyncpg = pytest.importorskip("asyncpg")

    async def main() -> None:
        async with (
            Engine(on_server.address, [order, charge]) as engine,
            asyncpg.create_pool(on_server.address, min_size=1) as pool,
            pool.acquire() as connection,
        ):
            with pytest.raises(errors.ConnectionUnfit, match="in no transaction"):
                await started(engine, connection, 1)
            current: list[Any] = []

            async def begin(number: int) -> None:
                current[:] = [connection.transaction()]
                await current[0].start()
                await connection.execute(INSERT.format("$1"), number)
                await started(engine, connection, number)

            await in_turns(begin, lambda verb: getattr(current[0], verb)())
            with pytest.raises(errors.RunExists, match="other arguments"):
                async with connection.transaction():
                    await engine.start(order(7), id="order-1", connection=connection)

    asyncio.run(main())
    demand_same(on_server, 1, 3)


@pytest.mark.parametrize("kind", ["Connection", "Session", "scoped_session"])
def test_sqlalchemy(shared: Shared, kind: str):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    pool = sqlalchemy.create_engine(of_address(shared.address, "postgresql+psycopg", "sqlite"))
    make: Any = {
        "Connection": pool.connect,
        "Session": lambda: orm.Session(pool),
        "scoped_session": lambda: orm.scoped_session(orm.sessionmaker(pool)),
    }[kind]
    insert = sqlalchemy.text(INSERT.format(":number"))

    with Engine(shared.address, [order, charge]) as engine:
        connection = make()
        for number, verb in ((1, "commit"), (2, "rollback"), (3, "commit")):
            connection.execute(insert, {"number": number})
            started(engine, connection, number).wait()
            getattr(connection, verb)()
        started(engine, connection, 3).wait()  # attaches
        connection.close()
    pool.dispose()

    demand_same(shared, 1, 3)


@pytest.mark.parametrize("where", ["of the engine", "of the connection"])
def test_sqlalchemy_that_commits_by_itself(shared: Shared, where: str):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    options: Any = {"isolation_level": "AUTOCOMMIT"} if where == "of the engine" else {}
    pool = sqlalchemy.create_engine(of_address(shared.address, "postgresql+psycopg", "sqlite"), **options)

    with Client(shared.address) as client, pool.connect() as connection:
        if not options:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(errors.ConnectionUnfit, match="AUTOCOMMIT"):
            client.start("order", [1], connection=connection).wait()
    pool.dispose()


@pytest.mark.parametrize("kind", ["AsyncConnection", "AsyncSession", "async_scoped_session"])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg", "aiosqlite"])
def test_sqlalchemy_on_a_loop(kind: str, driver: str, request: pytest.FixtureRequest):
    shared: Shared = request.getfixturevalue("in_file" if driver == "aiosqlite" else "on_server")
    pytest.importorskip(driver)
    sqlalchemy = pytest.importorskip("sqlalchemy")
    asyncio_ = pytest.importorskip("sqlalchemy.ext.asyncio")
    insert = sqlalchemy.text(INSERT.format(":number"))

    async def main() -> None:
        pool = asyncio_.create_async_engine(of_address(shared.address, f"postgresql+{driver}", "sqlite+aiosqlite"))
        made: Any = {
            "AsyncConnection": pool.connect,
            "AsyncSession": lambda: asyncio_.AsyncSession(pool),
            "async_scoped_session": lambda: aclosing(
                asyncio_.async_scoped_session(asyncio_.async_sessionmaker(pool), scopefunc=asyncio.current_task)
            ),
        }[kind]()
        async with Engine(shared.address, [order, charge]) as engine, made as connection:

            async def begin(number: int) -> None:
                await connection.execute(insert, {"number": number})
                await started(engine, connection, number)

            await in_turns(begin, lambda verb: getattr(connection, verb)())
        await pool.dispose()

    asyncio.run(main())
    demand_same(shared, 1, 3)


def test_aiosqlite(in_file: Shared):
    aiosqlite = pytest.importorskip("aiosqlite")

    async def main() -> None:
        made = aiosqlite.connect(in_file.address.removeprefix("sqlite:///"))
        async with Engine(in_file.address, [order, charge]) as engine, made as connection:

            async def begin(number: int) -> None:
                await connection.execute(INSERT.format("?"), (number,))
                await started(engine, connection, number)

            await in_turns(begin, lambda verb: getattr(connection, verb)())

    asyncio.run(main())
    demand_same(in_file, 1, 3)


def test_sqlite_of_which_the_rows_and_texts_are_others(in_file: Shared):
    with Client(in_file.address) as client:
        connection = in_file.connect()
        connection.row_factory = lambda cursor, row: {"no": "tuple"}
        connection.execute(INSERT.format("?"), (1,))
        client.start("order", [1], id="order-1", connection=connection).wait()
        connection.commit()
        connection.row_factory = sqlite3.Row
        connection.text_factory = bytes
        client.start("order", [1], id="order-1", connection=connection).wait()
        connection.close()

    demand_same(in_file, 1)


def django_settings(shared: Shared) -> dict[str, Any]:
    if "sqlite" in shared.address:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": shared.address.removeprefix("sqlite:///")}
    found = psycopg.conninfo.conninfo_to_dict(shared.address)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": found["dbname"],
        "USER": found["user"],
        "HOST": found["host"],
        "PORT": found["port"],
    }


@pytest.mark.parametrize("kind", ["wrapper", "proxy"])
def test_django(shared: Shared, kind: str):
    django = pytest.importorskip("django")
    from django.conf import settings
    from django.db.utils import ConnectionHandler
    from django.utils.connection import ConnectionProxy

    if not settings.configured:
        settings.configure()
        django.setup()
    handler = ConnectionHandler({"default": django_settings(shared)})
    connection: Any = handler["default"] if kind == "wrapper" else ConnectionProxy(handler, "default")

    with Engine(shared.address, [order, charge]) as engine:
        with pytest.raises(errors.ConnectionUnfit, match="in no transaction"):
            started(engine, connection, 1).wait()
        for number, verb in ((1, "commit"), (2, "rollback"), (3, "commit")):
            connection.set_autocommit(False)
            with connection.cursor() as cursor:
                cursor.execute(INSERT.format("%s"), (number,))
            started(engine, connection, number).wait()
            getattr(connection, verb)()
        connection.close()

    demand_same(shared, 1, 3)
