"""That a database has no connection to give is no fault of the attempt that wants one."""

import sqlite3
import time
from typing import Any

import psycopg
import pytest

from perdure import Engine, Retry, activity, errors, workflow
from perdure.activities import ActivityDefinition
from perdure.stores.postgres import lending as postgres
from perdure.stores.sqlite import lending as sqlite
from tests.transactions.shared import Shared


@activity(transactional=True, retry=Retry(max_attempts=1))
def step() -> int:
    activity.connection(object)
    return activity.info().attempt


@activity(transactional=True, retry=Retry(max_attempts=1))
async def astep() -> int:
    activity.connection(object)
    return activity.info().attempt


@workflow
async def doing(which: str) -> int:
    return await (step() if which == "step" else astep())


def refusing(monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int) -> list[int]:
    """So often none can be had of either product; gives how often it was asked for."""
    asked: list[int] = []

    def first(real: Any) -> Any:
        def instead(*args: Any, **options: Any) -> Any:
            asked.append(1)
            if len(asked) <= tries:
                raise error
            return real(*args, **options)

        return instead

    for kind in (postgres._Connection, postgres._AsyncConnection):
        monkeypatch.setattr(kind, "connect", first(kind.connect))
    monkeypatch.setattr(sqlite, "LentConnection", first(sqlite.LentConnection))
    return asked


def busy(shared: Shared) -> Exception:
    if "sqlite" not in shared.address:
        return psycopg.OperationalError("FATAL:  sorry, too many clients already")
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


@pytest.mark.parametrize("each", [step, astep])
def test_an_attempt_waits_for_a_connection(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, each: ActivityDefinition[[], int]
):
    asked = refusing(monkeypatch, busy(shared), 3)

    with Engine(shared.address, [doing, step, astep]) as engine:
        assert engine.run(doing(each.name)).wait() == 1
    assert len(asked) == 4


@pytest.mark.parametrize("each", [step, astep])
def test_one_that_is_not_let_in_fails(
    on_server: Shared, monkeypatch: pytest.MonkeyPatch, each: ActivityDefinition[[], int]
):
    """What does not pass by itself is told."""
    refusing(monkeypatch, psycopg.OperationalError("password authentication failed for user"), 99)

    with Engine(on_server.address, [doing, step, astep]) as engine, pytest.raises(errors.RunFailed, match="not let"):
        engine.run(doing(each.name)).wait()


@pytest.mark.parametrize("each", [step, astep])
def test_one_that_is_cancelled_waits_no_longer(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, each: ActivityDefinition[[], int]
):
    asked = refusing(monkeypatch, busy(shared), 10**9)

    with Engine(shared.address, [doing, step, astep]) as engine:
        handle = engine.start(doing(each.name)).wait()
        while not asked:
            time.sleep(0.005)
        handle.cancel().wait()
        with pytest.raises(errors.RunCancelled):
            handle.result().wait()
