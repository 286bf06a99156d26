"""An attempt that the code of a worker could not make waits for workers with other code, and for nothing else."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, Worker, activity, workflow
from perdure.client.handle import Handle
from perdure.kernel.events import Failure
from perdure.kernel.messages import AttemptEnded
from perdure.stores.base import Batch, Ending, Want
from perdure.stores.faults import Moment
from perdure.stores.memory import MemoryStore, Shelf

calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


@pytest.fixture(params=["memory", "sqlite"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{tmp_path}" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"


def broken() -> Any:
    @activity(queue="gpu")
    async def render() -> str:
        calls.append("broken")
        raise NameError("name 'pixle' is not defined")

    return render


def broken_otherwise() -> Any:
    @activity(queue="gpu")
    async def render() -> str:
        calls.append("broken otherwise")
        raise TypeError("'NoneType' object is not callable")

    return render


def mended() -> Any:
    @activity(queue="gpu")
    async def render() -> str:
        calls.append("mended")
        return "done"

    return render


@activity(queue="gpu")
async def other() -> None: ...


RENDER = broken()


@workflow
async def picture() -> str:
    return await RENDER()


@workflow
async def picture_and_more() -> str:
    more = asyncio.ensure_future(endless())
    done = await RENDER()
    more.cancel()
    return done


@activity
async def endless() -> None:
    await asyncio.Event().wait()


ENGINE = [picture, picture_and_more, RENDER, endless, other]


def worker(address: Any, *activities: Any, **options: Any) -> Worker:
    return Worker(address, activities, queues=["gpu"], **options)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


async def until_held(handle: Handle[Any], attempt: int = 1) -> None:
    while True:
        step = next(step for step in (await handle.describe()).steps if step.name == "render")
        if step.state == "held" and step.attempts_total == attempt:
            return
        await asyncio.sleep(0.01)


async def outcome(handle: Handle[Any]) -> Any:
    """The result; of a run that is held, once it is not any more."""
    while (await handle.describe()).status == "held":
        await asyncio.sleep(0.01)
    return await handle.result()


async def test_a_worker_with_mended_code_goes_on_with_what_other_code_holds(address: str):
    async with Engine(address, ENGINE) as engine:
        async with worker(address, broken()):
            handle = await engine.start(picture(), id="p")
            await until_held(handle)
        async with worker(address, mended()):
            assert await outcome(handle) == "done"

    assert calls == ["broken", "mended"]


async def test_so_it_does_while_the_run_is_busy_with_something_else(address: str):
    async with Engine(address, ENGINE) as engine:
        async with worker(address, broken()):
            handle = await engine.start(picture_and_more(), id="p")
            await until_held(handle)
        assert (await handle.describe()).status == "running"
        async with worker(address, mended()):
            assert await outcome(handle) == "done"


async def test_the_same_code_started_again_does_not_try_again_nor_does_one_for_another_activity(address: str):
    async with Engine(address, ENGINE) as engine:
        async with worker(address, broken()):
            handle = await engine.start(picture(), id="p")
            await until_held(handle)
        async with worker(address, broken()), worker(address, other):
            assert await engine.run(sentinel()) is None
        assert (await handle.describe()).steps[0].state == "held"

    assert calls == ["broken"]


@workflow
async def sentinel() -> None:
    """By its end the owner has heard of the workers there are."""
    await other()


ENGINE.append(sentinel)


async def test_an_engine_with_other_code_leaves_it_to_the_workers(address: str):
    async with Engine(address, ENGINE) as engine, worker(address, broken()):
        await until_held(await engine.start(picture(), id="p"))
    async with Engine(address, [picture, mended()]) as engine:
        handle = engine.handle("p")
        assert (await handle.describe()).status == "held"
        async with worker(address, mended()):
            assert await outcome(handle) == "done"

    assert calls == ["broken", "mended"]


async def test_an_engine_that_serves_the_queue_itself_brings_its_own_code(address: str):
    async with Engine(address, ENGINE, queues=["gpu"]) as engine:
        await until_held(await engine.start(picture(), id="p"))
    async with Engine(address, [picture, mended()], queues=["gpu"]) as engine:
        assert await outcome(engine.handle("p")) == "done"


async def test_workers_that_came_while_no_engine_ran_are_new_to_the_next_one(address: str):
    async with Engine(address, ENGINE) as engine, worker(address, broken()):
        await until_held(await engine.start(picture(), id="p"))
    async with worker(address, mended()), Engine(address, ENGINE) as engine:
        assert await outcome(engine.handle("p")) == "done"

    assert calls == ["broken", "mended"]


async def test_when_the_last_worker_with_the_code_that_failed_is_gone_the_others_go_on(address: str):
    """They came too early: then there was nothing to release, or it fell into the same hands again."""
    gate = threading.Event()

    @activity(queue="gpu")
    def render() -> str:
        BEGAN.set()
        gate.wait()
        raise NameError("late")

    BEGAN.clear()
    async with Engine(address, ENGINE) as engine, AsyncExitStack() as stack:
        old = await stack.enter_async_context(worker(address, render))
        handle = await engine.start(picture(), id="p")
        await asyncio.to_thread(BEGAN.wait, 300)
        async with worker(address, mended()):
            await until(lambda: len(engine.store.views.workers()) == 2)
            await engine.run(sentinel_of_the_engine())
            gate.set()
            await until_held(handle)
            assert calls == []
            old.stop()
            await stack.aclose()

            assert await outcome(handle) == "done"


BEGAN = threading.Event()


@workflow
async def sentinel_of_the_engine() -> None:
    await nothing()


@activity
async def nothing() -> None: ...


ENGINE += [sentinel_of_the_engine, nothing]


async def test_the_last_word_of_a_worker_that_leaves_does_not_come_too_late_for_the_others():
    """Its attempt fails by its code while it goes: the owner hears of both at once, so that when the worker is seen to be
    gone nothing is held yet."""
    async with Engine("memory://", ENGINE) as engine:
        handle, tasks = await engine.start(picture(), id="p"), engine.store.tasks
        old, _ = (tasks.join("here", 1, build, 1, ["gpu"], ["render"]) for build in ("old", "new"))
        (task,) = tasks.exchange(old, [], ["gpu"], [Want(("render",), 1)], 1).tasks
        engine.store.post.nudge()
        await engine.run(sentinel_of_the_engine())

        bug = AttemptEnded(task.step, 1, old, 1, failure=Failure("NameError", "x", is_bug=True), build="old")
        tasks.exchange(old, [Ending(bug, task.run)], (), (), 1)
        tasks.leave(old)
        engine.store.post.nudge()

        await until(lambda: tasks.waiting(["gpu"]) == ["render"])
        (step,) = (await handle.describe()).steps
    assert (step.state, len(step.attempts)) == ("scheduled", 1)


async def test_two_codes_that_both_fail_do_not_throw_it_back_and_forth(address: str):
    async with Engine(address, ENGINE) as engine, worker(address, broken()):
        handle = await engine.start(picture(), id="p")
        await until_held(handle)
        async with worker(address, broken_otherwise()):
            await until_held(handle, attempt=2)
            for _ in range(3):
                engine.store.post.nudge()
                await engine.run(sentinel_of_the_engine())

            assert (await handle.describe()).steps[0].attempts_total == 2


async def test_an_owner_that_dies_before_it_is_written_leaves_it_to_the_next(tmp_path: Path):
    shelf, refuse = Shelf(), threading.Event()

    def faults(moment: Moment, batch: Batch) -> Any:
        return "full" if refuse.is_set() and moment == "before" else None

    async with worker(MemoryStore(shelf=shelf), broken()), Engine(MemoryStore(shelf=shelf), ENGINE) as engine:
        await until_held(await engine.start(picture(), id="p"))
    refuse.set()
    async with worker(MemoryStore(shelf=shelf), mended()):
        dying = Engine(MemoryStore(shelf=shelf, faults=faults), ENGINE)
        with pytest.raises(Exception, match="the engine has stopped"):
            async with dying:
                await dying.serve()
        async with Engine(MemoryStore(shelf=shelf), ENGINE) as engine:
            assert await outcome(engine.handle("p")) == "done"

    assert calls == ["broken", "mended"]
