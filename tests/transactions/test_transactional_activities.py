"""Transactional activities: what they write is there exactly once, with the result that is recorded."""

import asyncio
import sqlite3
import threading
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.string import StrDumper

from perdure import Engine, Retry, Worker, activity, errors, stream, workflow
from perdure.activities import ActivityDefinition
from perdure.testing import TestEngine, activity_context
from tests.transactions.shared import Shared

QUICK = Retry(initial=0.01, max_attempts=5)


def write(connection: Any, number: int) -> None:
    """On whichever connection an attempt was lent, without waiting."""
    mark = "?" if isinstance(connection, sqlite3.Connection) else "%s"
    connection.execute(f"INSERT INTO ledger VALUES ({mark})", (number,))


async def awrite(connection: Any, number: int) -> None:
    if isinstance(connection, sqlite3.Connection):
        write(connection, number)
    else:
        await connection.execute("INSERT INTO ledger VALUES (%s)", (number,))


@activity(transactional=True, retry=QUICK)
def book(number: int) -> str:
    write(activity.connection(object), number)
    return f"booked {number}"


@activity(transactional=True, retry=QUICK)
async def abook(number: int) -> str:
    await awrite(activity.connection(object), number)
    return f"booked {number}"


@workflow
async def booking(number: int) -> list[str]:
    return [await book(number), await abook(number + 1)]


def outcome(shared: Shared, *activities: ActivityDefinition[..., Any], arguments: tuple[Any, ...] = (1,)) -> Any:
    """What a run comes to that does these, one after the other."""

    @workflow
    async def doing() -> list[Any]:
        return [await each(*arguments) for each in activities]

    with Engine(shared.address, [doing, *activities]) as engine:
        return engine.run(doing()).wait()


def test_what_is_written_is_there_once_and_so_is_the_result(shared: Shared):
    with Engine(shared.address, [booking, book, abook]) as engine:
        assert engine.run(booking(1)).wait() == ["booked 1", "booked 2"]

    assert shared.ledger() == [1, 2]


def test_on_the_loop_of_the_application(shared: Shared):
    async def main() -> list[str]:
        async with Engine(shared.address, [booking, book, abook]) as engine:
            return await engine.run(booking(1))

    assert asyncio.run(main()) == ["booked 1", "booked 2"]
    assert shared.ledger() == [1, 2]


def test_many_at_once_write_once_each(shared: Shared):
    @workflow
    async def crowd() -> int:
        await asyncio.gather(*(book(n) for n in range(20)), *(abook(n) for n in range(20, 40)))
        return 40

    with Engine(shared.address, [crowd, book, abook]) as engine:
        assert engine.run(crowd()).wait() == 40

    assert shared.ledger() == list(range(40))


def test_what_a_failed_attempt_has_written_is_undone(shared: Shared):
    @activity(transactional=True, retry=QUICK)
    def unlucky(number: int) -> int:
        write(activity.connection(object), number)
        if activity.info().attempt < 3:
            raise OSError("not yet")
        return activity.info().attempt

    @activity(transactional=True, retry=QUICK)
    async def aunlucky(number: int) -> int:
        await awrite(activity.connection(object), number)
        if activity.info().attempt < 3:
            raise OSError("not yet")
        return activity.info().attempt

    assert outcome(shared, unlucky, aunlucky) == [3, 3]
    assert shared.ledger() == [1, 1]


def test_a_failure_for_good_leaves_nothing(shared: Shared):
    @activity(transactional=True, retry=1)
    def refuse(number: int) -> None:
        write(activity.connection(object), number)
        raise ValueError("no")

    with pytest.raises(errors.RunFailed, match="no"):
        outcome(shared, refuse)
    assert shared.ledger() == []


def test_a_function_that_asks_for_no_connection_has_its_result_recorded(shared: Shared):
    @activity(transactional=True)
    def idle(number: int) -> int:
        return number

    assert outcome(shared, idle) == [1]


def test_results_that_are_large_are_recorded_too(shared: Shared):
    @activity(transactional=True)
    def long(number: int) -> str:
        write(activity.connection(object), number)
        return "x" * 300_000

    assert outcome(shared, long) == ["x" * 300_000]


def test_an_attempt_that_was_cancelled_meanwhile_leaves_nothing(shared: Shared):
    began, go_on = threading.Event(), threading.Event()

    @activity(transactional=True, timeout=0.3, retry=1)
    def slow(number: int) -> None:
        began.set()
        go_on.wait()
        write(activity.connection(object), number)

    @workflow
    async def doing() -> str:
        try:
            await slow(1)
        except errors.ActivityTimedOut as error:
            return error.kind
        return "in time"

    with Engine(shared.address, [doing, slow, book]) as engine:
        result = engine.run(doing()).wait()
        go_on.set()

    assert result == "start-to-close"
    assert shared.ledger() == []


@pytest.mark.parametrize("verb", ["commit", "rollback"])
def test_the_transaction_is_not_the_functions_to_end(shared: Shared, verb: str):
    @activity(transactional=True, retry=1)
    def hasty(number: int) -> None:
        connection = activity.connection(object)
        write(connection, number)
        getattr(connection, verb)()

    with pytest.raises(errors.RunBlocked, match="is not for the function of a transactional activity"):
        outcome(shared, hasty)
    assert shared.ledger() == []


def test_a_function_that_has_ended_it_by_sql_fails(shared: Shared):
    @activity(transactional=True, retry=1)
    def sly(number: int) -> None:
        activity.connection(object).execute("ROLLBACK")  # type: ignore[attr-defined]

    with pytest.raises(errors.RunBlocked, match="has ended its transaction by itself"):
        outcome(shared, sly)


def test_a_connection_is_of_the_class_that_is_asked_for(shared: Shared):
    right, wrong = psycopg.Connection, sqlite3.Connection
    if "sqlite" in shared.address:
        right, wrong = wrong, right

    @activity(transactional=True)
    def exact(number: int) -> bool:
        return isinstance(activity.connection(right), right)

    @activity(transactional=True)
    def mistaken(number: int) -> None:
        activity.connection(wrong)

    assert outcome(shared, exact) == [True]
    with pytest.raises(errors.RunBlocked, match=f"write: activity.connection\\({right.__module__.split('.')[0]}"):
        outcome(shared, exact, mistaken)


def test_workers_of_a_queue_serve_those_that_name_it(shared: Shared):
    @activity(transactional=True, queue="books")
    def apart(number: int) -> int:
        write(activity.connection(object), number)
        return number

    @workflow
    async def doing() -> int:
        return await apart(5)

    with Worker(shared.address, [apart], queues=["books"]), Engine(shared.address, [doing, apart]) as engine:
        assert engine.run(doing()).wait() == 5
    assert shared.ledger() == [5]


def test_what_an_attempt_logs_is_kept_whether_it_is_committed_or_undone(shared: Shared):
    @activity(transactional=True, retry=QUICK)
    def chatty(number: int) -> None:
        activity.logger.info("attempt %d", activity.info().attempt)
        activity.heartbeat({"at": number})
        write(activity.connection(object), number)
        if activity.info().attempt == 1:
            raise OSError("once more")

    @workflow
    async def doing() -> None:
        await chatty(1)

    with Engine(shared.address, [doing, chatty]) as engine:
        engine.run(doing(), id="doing").wait()
        (step,) = engine.handle("doing").describe().wait().steps
        said = [record.text for attempt in step.attempts for record in attempt.logs]

    assert said == ["attempt 1", "attempt 2"]


def test_streams_and_completion_from_elsewhere_are_not_for_it(shared: Shared):
    @activity(transactional=True)
    def later(number: int) -> None:
        activity.complete_later()

    @activity(transactional=True)
    def telling(number: int) -> None:
        activity.connection(object)
        stream("tokens").write(number)

    with pytest.raises(errors.RunBlocked, match="not for a transactional activity"):
        outcome(shared, later)
    with pytest.raises(errors.RunBlocked, match="outside of its transaction"):
        outcome(shared, telling)


def test_savepoints_are_allowed(database: str):
    @activity(transactional=True)
    def careful(number: int) -> None:
        connection = activity.connection(psycopg.Connection)
        with connection.transaction():
            write(connection, number)
        with pytest.raises(psycopg.errors.UndefinedTable), connection.transaction():
            connection.execute("INSERT INTO nowhere VALUES (1)")

    @workflow
    async def doing() -> None:
        await careful(1)

    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE ledger (number integer)")
    with Engine(database, [doing, careful]) as engine:
        engine.run(doing()).wait()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT * FROM ledger").fetchall() == [(1,)]


LEAVINGS = b"""
SET app.tenant = '7'; CREATE TEMPORARY TABLE mine (); SELECT pg_try_advisory_lock(7); PREPARE mine AS SELECT 1; LISTEN mine;
SELECT set_config('search_path', 'perdure', false)
"""
LEFT = b"""
SELECT current_setting('app.tenant', true), to_regclass('pg_temp.mine')::text, current_setting('search_path'),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
    (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels())
"""


class _Marked(StrDumper):
    """Of an adapter that an attempt has registered for its connection."""

    def dump(self, obj: str) -> bytes:
        return b"marked"


def leave(connection: Any) -> bytes:
    """Something on the connection's object; and the SQL that leaves something in its session."""
    connection.adapters.register_dumper(str, _Marked)
    connection.row_factory = dict_row
    return LEAVINGS


@pytest.mark.parametrize("how", ["committed", "undone"])
def test_an_attempt_leaves_nothing_in_the_session_to_the_next_one(database: str, how: str):
    @activity(transactional=True, retry=1)
    def messy(number: int) -> int:
        connection = activity.connection(psycopg.Connection)
        connection.execute(leave(connection))
        if how == "undone":
            raise ValueError("no")
        return connection.info.backend_pid

    @activity(transactional=True, retry=1)
    async def amessy(number: int) -> int:
        connection = activity.connection(psycopg.AsyncConnection)
        await connection.execute(leave(connection))
        if how == "undone":
            raise ValueError("no")
        return connection.info.backend_pid

    @activity(transactional=True)
    def look(number: int) -> list[Any]:
        connection = activity.connection(psycopg.Connection)
        (echo,) = connection.execute("SELECT %s::text", ("plain",)).fetchone() or ("",)
        return [echo, *(connection.execute(LEFT).fetchone() or ())]

    @activity(transactional=True)
    async def alook(number: int) -> list[Any]:
        connection = activity.connection(psycopg.AsyncConnection)
        (echo,) = await (await connection.execute("SELECT %s::text", ("plain",))).fetchone() or ("",)
        return [echo, *(await (await connection.execute(LEFT)).fetchone() or ())]

    @workflow
    async def doing() -> list[Any]:
        seen = []
        for mess in (messy, amessy):
            for eye in (look, alook):
                await asyncio.gather(mess(1), return_exceptions=True)
                seen.append(await eye(1))
        return seen

    with Engine(database, [doing, messy, amessy, look, alook]) as engine:
        seen = engine.run(doing()).wait()
    for echo, tenant, table, path, *counts in seen:
        assert (echo, tenant or None, table, path, counts) == ("plain", None, None, '"$user", public', [0, 0, 0])


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_function_that_changes_the_isolation_level_is_told_that_it_cannot(database: str, level: str):
    @activity(transactional=True, retry=1)
    def odd(number: int) -> None:
        connection = activity.connection(psycopg.Connection)
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level}".encode())
        write(connection, number)

    @workflow
    async def doing() -> None:
        await odd(1)

    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE ledger (number integer)")
    with (
        Engine(database, [doing, odd]) as engine,
        pytest.raises(errors.RunBlocked, match="has changed the isolation level"),
    ):
        engine.run(doing()).wait()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT * FROM ledger").fetchall() == []


def test_a_commit_that_the_database_refuses_is_a_failure_and_its_connection_serves_one_attempt_at_a_time(database: str):
    both = threading.Barrier(2)

    @activity(transactional=True, retry=QUICK)
    def spoil() -> int:
        attempt, connection = activity.info().attempt, activity.connection(psycopg.Connection)
        for _ in range(2 if attempt == 1 else 1):
            connection.execute("INSERT INTO once VALUES (7)")
        return attempt

    @activity(transactional=True)
    def meet(number: int) -> int:
        connection = activity.connection(psycopg.Connection)
        both.wait()
        return connection.info.backend_pid

    @workflow
    async def doing() -> list[int]:
        return [await spoil(), *await asyncio.gather(meet(1), meet(2))]

    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE once (number integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with Engine(database, [doing, spoil, meet]) as engine:
        attempt, one, other = engine.run(doing()).wait()

    assert attempt == 2 and one != other


def test_who_waits_for_others_at_its_commit_holds_nothing_that_the_engine_waits_for(database: str):
    """Django makes each foreign key so that it is looked at when the transaction is committed, which waits for whoever has locked
    the row that it names."""

    @activity(transactional=True)
    def place() -> None:
        activity.connection(psycopg.Connection).execute("INSERT INTO orders VALUES (1)")

    @workflow
    async def doing() -> None:
        await place()

    with psycopg.connect(database) as connection:
        connection.execute(
            b"CREATE TABLE customers (id integer PRIMARY KEY); INSERT INTO customers VALUES (1);"
            b"CREATE TABLE orders (customer integer REFERENCES customers DEFERRABLE INITIALLY DEFERRED)"
        )
    waiters = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    with (
        Engine(database, [doing, place]) as engine,
        psycopg.connect(database, autocommit=True) as watch,
        psycopg.connect(database) as stranger,
    ):
        stranger.execute("SELECT 1 FROM customers FOR UPDATE")
        handle = engine.start(doing()).wait()
        while not watch.execute(waiters, (stranger.info.backend_pid,)).fetchone():
            threading.Event().wait(0.005)

        assert watch.execute("SELECT 1 FROM perdure.tasks WHERE member > 0 FOR UPDATE NOWAIT").fetchall() == [(1,)]
        handle.terminate().wait()
        with pytest.raises(errors.RunTerminated):
            handle.result().wait()
        stranger.rollback()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT * FROM orders").fetchall() == []


def test_options_that_make_no_sense_with_it_are_refused():
    def plain(number: int) -> int:
        return number

    for options, said in (
        ({"runs_in": "process"}, "another process"),
        ({"at_most_once": True}, "takes effect once"),
        ({"transactional": 1}, "True or False"),
    ):
        with pytest.raises(errors.DefinitionError, match=said):
            activity(**{"transactional": True, **options})(plain)  # type: ignore[arg-type]
    call = book(1)
    with pytest.raises(errors.DefinitionError, match="takes effect once"):
        call.with_options(at_most_once=True, retry=None)
    call.close()


def test_a_store_in_memory_has_no_transactions_and_says_so():
    with pytest.raises(errors.DefinitionError, match=r"book is transactional, and memory:// is in no database"):
        Engine("memory://", [booking, book, abook]).__enter__()


def test_stand_ins_need_no_transaction():
    with TestEngine([booking], activities={book: lambda number: "so", abook: lambda number: "too"}) as engine:
        assert engine.run(booking(1)).wait() == ["so", "too"]


def test_the_function_is_run_by_hand_with_a_connection_of_the_tests():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE ledger (number integer)")

    with activity_context(book, connection=connection):
        said = book.fn(7)

    assert said == "booked 7" and connection.execute("SELECT * FROM ledger").fetchall() == [(7,)]
    with activity_context(book), pytest.raises(errors.DefinitionError, match="activity_context"):
        book.fn(7)


@activity(transactional=True)
def held(number: int) -> int:
    write(activity.connection(object), number)
    if activity.info().attempt == 1:
        came.set()
        with pytest.raises(asyncio.CancelledError):
            while not finish.wait(0.01):
                activity.heartbeat()
        raise asyncio.CancelledError
    return activity.info().attempt


@activity(transactional=True)
async def aheld(number: int) -> int:
    await awrite(activity.connection(object), number)
    if activity.info().attempt == 1:
        came.set()
        await asyncio.Event().wait()
    return activity.info().attempt


came, finish = threading.Event(), threading.Event()


@pytest.mark.parametrize("step", [held, aheld])
def test_an_attempt_of_an_engine_that_is_closed_is_undone_and_the_next_one_makes_it(
    shared: Shared, step: ActivityDefinition[[int], int]
):
    @workflow
    async def doing() -> int:
        return await step(3)

    came.clear()
    with Engine(shared.address, [doing, step], drain=0) as engine:
        engine.start(doing(), id="doing").wait()
        came.wait()

    with Engine(shared.address, [doing, step]) as engine:
        assert engine.handle("doing", doing).result().wait() == 2
    assert shared.ledger() == [3]


@pytest.mark.parametrize("step", [held, aheld])
def test_an_engine_that_is_closed_leaves_no_transaction_open(on_server: Shared, step: ActivityDefinition[[int], int]):
    @workflow
    async def doing() -> int:
        return await step(3)

    came.clear()
    with Engine(on_server.address, [doing, step], drain=0) as engine:
        engine.start(doing()).wait()
        came.wait()

    left = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'perdure activity'"
    with psycopg.connect(on_server.address, autocommit=True) as connection:
        while connection.execute(left).fetchone():
            threading.Event().wait(0.005)


def test_an_attempt_that_is_cancelled_by_its_run_is_undone(on_server: Shared):
    @workflow
    async def doing() -> int:
        return await aheld(3)

    came.clear()
    with Engine(on_server.address, [doing, aheld]) as engine:
        handle = engine.start(doing()).wait()
        came.wait()
        handle.cancel().wait()
        with pytest.raises(errors.RunCancelled):
            handle.result().wait()
    assert on_server.ledger() == []


def test_an_attempt_that_keeps_the_file_for_too_long_lets_go_of_it(in_file: Shared):
    """Meanwhile not even the engine can write that it has timed out."""

    @activity(transactional=True, timeout=0.3, retry=1)
    async def endless(number: int) -> None:
        await awrite(activity.connection(object), number)
        await asyncio.Event().wait()

    with pytest.raises(errors.RunFailed, match=r"no end after 0\.3 s"):
        outcome(in_file, endless)
    assert in_file.ledger() == []
