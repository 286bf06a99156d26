"""What an attempt has locked it lets go of when nobody wants it any more, whatever its function, or its process, is at."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from perdure import Engine, Retry, activity, workflow
from perdure.activities import ActivityDefinition
from perdure.stores.lending import Lender
from perdure.stores.postgres.lending import PostgresLender
from perdure.stores.postgres.store import PostgresStore
from tests.postgres.pooler import OwnPooler
from tests.postgres.server import Server
from tests.transactions.shared import Shared

SECONDS = 60
AGAIN = Retry(initial=0.05, maximum=0.2)
TAKE = "UPDATE ledger SET number = number + 1"
go_on = threading.Event()


@activity(transactional=True, timeout=1.0, retry=AGAIN)
def in_sql(first: int) -> int:
    connection = activity.connection(psycopg.Connection)
    connection.execute(TAKE)
    if activity.info().attempt == first:
        connection.execute("SELECT pg_sleep(600)")
    return first


@activity(transactional=True, timeout=1.0, retry=AGAIN)
def in_python(first: int) -> int:
    connection = activity.connection(psycopg.Connection)
    connection.execute(TAKE)
    if activity.info().attempt == first:
        go_on.wait()
    return first


@activity(transactional=True, timeout=1.0, retry=AGAIN)
async def on_the_loop(first: int) -> int:
    connection = activity.connection(psycopg.AsyncConnection)
    await connection.execute(TAKE)
    while activity.info().attempt == first and not go_on.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue  # it does not want to hear it
    return first


@pytest.mark.parametrize("step", [in_sql, in_python, on_the_loop])
def test_an_attempt_that_has_timed_out_is_in_the_way_of_none_that_follow(
    on_server: Shared, step: ActivityDefinition[[int], int]
):
    @workflow
    async def doing() -> int:
        return await step(1)

    on_server_has(on_server, 0)
    go_on.clear()
    try:
        with Engine(on_server.address, [doing, step], drain=0, grace=0) as engine:
            assert engine.start(doing()).wait().result(timeout=SECONDS).wait() == 1
            assert on_server.ledger() == [1]
            go_on.set()
    finally:
        go_on.set()
    assert on_server.ledger() == [1]


def test_one_that_asks_for_its_connection_when_nobody_wants_it_any_more_gets_none(shared: Shared):
    refused = threading.Event()

    @activity(transactional=True, timeout=0.3, retry=1)
    def late() -> None:
        while not activity.cancelled():
            time.sleep(0.01)
        try:
            activity.connection(object)
        except asyncio.CancelledError:
            refused.set()

    @workflow
    async def doing() -> None:
        await late()

    with Engine(shared.address, [doing, late]) as engine:
        engine.start(doing()).wait()
        assert refused.wait(SECONDS)


def on_server_has(shared: Shared, number: int) -> None:
    with contextlib.closing(shared.connect()) as connection:
        shared.insert(connection, number)
        connection.commit()


Opened = Callable[[str], PostgresStore]


@pytest.fixture
def opened() -> Iterator[Opened]:
    stores: list[PostgresStore] = []

    def open_store(address: str) -> PostgresStore:
        stores.append(PostgresStore(address, create=False))
        return stores[-1]

    yield open_store
    for store in stores:
        store.admin.close()


@pytest.fixture
def locked(on_server: Shared) -> Shared:
    on_server_has(on_server, 0)
    return on_server


def lender_of(store: PostgresStore) -> tuple[int, Lender]:
    member = store.tasks.join("elsewhere", 1, "build", 1, ["transactional"], ["book"])
    return member, store.enlisting.lender(member)


def is_free(shared: Shared) -> bool:
    """The row that the attempt has changed can be locked, within the time that it takes the server to end it."""
    with psycopg.connect(shared.address) as connection:
        connection.execute(f"SET lock_timeout = '{SECONDS}s'".encode())
        return connection.execute("SELECT number FROM ledger FOR UPDATE").fetchall() == [(0,)]


def test_whoever_buries_a_worker_ends_what_it_has_lent(locked: Shared, opened: Opened):
    member, lender = lender_of(opened(locked.address))
    lent = lender.lend()
    lent.connection.execute(TAKE)

    opened(locked.address).tasks.bury(member, 0)

    assert is_free(locked)
    with pytest.raises(psycopg.OperationalError):
        lent.connection.execute(TAKE)
    lent.undo()


def test_also_behind_a_pooler_and_of_none_but_that_worker(
    locked: Shared, opened: Opened, server: Server, database: str
):
    name = database.rpartition("/")[2].partition("?")[0]
    with OwnPooler(server, name) as pooler:
        behind = opened(pooler.address())
        member, lender = lender_of(behind)
        _, others = lender_of(behind)
        lent, other = lender.lend(), others.lend()
        lent.connection.execute(TAKE)
        other.connection.execute("SELECT 1")

        behind.tasks.bury(member, 0)

        assert is_free(locked)
        assert other.connection.execute("SELECT 1").fetchall() == [(1,)]
        other.undo()
        lent.undo()


@pytest.fixture
def forbidden(locked: Shared) -> str:
    """The address for a user who may end nobody's connection."""
    with psycopg.connect(locked.address, autocommit=True) as connection:
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            connection.execute("CREATE ROLE meek LOGIN")
            connection.execute("ALTER ROLE meek SET search_path = perdure")  # the tables of the tests
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_terminate_backend FROM PUBLIC")
        connection.execute("GRANT USAGE ON SCHEMA perdure TO meek")
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA perdure TO meek")
        connection.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA perdure TO meek")
        connection.execute("GRANT ALL ON ledger TO meek")
    return locked.address.replace("//perdure@", "//meek@")


def test_burying_needs_no_right_to_end_connections(forbidden: str, opened: Opened):
    store = opened(forbidden)
    member, lender = lender_of(store)
    lent = lender.lend()
    lent.connection.execute(TAKE)

    assert store.tasks.bury(member, 0)

    lent.undo()


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("who", ["anybody", "forbidden"])
def test_it_is_broken_off_from_outside_whatever_it_is_at(
    locked: Shared, opened: Opened, request: pytest.FixtureRequest, who: str, busy: bool
):
    """Who may not end connections cancels the statement, and hangs up."""
    address = locked.address if who == "anybody" else request.getfixturevalue("forbidden")
    _, lender = lender_of(opened(address))
    lent = lender.lend()
    lent.connection.execute(TAKE)
    thread = threading.Thread(target=sleep, args=(lent.connection,))
    if busy:
        thread.start()
        with psycopg.connect(locked.address, autocommit=True) as watch:
            while not watch.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone():
                time.sleep(0.005)

    lent.break_off()

    assert is_free(locked)
    if busy:
        thread.join()
    lent.undo()
    next_one = lender.lend()
    assert next_one.connection.execute("SELECT 1").fetchall() == [(1,)]
    next_one.undo()


def sleep(connection: Any) -> None:
    with pytest.raises(psycopg.Error):
        connection.execute("SELECT pg_sleep(600)")


def test_what_has_ended_is_not_broken_off(locked: Shared, opened: Opened):
    """Its connection may be another attempt's by then."""
    store = opened(locked.address)
    lender = store.enlisting.lender(7)
    assert isinstance(lender, PostgresLender)
    lent = lender.lend()
    lent.undo()
    another = lender.lend()

    lent.break_off()

    another.connection.execute(TAKE)
    another.undo()
