"""A function that ends its transaction by SQL, and begins another one, is found out: it is not tried again, and told why."""

import contextlib
import sqlite3
from typing import Any

import psycopg
import pytest

from perdure import Engine, Retry, activity, errors, workflow
from tests.transactions.shared import Shared

ENDS = ("COMMIT; BEGIN", "COMMIT AND CHAIN", "ROLLBACK; BEGIN", "COMMIT")
QUICK = Retry(initial=0.01, max_attempts=3)


def end(connection: Any, how: str) -> None:
    for statement in how.split("; "):
        connection.execute(statement)


def blocked(shared: Shared, how: str, after: str) -> str:
    @activity(transactional=True, retry=QUICK)
    def sly() -> None:
        connection = activity.connection(object)
        shared.insert(connection, 1)
        end(connection, how)
        if after == "raises":
            raise OSError("once more")
        if after == "fails":
            shared.insert(connection, "no number")  # type: ignore[arg-type]

    @workflow
    async def doing() -> None:
        await sly()

    with Engine(shared.address, [doing, sly]) as engine, pytest.raises(errors.RunBlocked) as caught:
        engine.run(doing()).wait()
    return str(caught.value)


@pytest.mark.parametrize("after", ["returns", "raises", "fails"])
@pytest.mark.parametrize("how", ENDS)
def test_on_a_server(on_server: Shared, how: str, after: str):
    assert "has ended its transaction by itself" in blocked(on_server, how, after)
    assert on_server.ledger() == ([] if how.startswith("ROLLBACK") else [1])  # not twice


@pytest.mark.parametrize("after", ["returns", "raises"])
@pytest.mark.parametrize("how", ["COMMIT; BEGIN", "COMMIT; BEGIN IMMEDIATE", "ROLLBACK", "END"])
def test_in_a_file_it_cannot(in_file: Shared, how: str, after: str):
    assert "has ended its transaction by itself" in blocked(in_file, how, after)
    assert in_file.ledger() == []


def test_in_a_file_one_that_passes_over_that_is_told_all_the_same(in_file: Shared):
    @activity(transactional=True, retry=QUICK)
    def sly() -> None:
        connection = activity.connection(sqlite3.Connection)
        in_file.insert(connection, 1)
        with pytest.raises(sqlite3.DatabaseError):
            connection.execute("COMMIT")

    @workflow
    async def doing() -> None:
        await sly()

    with Engine(in_file.address, [doing, sly]) as engine, pytest.raises(errors.RunBlocked, match="by itself"):
        engine.run(doing()).wait()
    assert in_file.ledger() == []


def test_sql_that_fails_is_not_that(shared: Shared):
    """Neither where the function raises it, nor where it passes over it: it is tried again."""

    @activity(transactional=True, retry=QUICK)
    def unlucky() -> int:
        connection = activity.connection(object)
        shared.insert(connection, 1)
        if activity.info().attempt < 2:
            end(connection, "INSERT INTO nowhere VALUES (1)")
        return activity.info().attempt

    @activity(transactional=True, retry=QUICK)
    def careless() -> int:
        connection = activity.connection(object)
        if activity.info().attempt < 2:
            with contextlib.suppress(psycopg.Error, sqlite3.Error):
                end(connection, "INSERT INTO nowhere VALUES (1)")
        shared.insert(connection, 2)
        return activity.info().attempt

    @workflow
    async def doing() -> list[int]:
        return [await unlucky(), await careless()]

    with Engine(shared.address, [doing, unlucky, careless]) as engine:
        assert engine.run(doing()).wait()[0] == 2
    assert shared.ledger() == [1, 2]


def test_savepoints_are_not_that(shared: Shared):
    @activity(transactional=True, retry=1)
    def careful() -> int:
        connection = activity.connection(object)
        for statement in ("SAVEPOINT one", "SAVEPOINT two", "ROLLBACK TO SAVEPOINT one", "RELEASE SAVEPOINT one"):
            end(connection, statement)
        shared.insert(connection, 1)
        return 1

    @workflow
    async def doing() -> int:
        return await careful()

    with Engine(shared.address, [doing, careful]) as engine:
        assert engine.run(doing()).wait() == 1
    assert shared.ledger() == [1]


@pytest.mark.parametrize("after", ["returns", "raises"])
def test_on_the_loop(on_server: Shared, after: str):
    @activity(transactional=True, retry=QUICK)
    async def sly() -> None:
        connection = activity.connection(psycopg.AsyncConnection)
        await connection.execute("INSERT INTO ledger VALUES (1)")
        await connection.execute("COMMIT AND CHAIN")
        if after == "raises":
            raise OSError("once more")

    @workflow
    async def doing() -> None:
        await sly()

    with Engine(on_server.address, [doing, sly]) as engine, pytest.raises(errors.RunBlocked, match="by itself"):
        engine.run(doing()).wait()
    assert on_server.ledger() == [1]
