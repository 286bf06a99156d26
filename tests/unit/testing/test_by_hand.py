"""Activities run by hand, without an engine."""

import asyncio
import logging
from datetime import timedelta

import pytest

from perdure import DefinitionError, activity
from perdure.testing import activity_context


@activity(timeout="5s")
def charge(account: str) -> str:
    logging.getLogger("shop").warning("charging %s", account)
    activity.logger.info("with %s", activity.info().idempotency_key)
    return f"attempt {activity.info().attempt} of {activity.info().activity}"


@activity
async def ask() -> str:
    await asyncio.sleep(0)
    return activity.info().id


def test_an_activity_is_told_who_it_is() -> None:
    with activity_context(charge, attempt=3) as attempt:
        assert charge.fn("ada") == "attempt 3 of charge"

    assert attempt.info().timeout == timedelta(seconds=5)


def test_what_it_logs_is_kept() -> None:
    with activity_context(charge, run_id="f" * 32, step="0:7") as attempt:
        charge.fn("ada")

    assert attempt.messages == ["charging ada", f"with {'f' * 32}:0:7"]
    assert [record.levelname for record in attempt.records] == ["WARNING", "INFO"]


def test_a_coroutine_function_is_awaited_in_it() -> None:
    async def main() -> str:
        with activity_context(ask, id="order-1"):
            return await ask()

    assert asyncio.run(main()) == "order-1"


@activity(heartbeat="10s")
def copy_rows(count: int) -> int:
    done = (activity.info().heartbeat_details or {"rows": 0})["rows"]
    while done < count:
        done += 1
        activity.heartbeat({"rows": done})
    return done


def test_its_heartbeats_are_kept() -> None:
    with activity_context(copy_rows, heartbeat_details={"rows": 1}) as attempt:
        copy_rows.fn(3)

    assert attempt.heartbeats == [{"rows": 2}, {"rows": 3}]
    assert attempt.info().heartbeat_timeout == timedelta(seconds=10)


def test_a_plain_function_hears_by_its_heartbeat_that_it_is_cancelled() -> None:
    with activity_context(copy_rows) as attempt:
        attempt.cancel()

        assert activity.cancelled()
        with pytest.raises(asyncio.CancelledError):
            copy_rows.fn(3)
    assert attempt.heartbeats == [{"rows": 1}]


def test_it_has_a_token() -> None:
    with activity_context(ask, step="0:4"):
        assert activity.token() == "token-of-00000000000000000000000000000001:0:4:1"


def test_outside_of_it_nobody_is_told_anything() -> None:
    with activity_context(charge):
        pass

    with pytest.raises(DefinitionError, match=r"with perdure\.testing\.activity_context\(\.\.\.\)"):
        charge.fn("ada")


def test_attempts_are_counted_from_one_on() -> None:
    with (
        pytest.raises(DefinitionError, match="counted from 1 on, there is no attempt 0"),
        activity_context(charge, attempt=0),
    ):
        pass


def test_it_is_given_the_activity_and_not_its_function() -> None:
    with pytest.raises(DefinitionError, match="is given the activity that is run in it, not <function charge"):
        activity_context(charge.fn).__enter__()  # type: ignore[arg-type]
