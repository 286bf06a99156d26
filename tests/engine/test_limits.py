"""The four time limits of an activity, its heartbeats, at most once, and cancellation that reaches plain functions."""

import asyncio
import threading
import time
from typing import Any

import pytest

from perdure import (
    ActivityFailed,
    ActivityTimedOut,
    DefinitionError,
    Engine,
    OutcomeUnknown,
    Retry,
    RunBlocked,
    RunFailed,
    activity,
    workflow,
)
from perdure.errors import PayloadTooLarge
from tests.engine.clocks import HOUR_NS, StandingClock, Stepped
from tests.engine.test_attempts import kinds, lived, states

QUICK = Retry(initial=0.001, maximum=0.001)
PATIENCE_SECONDS = 300
"""How long to wait for what must happen."""


async def reason(step: Any, **options: Any) -> str:
    """Why the activity of a run has failed."""
    _, history = await lived(step, until="failed", **options)
    (failed,) = [event for event in history if event["type"] == "ActivityFailed"]
    return failed["reason"]


@workflow
async def caught() -> list[Any]:
    """What a workflow sees when its step runs out of time."""
    try:
        return [await TRIED[0]()]
    except ActivityTimedOut as error:
        return [error.kind, error.attempts, error.heartbeat_details, str(error.__cause__.__cause__ or "")]


TRIED: list[Any] = []


async def seen(step: Any, **options: Any) -> list[Any]:
    TRIED[:] = [step]
    async with Engine("memory://", [caught, step], **options) as engine:
        return await engine.run(caught())


async def test_schedule_to_close_bounds_all_attempts_and_names_the_last_failure():
    clock = StandingClock()

    @activity(schedule_to_close=0.2, retry=Retry(initial=0))
    async def step() -> None:
        if activity.info().attempt > 2:
            clock.time += HOUR_NS
            await asyncio.Event().wait()
        raise ConnectionError("down")

    kind, attempts, _, cause = await seen(step, world=clock)

    assert (kind, attempts) == ("schedule-to-close", 3)
    assert cause == "ConnectionError: down"


async def test_an_attempt_that_runs_when_schedule_to_close_ends_is_cancelled():
    cancelled, clock = asyncio.Event(), StandingClock()

    @activity(schedule_to_close=0.02)
    async def step() -> None:
        clock.time += HOUR_NS
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    assert await reason(step, world=clock) == "schedule-to-close"
    await cancelled.wait()


async def test_no_attempt_is_waited_for_that_would_begin_after_schedule_to_close():
    @activity(schedule_to_close="1h", retry=Retry(initial="2h", maximum="2h"))
    async def step() -> None:
        raise ConnectionError("down")

    description, history = await lived(step, until="failed")

    assert [event["reason"] for event in history if event["type"] == "ActivityFailed"] == ["no-time"]
    assert states(description.steps[0]) == ["failed"]
    assert "ConnectionError: down" in description.note


async def test_schedule_to_close_goes_on_while_a_bug_holds_the_attempt():
    @activity(schedule_to_close=0.05)
    async def step() -> None:
        raise NameError("a bug")

    assert await reason(step) == "schedule-to-close"


async def test_an_attempt_that_finds_no_slot_in_time_is_not_tried_again():
    release = threading.Event()

    @activity
    def busy() -> None:
        release.wait()

    @activity(schedule_to_start=0.02, retry=9)
    def step() -> None: ...

    @workflow
    async def both() -> str:
        taken = asyncio.create_task(asyncio.wait_for(busy(), 60))
        await asyncio.sleep(0)
        try:
            await step()
        except ActivityTimedOut as error:
            return error.kind
        finally:
            taken.cancel()
        return "ran"

    async with Engine("memory://", [both, busy, step], threads=1) as engine:
        kind = await engine.run(both())
        release.set()

    assert kind == "schedule-to-start"


async def test_schedule_to_start_does_not_count_while_an_attempt_runs():
    @activity(schedule_to_start=0.02)
    async def step() -> str:
        await asyncio.sleep(0.1)
        return "late, but begun in time"

    description, _ = await lived(step)

    assert description.result == "late, but begun in time"


async def test_silence_ends_an_attempt_and_the_next_one_finds_the_details():
    world = Stepped()

    @activity(heartbeat=0.05, retry=QUICK)
    async def step() -> Any:
        if activity.info().attempt == 1:
            activity.heartbeat({"done": 41})
            world.seconds += 1
            await asyncio.Event().wait()
        return activity.info().heartbeat_details

    description, _ = await lived(step, world=world)

    assert description.result == {"done": 41}
    assert states(description.steps[0]) == ["timed out", "completed"]


async def test_heartbeats_keep_an_attempt_alive():
    world = Stepped()

    @activity(heartbeat=0.1)
    async def step() -> int:
        for _ in range(8):
            await asyncio.sleep(0.03)
            world.seconds += 0.06
            activity.heartbeat()
        return activity.info().attempt

    description, _ = await lived(step, world=world)

    assert description.result == 1


async def test_the_details_of_a_failed_attempt_reach_the_next_and_are_kept_over_attempts_without_any():
    @activity(retry=QUICK)
    async def step() -> Any:
        if activity.info().attempt == 1:
            activity.heartbeat(["page", 7])
        if activity.info().attempt < 4:
            raise ConnectionError("down")
        return activity.info().heartbeat_details

    description, _ = await lived(step)

    assert description.result == ["page", 7]


async def test_the_workflow_sees_the_last_details_of_an_attempt_that_fell_silent():
    world = Stepped()

    @activity(heartbeat=0.02, retry=1)
    async def step() -> None:
        activity.heartbeat(3)
        world.seconds += 1
        await asyncio.Event().wait()

    assert (await seen(step, world=world))[:3] == ["heartbeat", 1, 3]


async def test_details_that_are_too_large_are_refused_where_they_are_given():
    @activity
    async def step() -> str:
        try:
            activity.heartbeat("x" * 70_000)
        except PayloadTooLarge as error:
            return str(error)
        return "taken"

    description, _ = await lived(step)

    assert "at most 65,536 are kept" in description.result


async def test_an_exception_ends_an_activity_that_is_tried_once():
    @activity(at_most_once=True)
    async def step() -> None:
        raise ConnectionError("down")

    assert await reason(step) == "failed"


async def test_a_bug_does_not_hold_an_activity_that_is_tried_once():
    @activity(at_most_once=True)
    async def step() -> None:
        raise NameError("a bug")

    assert await reason(step) == "failed"


async def test_the_outcome_of_what_is_tried_once_and_runs_out_of_time_is_unknown():
    @activity(at_most_once=True, timeout=0.02)
    async def step() -> None:
        await asyncio.Event().wait()

    @workflow
    async def ask() -> str:
        try:
            await step()
        except OutcomeUnknown as error:
            return f"unknown: {error.message}"
        return "known"

    async with Engine("memory://", [ask, step]) as engine:
        assert await engine.run(ask()) == "unknown: no end after 0.02 s"


async def test_a_plain_function_learns_of_its_cancellation_from_its_heartbeat():
    heard: list[str] = []
    ended, world = threading.Event(), Stepped()

    @activity(timeout=0.02, retry=1)
    def step() -> None:
        world.seconds += 1
        try:
            while True:
                time.sleep(0.005)
                activity.heartbeat()
        except asyncio.CancelledError as error:
            heard.append(f"{activity.cancelled()}: {error}")
            raise
        finally:
            ended.set()

    assert await reason(step, world=world) == "timeout"
    assert ended.wait(PATIENCE_SECONDS)
    assert heard == ["True: the activity was cancelled, or its time has run out: its result is not wanted"]


async def test_a_plain_function_may_ask_whether_it_is_cancelled():
    ended, clock = threading.Event(), StandingClock()

    @activity
    def step() -> None:
        clock.time += HOUR_NS
        while not activity.cancelled():
            time.sleep(0.002)
        ended.set()

    @workflow
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.02):
                await step()
        except TimeoutError:
            return "gave up"
        return "waited"

    async with Engine("memory://", [impatient, step], world=clock) as engine:
        assert await engine.run(impatient()) == "gave up"
        assert await asyncio.to_thread(ended.wait, PATIENCE_SECONDS)


async def test_a_result_that_comes_after_the_grace_period_is_refused_and_the_slot_was_free_before(caplog: Any):
    release = threading.Event()
    ended, world = threading.Event(), Stepped()

    @activity(timeout=0.02, retry=1)
    def stuck() -> str:
        while not release.wait(0.01):
            world.seconds += 1
        ended.set()
        return "too late"

    @activity
    def quick() -> str:
        return "had the slot"

    @workflow
    async def two() -> list[str]:
        try:
            first = await stuck()
        except ActivityTimedOut:
            first = "timed out"
        return [first, await quick()]

    async with Engine("memory://", [two, stuck, quick], threads=1, grace=0.02, world=world) as engine:
        assert await engine.run(two()) == ["timed out", "had the slot"]
        release.set()
        assert await asyncio.to_thread(ended.wait, PATIENCE_SECONDS)
    assert "does not end, although nobody wants its result any more; its slot is free again" in caplog.text


async def test_the_number_of_threads_that_hang_has_a_bound(caplog: Any):
    release, world = threading.Event(), Stepped()

    @activity(timeout=0.02, retry=1)
    def stuck() -> None:
        while not release.wait(0.01):
            world.seconds += 1

    @workflow
    async def many() -> int:
        outcomes = await asyncio.gather(*[stuck() for _ in range(4)], return_exceptions=True)
        return sum(isinstance(outcome, ActivityTimedOut) for outcome in outcomes)

    async with Engine("memory://", [many, stuck], threads=1, grace=0.02, drain=0, world=world) as engine:
        handle = await engine.start(many())
        while "too many hang already" not in caplog.text:
            await asyncio.sleep(0.01)
        hanging = sum(thread.name.startswith("perdure-activity") for thread in threading.enumerate())
        release.set()
        await handle.result()

    assert hanging == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout": 0}, "timeout must be longer than nothing, not 0"),
        ({"heartbeat": "0s"}, "heartbeat must be longer than nothing, not '0s'"),
        ({"schedule_to_close": -1}, "schedule_to_close: a duration is at least 0"),
        (
            {"timeout": "2m", "schedule_to_close": "1m"},
            "timeout (120 s) would never be reached, as schedule_to_close is shorter (60 s)",
        ),
        (
            {"heartbeat": "2m", "timeout": "1m"},
            "heartbeat (120 s) would never be reached, as timeout is shorter (60 s)",
        ),
        ({"schedule_to_start": 9, "schedule_to_close": 3}, "schedule_to_start (9 s) would never be reached"),
        ({"at_most_once": True, "retry": 3}, "at_most_once allows one attempt, and retry asks for 3"),
        ({"at_most_once": "yes"}, "at_most_once is True or False, not 'yes'"),
        ({"queue": ""}, "a queue is named by a text of 1 to 100 printable characters, not ''"),
        ({"queue": 7}, "a queue is named by a text"),
    ],
)
def test_options_that_make_no_sense_or_contradict_each_other_are_refused(options: dict[str, Any], told: str):
    with pytest.raises(DefinitionError) as refused:

        @activity(**options)
        def step() -> None: ...

    assert told in str(refused.value)


def test_options_of_one_call_are_checked_against_those_of_the_definition():
    @activity(schedule_to_close="1m")
    def step() -> None: ...

    with pytest.raises(DefinitionError, match="call of activity step: timeout"):
        step().take().with_options(timeout="2m")
    with pytest.raises(DefinitionError, match="at_most_once allows one attempt, and retry asks for any number of"):
        step().take().with_options(at_most_once=True, retry=Retry())


async def test_a_step_that_holds_when_it_is_exhausted_waits_for_somebody_and_gets_all_attempts_anew():
    from msgspec import structs

    from perdure.options import Options

    tries: list[int] = []

    @activity(retry=Retry(initial=0.001, max_attempts=2))
    async def step() -> str:
        tries.append(activity.info().attempt)
        if len(tries) < 4:
            raise ConnectionError("down")
        return "at last"

    policy = structs.replace(step.default.policy, exhausted="hold")  # type: ignore[type-var]
    step.default = Options(None, policy, None)
    TRIED[:] = [step]
    async with Engine("memory://", [caught, step]) as engine:
        handle = await engine.start(caught(), id="r")
        with pytest.raises(RunBlocked, match="held"):
            await handle.result()
        held = await handle.describe()
        await handle.retry()

        assert await handle.result() == ["at last"]
    assert held.status == "held"
    assert held.note == "step held: ConnectionError: down"
    assert tries == [1, 2, 3, 4]


def test_what_an_attempt_may_ask_is_refused_elsewhere():
    for ask in (activity.heartbeat, activity.cancelled, activity.token, activity.complete_later):
        with pytest.raises(DefinitionError, match="is known only in an activity that an engine runs"):
            ask()


async def test_a_heartbeat_after_the_end_of_its_attempt_does_no_harm():
    went_on = threading.Event()
    threads: list[threading.Thread] = []

    @activity
    def step() -> str:
        import contextvars

        def later() -> None:
            threading.Event().wait(0.05)
            activity.heartbeat("too late")
            went_on.set()

        thread = threading.Thread(target=contextvars.copy_context().run, args=(later,))
        threads.append(thread)
        thread.start()
        return "done"

    _, history = await lived(step)
    assert await asyncio.to_thread(went_on.wait, PATIENCE_SECONDS)

    assert kinds(history) == ["RunStarted", "ActivityScheduled", "ActivityCompleted", "RunCompleted"]


async def test_failures_of_unknown_kind_stay_what_they_were():
    @activity(retry=1)
    async def step() -> None:
        raise ValueError("bad")

    TRIED[:] = [step]
    async with Engine("memory://", [caught, step]) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(caught())
    assert ActivityFailed.__name__ in str(failed.value.__cause__)
