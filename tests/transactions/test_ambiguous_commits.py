"""PostgreSQL, where the connection of an attempt is lost while the server commits: a trigger of the application's holds the commit
until the test lets it go on. What came of it is found in the database, and never guessed.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from perdure import Engine, Retry, activity, workflow

HELD = 7_654_321
"""The advisory lock that the trigger waits for, at the commit."""

SCHEMA = f"""
CREATE TABLE ledger (attempt integer);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared({HELD});
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER held AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
"""


lent: list[int] = []
"""The file descriptors of their connections."""


@activity(transactional=True, retry=Retry(initial=0.01))
def book() -> int:
    attempt, connection = activity.info().attempt, activity.connection(psycopg.Connection)
    lent.append(connection.fileno())
    connection.execute("INSERT INTO ledger VALUES (%s)", (attempt,))
    return attempt


@activity(transactional=True, retry=Retry(initial=0.01))
async def abook() -> int:
    attempt, connection = activity.info().attempt, activity.connection(psycopg.AsyncConnection)
    lent.append(connection.fileno())
    await connection.execute("INSERT INTO ledger VALUES (%s)", (attempt,))
    return attempt


@workflow
async def booking() -> int:
    return await book()


@workflow
async def abooking() -> int:
    return await abook()


@contextmanager
def holding(database: str) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """Within the block no commit that writes to the ledger comes to its end, until `pg_advisory_unlock`."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute("SELECT pg_advisory_lock(%s)", (HELD,))
        yield connection


def committing(connection: "psycopg.Connection[tuple[object, ...]]") -> int:
    """The process of the server that waits in its commit."""
    waits = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"
    while (found := connection.execute(waits, (HELD,)).fetchone()) is None:
        threading.Event().wait(0.005)
    return int(str(found[0]))


def let_go(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    connection.execute("SELECT pg_advisory_unlock(%s)", (HELD,))


def cut(descriptor: int) -> None:
    """Nothing more comes from the server, which does not notice."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RD)


def ledger(connection: "psycopg.Connection[tuple[object, ...]]") -> list[tuple[object, ...]]:
    return connection.execute("SELECT attempt FROM ledger").fetchall()


@pytest.mark.parametrize("workflow", [booking, abooking])
def test_a_commit_whose_backend_is_ended_is_undone_and_the_next_attempt_counts(database: str, workflow):
    with holding(database) as connection, Engine(database, [workflow, book, abook]) as engine:
        handle = engine.start(workflow()).wait()
        connection.execute("SELECT pg_terminate_backend(%s)", (committing(connection),))
        let_go(connection)

        assert handle.result().wait() == 2
        assert ledger(connection) == [(2,)]


@pytest.mark.parametrize("workflow", [booking, abooking])
def test_a_commit_that_comes_to_its_end_after_its_connection_was_lost_counts(database: str, workflow):
    """The client loses the connection; the server does not see that, and commits a little later."""
    with holding(database) as connection, Engine(database, [workflow, book, abook]) as engine:
        handle = engine.start(workflow()).wait()
        committing(connection)
        cut(lent[-1])
        let_go(connection)

        assert handle.result().wait() == 1
        assert ledger(connection) == [(1,)]
