"""Others at the same server: administrators who end connections, applications that take them all, people who lock rows."""

import asyncio
import threading
from contextlib import ExitStack

import psycopg
import pytest

from perdure import Client, Engine, activity, errors, workflow
from perdure.runtime import taken
from perdure.stores.postgres.store import PostgresStore
from tests.postgres.server import Server
from tests.toughness.load import Load, engines

END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()"


def test_connections_are_ended_in_a_stream_of_calls(server: Server, database: str) -> None:
    with engines(server.address(database)) as both:
        load = Load(both, database)
        for percent in range(5, 95, 5):
            load.when(percent / 100)
            server.ask(END_ALL.format(database))

        load.demand_exact()


def test_statements_are_cancelled_in_a_stream_of_calls(server: Server, database: str) -> None:
    cancel = END_ALL.format(database).replace("terminate", "cancel")
    with engines(server.address(database)) as both:
        load = Load(both, database)
        for percent in range(5, 95, 3):
            load.when(percent / 100)
            server.ask(cancel)

        load.demand_exact()


def test_without_a_connection_that_is_left_engines_wait_for_one(server: Server, database: str) -> None:
    server.ask(f"ALTER DATABASE {database} CONNECTION LIMIT 12")
    server.ask("CREATE ROLE guest LOGIN")  # an administrator is bound by no limit
    try:
        server.ask("GRANT ALL ON SCHEMA perdure TO guest", database)
        server.ask("GRANT ALL ON ALL TABLES IN SCHEMA perdure TO guest", database)
        server.ask("GRANT ALL ON ALL SEQUENCES IN SCHEMA perdure TO guest", database)
        address = server.address(database).replace("perdure@", "guest@")
        with ExitStack() as taken, engines(address) as both:
            load = Load(both, database)
            load.when(0.2)
            server.ask(END_ALL.format(database))
            while True:
                try:
                    taken.enter_context(psycopg.connect(address))
                except psycopg.OperationalError:
                    break
            server.ask(END_ALL.format(database) + " AND application_name = 'perdure'")
            server.ask("SELECT pg_sleep(0.5)")
            taken.close()

            load.demand_exact()
    finally:
        server.ask("DROP OWNED BY guest", database)
        server.ask("DROP ROLE guest")


def test_rows_that_somebody_has_locked_are_waited_for(server: Server, database: str) -> None:
    with engines(server.address(database), count=1) as one:
        load = Load(one, database)
        for part, table in ((0.2, "members"), (0.4, "mail"), (0.6, "runs")):
            load.when(part)
            with psycopg.connect(server.address(database)) as stranger:
                stranger.execute(f"SELECT * FROM perdure.{table} FOR UPDATE".encode())
                threading.Event().wait(0.5)

        load.demand_exact()


def test_who_reads_for_long_holds_up_nobody(server: Server, database: str) -> None:
    with engines(server.address(database)) as both, psycopg.connect(server.address(database)) as reader:
        reader.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        reader.execute("SELECT count(*) FROM perdure.runs, perdure.history, perdure.mail, perdure.members")
        Load(both, database).demand_exact()


CLAIM = "UPDATE perdure.runs SET owner = (SELECT max(id) FROM perdure.members)"
"""As a poll has done it just before somebody locks the row."""

HELD = "SELECT perdure.start('greets', '[\"them\"]', id => 'taken')"


@activity
async def spelled(name: str) -> str:
    return name


@workflow
async def greets(name: str) -> str:
    return f"hello {name}"


@workflow
async def greets_by_child(name: str) -> str:
    return await greets(await spelled(name)).with_options(id="taken")


def test_a_start_in_a_transaction_that_stays_open_holds_up_nobody_else(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the other owners, not this one, not even runs in one batch with a start of the same id."""
    monkeypatch.setattr(taken, "CALLER_SECONDS", 2.0)
    asyncio.run(_beside_an_open_start(server, database))


async def _beside_an_open_start(server: Server, database: str) -> None:
    address, known = server.address(database), [greets, greets_by_child, spelled]
    async with Engine(PostgresStore(address), known) as one, Engine(PostgresStore(address), known) as other:
        await one.run(greets("first"), id="first")
        with psycopg.connect(address) as application:
            application.execute(HELD.encode())
            parent = await one.start(greets_by_child("me"), id="parent")
            blocked = asyncio.ensure_future(one.start(greets("me"), id="taken"))
            for n in range(5):
                for name, engine in (("one", one), ("other", other)):
                    assert await engine.run(greets("you"), id=f"{n}-{name}") == "hello you"

            with pytest.raises(errors.StoreError, match="in a transaction that is still open"):
                await blocked
            assert len(server.ask("SELECT id FROM perdure.members WHERE alive", database)) == 2
            waiting = "SELECT query FROM pg_stat_activity WHERE pg_blocking_pids(pid) @> ARRAY[{}]"
            application_pid = application.info.backend_pid
            while server.ask(waiting.format(application_pid), database):
                await asyncio.sleep(0.01)  # nothing waits for it for long
            application.rollback()

        assert await parent.result() == "hello me"


def test_a_run_that_has_ended_and_whose_row_somebody_has_locked_holds_up_nobody(server: Server, database: str) -> None:
    """An application starts the next run of its id, and does not commit; meanwhile somebody writes to the one that has ended."""
    asyncio.run(_beside_a_locked_run(server, database))


async def _beside_a_locked_run(server: Server, database: str) -> None:
    address = server.address(database)
    mail = "SELECT 1 FROM perdure.mail JOIN perdure.runs r ON r.key = run WHERE r.id = 'taken'"
    async with Engine(PostgresStore(address), [greets]) as engine, Client(PostgresStore(address)) as client:
        await engine.run(greets("first"), id="taken")
        handle = client.handle("taken")
        server.ask(CLAIM, database)
        with psycopg.connect(address) as application:
            application.execute(HELD.replace(")", ", id_reuse => 'allow_duplicate')").encode())
            asked = asyncio.ensure_future(handle.signal("nothing"))
            while not server.ask(mail, database):
                await asyncio.sleep(0.005)
            answers = [await engine.run(greets("you"), id=f"run-{n}") for n in range(20)]
            assert answers == ["hello you"] * 20 and server.ask(mail, database)
            assert len(server.ask("SELECT id FROM perdure.members WHERE alive", database)) == 1
            application.rollback()
        while server.ask(mail, database):
            await asyncio.sleep(0.005)
        await asyncio.gather(asked, return_exceptions=True)
