"""A connection that a function has kept does nothing in the attempts that come after it."""

import asyncio
import contextlib
from typing import Any

import psycopg
import pytest

from perdure import Engine, activity, errors, workflow
from tests.transactions.shared import Shared

kept: list[Any] = []
INSERT = "INSERT INTO ledger VALUES (666)"


def one_after_the_other(shared: Shared, use: Any, is_async: bool) -> None:
    """An attempt keeps all it can get; `use` is called in the next one, and when nobody has the connection."""
    kept.clear()

    @activity(transactional=True, retry=1)
    def keep() -> int:
        connection = activity.connection(psycopg.Connection)
        kept.extend([connection, connection.execute("SELECT 1")])
        return connection.info.backend_pid

    @activity(transactional=True, retry=1)
    async def akeep() -> int:
        connection = activity.connection(psycopg.AsyncConnection)
        kept.extend([connection, await connection.execute("SELECT 1")])
        return connection.info.backend_pid

    @activity(transactional=True, retry=1)
    def write() -> int:
        connection = activity.connection(psycopg.Connection)
        connection.execute("INSERT INTO ledger VALUES (1)")
        use()
        return connection.info.backend_pid

    @workflow
    async def doing() -> list[int]:
        return [await (akeep() if is_async else keep()), await write()]

    with Engine(shared.address, [doing, keep, akeep, write]) as engine:
        first, second = engine.run(doing()).wait()
        use()
    assert first == second, "the same connection of the server"
    assert shared.ledger() == [1]


@pytest.mark.parametrize("which", ["connection", "cursor"])
def test_it_raises_an_error_that_helps(on_server: Shared, which: str):
    def use() -> None:
        connection, cursor = kept
        for statement in (INSERT, "ROLLBACK", "COMMIT"):
            with pytest.raises(errors.DefinitionError, match="keep none"):
                (connection if which == "connection" else cursor).execute(statement)

    one_after_the_other(on_server, use, is_async=False)


@pytest.mark.parametrize("which", ["connection", "cursor"])
def test_of_a_coroutine_as_well(on_server: Shared, which: str):
    def use() -> None:
        connection, cursor = kept
        with pytest.raises(errors.DefinitionError, match="keep none"):
            asyncio.run((connection if which == "connection" else cursor).execute(INSERT))

    one_after_the_other(on_server, use, is_async=True)


def test_to_close_it_or_to_cancel_what_it_does_reaches_nobody(on_server: Shared):
    def use() -> None:
        connection, cursor = kept
        cursor.close()
        with contextlib.suppress(psycopg.Error):
            connection.cancel()
        with contextlib.suppress(psycopg.Error, errors.DefinitionError), connection.pipeline():
            pass
        connection.close()

    one_after_the_other(on_server, use, is_async=False)


def test_in_a_file_it_is_closed(in_file: Shared):
    @activity(transactional=True)
    def keep() -> None:
        kept[:] = [activity.connection(object)]

    @workflow
    async def doing() -> None:
        await keep()

    with Engine(in_file.address, [doing, keep]) as engine:
        engine.run(doing()).wait()
    with pytest.raises(Exception, match="closed"):
        kept[0].execute(INSERT)
