"""Attempts: retried, given up, cancelled, held by nobody; their logs, and what is kept of them."""

import asyncio
import contextlib
import gc
import logging
import sys
import threading
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import (
    ActivityFailed,
    ActivityTimedOut,
    Engine,
    NonRetryable,
    Retry,
    RetryAfter,
    RunFailed,
    RunTerminated,
    activity,
    workflow,
)
from perdure.client.description import RunDescription, StepView
from perdure.kernel.limits import ATTEMPT_LOG_RECORDS
from tests.engine.clocks import Stepped

QUICK = Retry(initial=0.001, maximum=0.001)


@workflow
async def run_step(name: str) -> Any:
    """Awaits the activity that the engine has under the name "step"."""
    return await STEP[name]()


STEP: dict[str, Any] = {}


async def lived(step: Any, until: str = "completed", **options: Any) -> tuple[RunDescription, list[dict[str, Any]]]:
    """The life of a run of one step: its description and its history."""
    STEP["step"] = step
    async with Engine("memory://", [run_step, step], **options) as engine:
        handle = await engine.start(run_step("step"), id="r")
        with contextlib.suppress(RunFailed):
            await handle.result()
        description = await handle.describe()
        assert description.status == until
        return description, await handle.history()


def states(step: StepView) -> list[str]:
    return [attempt.state for attempt in step.attempts]


def kinds(history: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in history]


async def test_failures_are_retried_and_leave_no_trace_in_the_history():
    @activity(retry=QUICK)
    async def step() -> int:
        if activity.info().attempt < 4:
            raise ConnectionError("not yet")
        return activity.info().attempt

    description, history = await lived(step)

    assert description.result == 4
    assert states(description.steps[0]) == ["failed", "failed", "failed", "completed"]
    assert kinds(history) == ["RunStarted", "ActivityScheduled", "ActivityCompleted", "RunCompleted"]


async def test_of_many_attempts_the_first_three_and_the_last_twenty_are_kept_and_their_number():
    @activity(retry=QUICK)
    async def step() -> str:
        if activity.info().attempt < 60:
            raise ConnectionError(f"attempt {activity.info().attempt}")
        return "at last"

    description, _ = await lived(step)

    (view,) = description.steps
    assert [attempt.number for attempt in view.attempts] == [1, 2, 3, *range(41, 61)]
    assert view.attempts_total == 60
    assert view.attempts[1].error is not None and view.attempts[1].error.message == "attempt 2"


async def test_an_activity_fails_when_its_attempts_are_used_up():
    @activity(retry=Retry(initial=0.001, max_attempts=3))
    async def step() -> None:
        raise ConnectionError("down")

    description, history = await lived(step, until="failed")

    assert states(description.steps[0]) == ["failed"] * 3
    assert kinds(history) == ["RunStarted", "ActivityScheduled", "ActivityFailed", "RunFailed"]
    assert history[2]["reason"] == "exhausted"
    assert description.note == "ActivityFailed: activity step failed after 3 attempts: ConnectionError: down"


@pytest.mark.parametrize("raised", [NonRetryable("no"), KeyError("listed"), LookupError("listed by name")])
async def test_a_failure_that_is_not_to_be_retried_is_final(raised: Exception):
    @activity(retry=Retry(initial="1h", maximum="1h", non_retryable=(KeyError, "LookupError")))
    async def step() -> None:
        raise raised

    description, history = await lived(step, until="failed")

    assert states(description.steps[0]) == ["failed"]
    assert history[2]["reason"] == "failed"


async def test_retry_after_replaces_the_delay_of_the_policy():
    @activity(retry=Retry(initial="1h", maximum="1h"))
    async def step() -> str:
        if activity.info().attempt == 1:
            raise RetryAfter(0.01, "busy")
        return "done"

    description, _ = await lived(step)

    assert states(description.steps[0]) == ["failed", "completed"]
    assert description.duration < 60


async def test_jitter_spreads_the_retries_of_runs_that_failed_together():
    @activity(retry=Retry(initial="1h", maximum="1h", jitter=0.5))
    async def step() -> None:
        raise ConnectionError("down")

    STEP["step"] = step
    async with Engine("memory://", [run_step, step]) as engine:
        handles = [await engine.start(run_step("step"), id=f"r-{n}") for n in range(20)]
        waits = [await retried_in(handle) for handle in handles]

    assert len({round(wait.total_seconds()) for wait in waits}) > 10
    assert all(timedelta(minutes=29) < wait < timedelta(minutes=91) for wait in waits)


async def retried_in(handle: Any) -> timedelta:
    """How long the one step of the run waits for its second attempt, once its first has failed."""
    while (step := (await handle.describe()).steps[0]).retry_at is None:
        await asyncio.sleep(0)
    assert step.attempts[0].ended_at is not None
    return step.retry_at - step.attempts[0].ended_at


async def test_retry_makes_a_waiting_attempt_now():
    @activity(retry=Retry(initial="1h", maximum="1h"))
    async def step() -> str:
        if activity.info().attempt == 1:
            raise ConnectionError("down")
        return "up"

    STEP["step"] = step
    async with Engine("memory://", [run_step, step]) as engine:
        handle = await engine.start(run_step("step"))
        await retried_in(handle)
        await handle.retry()

        assert await handle.result() == "up"


async def test_an_activity_that_is_cancelled_sees_a_cancelled_error():
    seen: list[str] = []
    begun, ended = asyncio.Event(), asyncio.Event()

    @activity
    async def step() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            ended.set()

    STEP["step"] = step
    async with Engine("memory://", [run_step, step]) as engine:
        handle = await engine.start(run_step("step"))
        await begun.wait()
        await handle.cancel()
        await ended.wait()
        description = await handle.describe()

    assert seen == ["cancelled"]
    assert (description.status, description.steps[0].state) == ("cancelled", "cancelled")


async def test_an_attempt_that_is_cancelled_before_it_began_gives_its_slot_back_at_once():
    begun: list[str] = []

    @activity
    async def step() -> None:
        begun.append(activity.info().id)

    def start_and_cancel(engine: Engine) -> None:
        handle = engine.start(run_step("step"), id="cancelled").wait()
        handle.cancel().wait()
        engine.start(run_step("step"), id="later", start_delay="1h").wait()  # after all that comes of the cancellation

    STEP["step"] = step
    async with Engine("memory://", [run_step, step], concurrency=1) as engine:
        elsewhere = threading.Thread(target=start_and_cancel, args=(engine,))
        elsewhere.start()
        elsewhere.join()  # the loop stands still meanwhile, and begins nothing
        await engine.run(run_step("step"), id="next")

    assert begun == ["next"]


async def test_a_terminated_run_takes_its_attempts_with_it():
    begun, ended = asyncio.Event(), asyncio.Event()

    @activity
    async def step() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    STEP["step"] = step
    async with Engine("memory://", [run_step, step]) as engine:
        handle = await engine.start(run_step("step"))
        await begun.wait()
        await handle.terminate("now")
        await ended.wait()
        with pytest.raises(RunTerminated, match="terminated: now"):
            await handle.result()


async def test_an_attempt_that_takes_too_long_is_cancelled_and_retried():
    cancelled: list[int] = []
    world = Stepped()

    @activity(timeout=0.05, retry=QUICK)
    async def step() -> str:
        if activity.info().attempt == 1:
            world.seconds += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(1)
                raise
        return "second"

    description, _ = await lived(step, world=world)

    assert description.result == "second"
    assert cancelled == [1]
    assert states(description.steps[0]) == ["timed out", "completed"]
    assert description.steps[0].attempts[0].error is not None
    assert description.steps[0].attempts[0].error.message == "no end after 0.05 s"


async def test_a_workflow_can_catch_a_timeout_as_such():
    @activity(timeout=0.02, retry=1)
    async def slow() -> None:
        await asyncio.Event().wait()

    @workflow
    async def catches() -> str:
        try:
            await slow()
        except ActivityTimedOut as error:
            return f"{error} ({error.attempts})"
        return "never"

    async with Engine("memory://", [catches, slow]) as engine:
        assert await engine.run(catches()) == (
            "activity slow failed after 1 attempt: ActivityTimedOut: no end after 0.02 s (1)"
        )


async def test_a_thread_that_goes_on_after_its_timeout_is_heard_by_nobody():
    released, late, world = threading.Event(), threading.Event(), Stepped()

    @activity(timeout=0.05, retry=QUICK)
    def step() -> str:
        if activity.info().attempt == 1:
            world.seconds += 1
            released.wait()
            late.set()
            return "late"
        return "in time"

    @activity
    async def release() -> None:
        released.set()
        await asyncio.to_thread(late.wait)

    @workflow
    async def run_both() -> str:
        result = await step()
        await release()
        return result

    async with Engine("memory://", [run_both, step, release], world=world) as engine:
        handle = await engine.start(run_both())
        result = await handle.result()
        description = await handle.describe()

    assert result == "in time"
    assert states(description.steps[0]) == ["timed out", "completed"]


@pytest.mark.parametrize("threaded", [False, True])
async def test_an_activity_that_exits_ends_its_attempt_and_not_the_process(threaded: bool):
    @activity(name="step", retry=1)
    async def on_loop() -> None:
        raise SystemExit(3)

    @activity(name="step", retry=1)
    def in_thread() -> None:
        raise SystemExit(3)

    description, _ = await lived(in_thread if threaded else on_loop, until="failed")

    assert description.note == "ActivityFailed: activity step failed after 1 attempt: SystemExit: 3"


async def test_what_an_attempt_logs_is_kept_with_it():
    @activity(retry=QUICK)
    async def step() -> None:
        logging.getLogger("shop").warning("attempt %d of %s", activity.info().attempt, activity.info().id)
        activity.logger.info("quietly")
        if activity.info().attempt == 1:
            raise ConnectionError("down")

    description, _ = await lived(step)

    first, second = description.steps[0].attempts
    assert [(log.level, log.logger, log.text) for log in first.logs] == [
        ("WARNING", "shop", "attempt 1 of r"),
        ("INFO", "perdure.activity", "quietly"),
    ]
    assert second.logs[0].text == "attempt 2 of r"


async def test_logs_of_an_attempt_are_bounded_and_say_what_is_missing():
    @activity
    def step() -> None:
        for n in range(ATTEMPT_LOG_RECORDS + 50):
            logging.getLogger("shop").error("line %d", n)

    description, _ = await lived(step)

    (attempt,) = description.steps[0].attempts
    assert len(attempt.logs) == ATTEMPT_LOG_RECORDS
    assert attempt.logs_dropped == 50


async def test_an_attempt_knows_where_it_belongs():
    seen: list[Any] = []

    @activity(timeout="5m")
    async def step() -> None:
        seen.append(activity.info())

    before = datetime.now(UTC)
    description, _ = await lived(step)

    (info,) = seen
    assert (info.id, info.workflow, info.activity, info.step, info.attempt) == ("r", "run_step", "step", "0:1", 1)
    assert info.idempotency_key == f"{description.run_id}:0:1"
    assert info.timeout == timedelta(minutes=5)
    assert before <= info.scheduled_at <= datetime.now(UTC)


async def test_options_of_a_call_go_before_those_of_the_definition():
    @activity(retry=1)
    async def failing() -> None:
        raise ConnectionError("down")

    @workflow
    async def calls() -> int:
        try:
            await failing().with_options(retry=Retry(initial=0.001, max_attempts=4))
        except ActivityFailed as error:
            return error.attempts
        return 0

    async with Engine("memory://", [calls, failing]) as engine:
        assert await engine.run(calls()) == 4


async def test_a_failure_tells_where_it_was_raised():
    @activity(retry=1)
    async def step() -> None:
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("no such order") from error

    description, _ = await lived(step, until="failed")

    error = description.steps[0].error
    assert error is not None and error.cause is not None
    assert (error.type, error.message, error.cause.type) == ("ValueError", "no such order", "KeyError")
    assert 'raise ValueError("no such order") from error' in error.traceback
    assert "perdure/runtime" not in error.traceback


@contextlib.contextmanager
def no_more_threads():
    """Each thread asks for more memory than there is."""
    threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(0)


async def test_an_attempt_for_which_the_system_has_no_thread_is_made_later():
    @activity(retry=QUICK)
    def step() -> str:
        return "done"

    STEP["step"] = step
    async with Engine("memory://", [run_step, step]) as engine:
        with no_more_threads():
            handle = await engine.start(run_step("step"), id="r")

        assert await handle.result() == "done"
        first = (await handle.describe()).steps[0].attempts[0]
        assert first.error is not None and "can't start new thread" in str(first.error)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are made to run at once from 3.12 on")
async def test_attempts_that_a_task_factory_runs_at_once_leave_nothing_behind():
    begun = weakref.WeakSet[asyncio.Task[Any]]()

    @activity
    async def step() -> None:
        task = asyncio.current_task()
        assert task is not None
        begun.add(task)

    STEP["step"] = step
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    async with Engine("memory://", [run_step, step]) as engine:
        for n in range(3):
            await engine.run(run_step("step"), id=f"r-{n}")
        gc.collect()

        assert len(begun) < 3


async def test_times_without_an_end_in_sight_are_kept_as_far_as_time_is_counted():
    @activity(timeout=timedelta.max, retry=Retry(maximum=timedelta.max))
    async def step() -> str:
        if activity.info().attempt == 1:
            raise RetryAfter(99_999_999_999)
        return "done"

    STEP["step"] = step
    async with Engine("memory://", [run_step, step]) as engine:
        handle = await engine.start(run_step("step"), id="r")
        while (await handle.describe()).status != "retrying":
            await asyncio.sleep(0)
        await handle.retry()

        assert await handle.result() == "done"
