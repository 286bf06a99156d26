"""Activities of named queues: workers take them, bring their ends, die, are taken for dead."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    ActivityFailed,
    ActivityTimedOut,
    DefinitionError,
    Engine,
    OutcomeUnknown,
    Retry,
    Worker,
    activity,
    workflow,
)
from perdure.runtime.world import World

QUICK = Retry(initial=0.001, maximum=0.001)


@activity(queue="gpu", retry=QUICK)
async def render(n: int) -> str:
    return f"{n} by {activity.info().queue}, attempt {activity.info().attempt}"


@activity(queue="gpu", retry=QUICK)
def render_in_thread(n: int) -> str:
    return f"{n} in a thread"


@activity(queue="gpu", retry=QUICK)
async def shaky(n: int) -> int:
    if activity.info().attempt < 3:
        activity.heartbeat({"tried": activity.info().attempt})
        raise ConnectionError("not yet")
    return activity.info().heartbeat_details["tried"]


@activity(queue="gpu")
async def swell(size: int) -> str:
    return "x" * size


@activity(queue="gpu", retry=QUICK)
async def hang() -> str:
    activity.heartbeat("began")
    BEGAN.set()
    if activity.info().attempt == 1:
        await asyncio.Event().wait()
    return f"attempt {activity.info().attempt}, after {activity.info().heartbeat_details}"


BEGAN = threading.Event()


@workflow
async def picture(n: int) -> str:
    return await render(n)


@workflow
async def pictures(count: int) -> list[str]:
    return list(await asyncio.gather(*[render(n) for n in range(count)]))


@workflow
async def call(name: str, argument: Any = None, options: dict[str, Any] | None = None) -> Any:
    """Awaits any activity, and tells how it failed."""
    step = {each.name: each for each in ACTIVITIES}[name]
    made = step() if argument is None else step(argument)
    try:
        return await (made.with_options(**options) if options else made)
    except ActivityTimedOut as error:
        return f"timed out: {error.kind}"
    except OutcomeUnknown:
        return "unknown"
    except ActivityFailed as error:
        return f"{error.type}: {error.message}"


ACTIVITIES = [render, render_in_thread, shaky, swell, hang]
ALL = [picture, pictures, call, *ACTIVITIES]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("database")
    return f"memory://{tmp_path}" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture(autouse=True)
def _fresh() -> None:
    BEGAN.clear()


async def until_it_began() -> None:
    assert await asyncio.to_thread(BEGAN.wait, 300)


async def test_a_worker_runs_what_its_queue_holds(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"]):
        assert await engine.run(picture(7)) == "7 by gpu, attempt 1"
        assert await engine.run(call("render_in_thread", 8)) == "8 in a thread"


async def test_a_task_waits_for_a_worker_and_says_so(address: str):
    async with Engine(address, ALL) as engine:
        handle = await engine.start(picture(7), id="r")
        waiting = await handle.describe()
        async with Worker(address, ACTIVITIES, queues=["gpu"]):
            assert await handle.result() == "7 by gpu, attempt 1"

    assert (waiting.status, waiting.note) == ("waiting", "render on queue gpu")
    assert waiting.steps[0].state == "scheduled"


async def test_who_took_a_task_is_told(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"], drain=0):
        handle = await engine.start(call("hang"), id="r")
        await until_it_began()
        (step,) = (await handle.describe()).steps
        await handle.terminate()

    assert step.state == "running"
    assert step.queue == "gpu"
    assert step.attempts[-1].state == "running"
    assert step.attempts[-1].worker is not None


async def test_an_engine_may_serve_queues_itself(address: str):
    async with Engine(address, ALL, queues=["gpu"]) as engine:
        assert await engine.run(picture(7)) == "7 by gpu, attempt 1"


@pytest.mark.parametrize(("count", "told"), [(2, False), (3, True)])
async def test_what_the_engine_s_own_worker_can_take_is_told_to_nobody_else(
    address: str, monkeypatch: pytest.MonkeyPatch, count: int, told: bool
):
    async with (
        Worker(address, ACTIVITIES, queues=["gpu"]),
        Engine(address, ALL, queues=["gpu"], concurrency=2) as engine,
    ):
        while len(engine.store.views.workers()) < 2:
            await asyncio.sleep(0.01)
        nudges: list[set[int]] = []
        nudge = engine.store.tasks.nudge
        monkeypatch.setattr(engine.store.tasks, "nudge", lambda members: (nudges.append({*members}), nudge(members)))

        assert len(await engine.run(pictures(count))) == count

        assert bool(nudges) is told


async def test_other_queues_are_left_alone(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["cpu"]):
        handle = await engine.start(call("render", 1), id="r")
        assert await engine.run(call("render", 2, {"queue": "cpu"})) == "2 by cpu, attempt 1"

        assert (await handle.describe()).steps[0].state == "scheduled"


async def test_only_workers_that_could_take_a_task_are_woken_for_it():
    heard: list[str] = []
    async with Engine("memory://", [*ALL, nothing]) as engine:
        tasks = engine.store.tasks
        for queue, name in (("gpu", "render"), ("gpu", "swell"), ("cpu", "render")):
            member = tasks.join("here", 1, "b", 1, [queue], [name])
            tasks.listen(member, lambda who=f"{name} of {queue}": heard.append(who))
        engine.store.post.nudge()
        await engine.run(nothing())  # by its end the owner has heard of them

        await engine.start(picture(7), id="r")
        while not heard:
            await asyncio.sleep(0.001)

    assert heard == ["render of gpu"]


@workflow
async def nothing() -> None: ...


async def test_a_fan_out_is_shared_and_comes_together(address: str):
    async with (
        Engine(address, ALL) as engine,
        Worker(address, ACTIVITIES, queues=["gpu"], concurrency=7),
        Worker(address, ACTIVITIES, queues=["gpu"], concurrency=7),
    ):
        got = await engine.run(pictures(300))

    assert got == [f"{n} by gpu, attempt 1" for n in range(300)]


async def test_failures_are_retried_with_the_details_of_the_last_heartbeat(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"]):
        assert await engine.run(call("shaky", 1), id="r") == 2
        attempts = (await engine.handle("r").describe()).steps[0].attempts

    assert [attempt.state for attempt in attempts] == ["failed", "failed", "completed"]


async def test_large_results_are_kept_apart(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"]):
        assert await engine.run(call("swell", 200_000)) == "x" * 200_000


async def test_what_a_worker_that_is_closed_has_not_ended_is_tried_again_with_its_details(address: str):
    async with Engine(address, ALL) as engine:
        async with Worker(address, ACTIVITIES, queues=["gpu"], drain=0):
            handle = await engine.start(call("hang"), id="r")
            await until_it_began()
        async with Worker(address, ACTIVITIES, queues=["gpu"]):
            assert await handle.result() == "attempt 2, after began"

    attempts = (await after(address)).steps[0].attempts
    assert [attempt.state for attempt in attempts] == ["lost", "completed"]


async def after(address: str) -> Any:
    async with Engine(address, ALL) as engine:
        return await engine.handle("r").describe()


async def test_a_time_limit_holds_in_the_worker(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"]):
        assert await engine.run(call("hang", None, {"timeout": 0.05, "retry": 1})) == "timed out: start-to-close"


async def test_silence_ends_an_attempt_in_the_worker(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"]):
        assert await engine.run(call("hang", None, {"heartbeat": 0.05, "retry": 1})) == "timed out: heartbeat"


async def test_a_task_that_nobody_takes_in_time_is_given_up(address: str):
    async with Engine(address, ALL) as engine:
        got = await engine.run(call("render", 1, {"schedule_to_start": 0.05}))

        assert got == "timed out: schedule-to-start"
        assert engine.store.views.backlog() == []


async def test_schedule_to_start_does_not_count_once_a_worker_has_the_task(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"], drain=0):
        handle = await engine.start(call("hang", None, {"schedule_to_start": "1h"}), id="r")
        await until_it_began()
        while (await handle.describe()).wake_at is not None:
            await asyncio.sleep(0.01)
        state = (await handle.describe()).steps[0].state
        await handle.terminate()

    assert state == "running"


async def test_schedule_to_close_ends_a_step_in_a_queue_and_its_worker_gives_it_up(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"], concurrency=1):
        assert await engine.run(call("hang", None, {"schedule_to_close": 0.3})) == "timed out: schedule-to-close"
        assert await engine.run(picture(1)) == "1 by gpu, attempt 1"


async def test_cancelling_the_run_frees_the_worker(address: str):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"], concurrency=1):
        handle = await engine.start(call("hang"), id="r")
        await until_it_began()
        await handle.terminate("enough")

        assert await engine.run(picture(1)) == "1 by gpu, attempt 1"
        assert engine.store.views.backlog() == []


async def test_a_worker_that_is_stopped_takes_nothing_from_that_moment_on_be_it_in_a_round(address: str):
    async with Worker(address, ALL, queues=["gpu"]) as worker:
        member: Any = worker._member
        worker.stop()

        assert member._work._slots.closed


class Stopping(World):
    """From some moment on no second passes on its clock."""

    stopped_at: float | None = None

    def stop(self) -> None:
        self.stopped_at = self.monotonic()

    def monotonic(self) -> float:
        return super().monotonic() if self.stopped_at is None else self.stopped_at


async def test_a_worker_that_ends_does_not_wait_for_what_nobody_wants_any_more(address: str):
    """On a clock that stands it would wait for ever."""
    world = Stopping()
    async with Engine(address, ALL) as engine:
        async with Worker(address, ACTIVITIES, queues=["gpu"], world=world):
            handle = await engine.start(call("hang"), id="r")
            await until_it_began()
            world.stop()
            await handle.terminate("enough")

        assert engine.store.views.workers() == []


async def test_a_worker_that_is_taken_for_dead_loses_its_tasks_and_joins_again(
    address: str, caplog: pytest.LogCaptureFixture
):
    async with Engine(address, ALL) as engine, Worker(address, ACTIVITIES, queues=["gpu"]) as worker:
        handle = await engine.start(call("hang"), id="r")
        await until_it_began()
        while (await handle.describe()).steps[0].heartbeat_details is None:
            await asyncio.sleep(0.01)
        (row,) = engine.store.views.workers()
        engine.store.tasks.bury(row.member)

        assert await handle.result() == "attempt 2, after began"
        (again,) = engine.store.views.workers()
    assert again.member > row.member
    assert worker is not None
    assert "taken for dead" in caplog.text


async def test_a_step_tried_at_most_once_ends_as_unknown_when_its_worker_is_gone(address: str):
    async with Engine(address, ALL) as engine:
        async with Worker(address, ACTIVITIES, queues=["gpu"], drain=0):
            handle = await engine.start(call("hang", None, {"at_most_once": True, "retry": None}), id="r")
            await until_it_began()

        assert await handle.result() == "unknown"


async def test_a_worker_without_the_code_leaves_the_task_and_says_so(address: str, caplog: pytest.LogCaptureFixture):
    async with Engine(address, ALL) as engine:
        handle = await engine.start(picture(1), id="r")
        async with Worker(address, [swell], queues=["gpu"]):
            while "was not given its code" not in caplog.text:
                await asyncio.sleep(0.01)
        async with Worker(address, [render], queues=["gpu"]):
            assert await handle.result() == "1 by gpu, attempt 1"

    assert "tasks of activity 'render' wait in gpu" in caplog.text


async def test_tasks_outlive_the_engine_that_made_them(address: str):
    async with Engine(address, ALL) as engine:
        await engine.start(picture(1), id="r")
    async with Worker(address, ACTIVITIES, queues=["gpu"]), Engine(address, ALL) as engine:
        assert await engine.handle("r").result() == "1 by gpu, attempt 1"


async def test_a_result_that_comes_while_no_engine_runs_is_kept(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL) as engine:
        await engine.start(picture(1), id="r")
    async with Worker(address, ACTIVITIES, queues=["gpu"]) as worker:
        while worker._store.views.backlog():
            await asyncio.sleep(0.01)
    async with Engine(address, ALL) as engine:
        assert await engine.handle("r").result() == "1 by gpu, attempt 1"
        assert engine.store.admin.check() == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"queues": []}, "it serves at least one queue"),
        ({"queues": "gpu"}, "queues is a list of names, not 'gpu'; write: queues=[\"gpu\"]"),
        ({"queues": [""]}, "a queue is named by a text"),
        ({"queues": ["gpu"], "concurrency": 0}, "concurrency must be a whole number from 1 on"),
        ({"queues": ["gpu"], "grace": -1}, "Worker: grace: a duration is at least 0"),
    ],
)
def test_a_worker_that_makes_no_sense_is_refused(options: dict[str, Any], told: str):
    with pytest.raises(DefinitionError) as refused:
        Worker("memory://", ACTIVITIES, **options)

    assert told in str(refused.value)


def test_a_worker_without_activities_is_refused():
    with pytest.raises(DefinitionError, match="no activity among its definitions"):
        Worker("memory://", [picture], queues=["gpu"])
