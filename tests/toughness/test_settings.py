"""What an administrator may set for a database, and what becomes of engines then."""

import asyncio
import select
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from perdure import Client, Engine, activity, workflow
from perdure.stores.postgres import schema
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.store import PostgresStore
from tests.postgres.server import Server
from tests.toughness.load import Load, engines

SETTINGS = {
    "repeatable read": "default_transaction_isolation = 'repeatable read'",
    "serializable": "default_transaction_isolation = 'serializable'",
    "statements may take no time": "statement_timeout = '1ms'",
    "locks may not be waited for": "lock_timeout = '1ms'",
    "transactions may not be idle": "idle_in_transaction_session_timeout = '1ms'",
    "sessions may not be idle": "idle_session_timeout = '20ms'",
    "nothing is written synchronously": "synchronous_commit = off",
}


@activity(transactional=True)
def enter(number: int) -> int:
    activity.connection(psycopg.Connection).execute("INSERT INTO ledger VALUES (%s)", (number,))
    return number


@activity(transactional=True)
async def enter_on_loop(number: int) -> int:
    await activity.connection(psycopg.AsyncConnection).execute("INSERT INTO ledger VALUES (%s)", (number,))
    return number


@workflow
async def entries(count: int) -> list[int]:
    steps = [enter(number) if number % 2 else enter_on_loop(number) for number in range(count)]
    return [await steps[0], *await asyncio.gather(*steps[1:])]


PATIENT = [name for name, setting in SETTINGS.items() if "timeout = '1ms'" not in setting]
"""What leaves time for the statements of an application: of a transactional activity its transaction is as the database has it."""


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_odd_database_does_as_well(server: Server, database: str, setting: str) -> None:
    server.ask(f"ALTER DATABASE {database} SET {SETTINGS[setting]}")
    with engines(server.address(database)) as both:
        Load(both, database, runs=15, steps=3).demand_exact()


@pytest.mark.parametrize("setting", PATIENT)
def test_transactional_activities_of_an_odd_database_do_as_well(server: Server, database: str, setting: str) -> None:
    server.ask(f"ALTER DATABASE {database} SET {SETTINGS[setting]}")
    server.ask("CREATE TABLE ledger (number integer)", database)
    with Engine(server.address(database), [entries, enter, enter_on_loop]) as engine:
        assert engine.run(entries(8)).wait() == list(range(8))
    assert server.ask("SELECT number FROM ledger ORDER BY number", database) == [(number,) for number in range(8)]


LIMIT = "100ms"
WAITING = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query_start < now() - 3 * interval '{LIMIT}'"

OPENED: dict[str, Callable[[str], Any]] = {
    "an engine's store": lambda address: PostgresStore(address).admin.close(),
    "a client": lambda address: Client(address).close(),
    "a look at the version": lambda address: schema.version(Place(address)),
}


@pytest.mark.parametrize("opened", OPENED)
def test_whoever_opens_a_database_takes_more_time_than_it_allows(server: Server, database: str, opened: str) -> None:
    address = server.address(database)
    PostgresStore(address).admin.close()
    server.ask(f"ALTER DATABASE {database} SET statement_timeout = '{LIMIT}'")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(address) as stranger:
        stranger.execute("LOCK TABLE perdure.version")
        opening = pool.submit(OPENED[opened], address)
        while not opening.done() and server.ask(WAITING) == [(0,)]:
            threading.Event().wait(0.01)
        stranger.rollback()
        opening.result()


def test_whoever_opens_a_database_begins_anew_if_the_server_was_quicker_to_end_the_session(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.address(database)
    PostgresStore(address).admin.close()
    server.ask(f"ALTER DATABASE {database} SET idle_session_timeout = '50ms'")
    connect, ended = Place.connect, list[int]()

    def late(place: Place) -> psycopg.Connection[Any]:
        connection = connect(place)
        if len(ended) < 5:
            select.select([connection], [], [])  # the server has ended it
            ended.append(1)
        return connection

    monkeypatch.setattr(Place, "connect", late)
    assert schema.version(Place(address)).number == schema.schema()[-1].number
    assert len(ended) == 5


def test_a_database_that_may_only_be_read_for_a_while_is_waited_for(server: Server, database: str) -> None:
    with engines(server.address(database)) as both:
        load = Load(both, database)
        load.when(0.2)
        server.ask(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        server.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        server.ask("SELECT pg_sleep(1)")
        server.ask(f"ALTER DATABASE {database} RESET default_transaction_read_only")

        load.demand_exact()
