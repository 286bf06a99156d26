"""A start with `connection=...`: the run is there, and is listed, exactly if the transaction of the application commits."""

import asyncio
import io
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure import Client, Engine, activity, errors, workflow
from perdure.stores.postgres.store import PostgresStore
from tests.transactions.shared import Shared


@activity
def charge(number: int) -> str:
    return f"charged {number}"


@workflow
async def order(number: int) -> str:
    return await charge(number)


@workflow
class Loan:
    def __init__(self) -> None:
        self.decided: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        while len(self.decided) < 2:
            await asyncio.sleep(0.01)
        return self.decided

    @workflow.signal
    def decide(self, how: str) -> None:
        self.decided.append(how)


def test_a_run_is_there_exactly_if_the_business_row_is(shared: Shared):
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        shared.insert(connection, 1)
        handle = engine.start(order(1), id="order-1", connection=connection).wait()
        before = engine.list().wait()
        connection.commit()
        result = handle.result().wait()
        shared.insert(connection, 2)
        undone = engine.start(order(2), id="order-2", connection=connection).wait()
        connection.rollback()

        assert (before, result) == ([], "charged 1")
        assert shared.ledger() == [1] and [run.id for run in engine.list().wait()] == ["order-1"]
        with pytest.raises(errors.RunNotFound, match="'order-2'"):
            undone.result().wait()


def test_a_handle_of_a_run_that_was_rolled_back_is_not_that_of_another_one(shared: Shared):
    """SQLite gives the key of the one to the other."""
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        undone = engine.start(order(1), id="order-1", connection=connection).wait()
        connection.rollback()
        other = engine.start(order(2), id="order-1", connection=connection).wait()
        connection.commit()

        assert other.result().wait() == "charged 2"
        with pytest.raises(errors.RunNotFound, match="run_id"):
            undone.describe().wait()


def test_a_start_with_a_connection_is_awaited_where_a_loop_runs(shared: Shared):
    async def main() -> list[str]:
        async with Engine(shared.opened(), [order, charge]) as engine:
            connection = shared.connect()
            handle = await engine.start(order(1), id="order-1", connection=connection)
            connection.commit()
            connection.close()
            return [handle.id, await handle.result()]

    assert asyncio.run(main()) == ["order-1", "charged 1"]


def test_a_client_without_code_starts_before_any_engine_is_there(shared: Shared):
    with Client(shared.opened()) as client, closing(shared.connect()) as connection:
        client.start("order", [3], id="order-3", connection=connection).wait()
        connection.commit()

    with Engine(shared.opened(), [order, charge]) as engine:
        assert engine.handle("order-3").result().wait() == "charged 3"


def test_the_same_start_made_again_attaches_even_within_the_transaction(shared: Shared):
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        first = engine.start(order(1), id="order-1", connection=connection).wait()
        again = engine.start(order(1), id="order-1", connection=connection).wait()
        with pytest.raises(errors.RunExists, match="other arguments"):
            engine.start(order(2), id="order-1", connection=connection).wait()
        shared.insert(connection, 1)  # the transaction is of use still
        connection.commit()

        assert first.run_id == again.run_id and again.result().wait() == "charged 1"
        assert shared.ledger() == [1]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"id_reuse": "reject_duplicate"}, "completed"), ({}, "other arguments")],
)
def test_an_id_that_is_taken_is_refused_and_the_transaction_goes_on(shared: Shared, options: Any, said: str):
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        engine.run(order(1), id="order-1").wait()
        with pytest.raises(errors.RunExists, match=said):
            engine.start(order(2), id="order-1", connection=connection, **options).wait()
        shared.insert(connection, 7)
        connection.commit()

        assert shared.ledger() == [7]


def test_an_id_is_used_again_by_its_policy(shared: Shared):
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        engine.run(order(1), id="order-1").wait()
        handle = engine.start(order(2), id="order-1", id_reuse="allow_duplicate", connection=connection).wait()
        connection.commit()

        assert handle.result().wait() == "charged 2"
        assert len(engine.list().wait()) == 2


def test_a_request_that_is_made_again_gets_its_run(shared: Shared):
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        first = engine.start(order(1), id="order-1", request_id="r-1", connection=connection).wait()
        connection.commit()
        again = engine.start(order(9), id="order-1", request_id="r-1", connection=connection).wait()
        connection.commit()

        assert first.run_id == again.run_id


def test_large_arguments_of_a_start_are_compared_and_arrive(shared: Shared):
    @workflow
    async def measure(text: str) -> int:
        return len(text)

    with Engine(shared.opened(), [measure]) as engine, closing(shared.connect()) as connection:
        handle = engine.start(measure("a" * 200_000), id="m", connection=connection).wait()
        connection.commit()
        done = handle.result().wait()
        again = engine.start(measure("a" * 200_000), id="m", connection=connection).wait()
        with pytest.raises(errors.RunExists):
            engine.start(measure("b" * 200_000), id="m", connection=connection).wait()

        assert done == 200_000 and again.result().wait() == 200_000


def test_attributes_and_a_delay_are_those_of_any_start(shared: Shared):
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        options: Any = {"attributes": {"customer": "ada", "size": 3}, "start_delay": "1h"}
        engine.start(order(1), id="order-1", connection=connection, **options).wait()
        connection.commit()

        found = engine.list(attributes={"customer": "ada"}).wait()
        assert [(run.id, run.status) for run in found] == [("order-1", "queued")]


def test_a_signal_is_said_in_the_transaction_to_the_run_that_is_there(shared: Shared):
    with Engine(shared.opened(), [Loan]) as engine, closing(shared.connect()) as connection:
        for how in ("yes", "no"):
            handle = engine.start(Loan.run(), id="loan", signal=Loan.decide.message(how), connection=connection).wait()
            connection.commit()

        assert handle.result().wait() == ["yes", "no"]


def test_an_unknown_workflow_is_refused_and_the_transaction_goes_on(shared: Shared):
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        engine.run(order(0)).wait()
        with pytest.raises(errors.UnknownWorkflow, match="it knows: order"):
            engine.start("ordr", [1], id="order-1", connection=connection).wait()
        shared.insert(connection, 1)
        connection.commit()

        assert shared.ledger() == [1]


def test_what_waits_for_an_end_takes_no_connection(shared: Shared):
    with (
        Engine(shared.opened(), [order, charge]) as engine,
        closing(shared.connect()) as connection,
        pytest.raises(errors.DefinitionError, match="after the commit"),
    ):
        engine.run(order(1), id="order-1", connection=connection)


def refusal(engine: Engine, connection: Any) -> str:
    with closing(connection), pytest.raises(errors.ConnectionUnfit) as refused:
        engine.start(order(1), connection=connection).wait()
    return str(refused.value)


def test_a_connection_that_leads_elsewhere_is_refused(tmp_path: Path, database: str):
    with Engine(f"sqlite:///{tmp_path}/runs.db", [order, charge]) as engine:
        assert "in one file" in refusal(engine, sqlite3.connect(tmp_path / "other.db"))
        assert "are in SQLite" in refusal(engine, psycopg.connect(database))
        assert "there are those of psycopg" in refusal(engine, io.StringIO())
    with Engine("memory://", [order, charge]) as engine:
        assert "in no database" in refusal(engine, sqlite3.connect(":memory:"))


@pytest.mark.parametrize(
    ("template", "said"), [("template1", "another database (copy_"), ("template0", "not the schema of this version")]
)
def test_another_database_of_the_server_is_refused(database: str, template: str, said: str):
    name = f"copy_of_{template}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())

    with Engine(PostgresStore(database), [order, charge]) as engine:
        assert said in refusal(engine, psycopg.connect(f"{database.rpartition('/')[0]}/{name}"))


def test_a_connection_that_commits_by_itself_is_refused(shared: Shared):
    with Engine(shared.opened(), [order, charge]) as engine, closing(shared.connect()) as connection:
        if isinstance(connection, sqlite3.Connection):
            connection.isolation_level = None
        else:
            connection.autocommit = True

        with pytest.raises(errors.ConnectionUnfit, match="in no transaction"):
            engine.start(order(1), id="order-1", connection=connection).wait()
        connection.execute("BEGIN")
        handle = engine.start(order(1), id="order-1", connection=connection).wait()
        connection.execute("COMMIT")
        assert handle.result().wait() == "charged 1"


def test_a_transaction_that_has_read_nothing_gets_its_lock_though_somebody_has_just_written(in_file: Shared):
    with Engine(in_file.opened(), [order, charge]) as engine:
        engine.run(order(1)).wait()
    written: list[str] = []
    with (
        Client(in_file.address) as client,
        closing(in_file.connect()) as connection,
        closing(in_file.connect()) as other,
    ):

        def write_before(statement: str) -> None:
            if "runs" in statement and not written:
                written.append(statement)
                in_file.insert(other, 2)
                other.commit()

        connection.isolation_level = None
        connection.execute("BEGIN")
        connection.set_trace_callback(write_before)
        client.start("order", [1], id="order-1", connection=connection).wait()
        connection.execute("COMMIT")
        assert written and client.count(status="queued").wait() == 1


def test_a_snapshot_that_cannot_see_who_has_the_id_is_told_so(database: str):
    """Under REPEATABLE READ: the driver's own error, after which the application begins its transaction again."""
    with Engine(PostgresStore(database), [order, charge]) as engine, psycopg.connect(database) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1 FROM perdure.runs")
        engine.start(order(1), id="order-1").wait()

        with pytest.raises(psycopg.errors.SerializationFailure, match="order-1") as caught:
            engine.start(order(1), id="order-1", connection=connection).wait()
        assert "Roll back, and do all of it again" in caught.value.__notes__[0]


def test_of_two_transactions_that_start_the_same_runs_the_other_way_round_one_is_undone_and_done_again(
    on_server: Shared,
):
    ways = {"there": (1, 2), "back": (2, 1)}
    both_have_one = threading.Barrier(2)
    undone: list[str] = []

    def take(engine: Any, way: str) -> None:
        first, second = ways[way]
        with closing(on_server.connect()) as connection:
            try:
                on_server.insert(connection, first)
                engine.start(order(first), id=f"order-{first}", connection=connection).wait()
                both_have_one.wait()
                engine.start(order(second), id=f"order-{second}", connection=connection).wait()
            except psycopg.errors.DeadlockDetected as error:
                undone.extend(error.__notes__)
                connection.rollback()
                for number in reversed(ways[way]):  # as the other does, which may not have gone on yet
                    engine.start(order(number), id=f"order-{number}", connection=connection).wait()
            connection.commit()

    with Engine(on_server.opened(), [order, charge]) as engine, ThreadPoolExecutor(2) as pool:
        for taking in [pool.submit(take, engine, way) for way in ways]:
            taking.result()

        assert len(undone) == 1 and undone[0].endswith("Roll back, and do all of it again.")
        assert sorted(run.id for run in engine.list().wait()) == ["order-1", "order-2"]
        assert [engine.handle(f"order-{n}", order).result().wait() for n in (1, 2)] == ["charged 1", "charged 2"]
        assert len(on_server.ledger()) == 1
