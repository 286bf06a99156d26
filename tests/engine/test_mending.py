"""What a bug has blocked or held goes on when mended code is started, or when somebody says so; nobody waits in vain."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from perdure import ActivityFailed, Client, Engine, Retry, RunBlocked, activity, workflow
from perdure.stores.base import Batch
from perdure.stores.faults import Moment
from perdure.stores.memory import MemoryStore

calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


@activity
async def noted(what: str) -> str:
    calls.append(what)
    return what


def broken_workflow() -> list[Any]:
    @workflow
    async def order() -> str:
        got = await noted("charge")
        return got + undefined_name  # type: ignore[name-defined]  # noqa: F821

    return [order, noted]


def mended_workflow() -> list[Any]:
    @workflow
    async def order() -> str:
        got = await noted("charge")
        return got + "d"

    return [order, noted]


def broken_activity(limit: int | None = None) -> list[Any]:
    @activity(retry=limit)
    async def step() -> str:
        calls.append("broken")
        raise NameError("name 'chargee' is not defined")

    return [step, stepping(step)]


def mended_activity() -> list[Any]:
    @activity(retry=1)
    async def step() -> str:
        calls.append("mended")
        return "done"

    return [step, stepping(step)]


def stepping(step: Any) -> Any:
    @workflow
    async def order() -> str:
        return await step()

    return order


def test_a_bug_blocks_the_run_with_its_traceback_and_a_next_step(address: str):
    with Engine(address, broken_workflow()) as engine, pytest.raises(RunBlocked) as blocked:
        engine.run("order", id="o").wait()

    message = str(blocked.value)
    assert message.startswith(f"run 'o' is blocked at {__file__}:")
    assert "NameError: name 'undefined_name' is not defined" in message
    assert "hint: mend the code and start it again" in message
    assert "return got + undefined_name" in blocked.value.__cause__.__notes__[0]  # type: ignore[union-attr]


def test_mended_code_continues_a_blocked_run_and_repeats_no_step(address: str):
    with Engine(address, broken_workflow()) as engine, pytest.raises(RunBlocked):
        engine.run("order", id="o").wait()
    with Engine(address, mended_workflow()) as engine:
        result = engine.run("order", id="o").wait()

    assert result == "charged"
    assert calls == ["charge"]


def test_a_result_asked_for_at_once_waits_for_the_mended_code(address: str):
    with Engine(address, broken_workflow()) as engine:
        for n in range(30):
            with pytest.raises(RunBlocked):
                engine.run("order", id=f"o-{n}").wait()
    with Engine(address, mended_workflow()) as engine:
        results = [engine.handle(f"o-{n}").result().wait() for n in reversed(range(30))]

    assert results == ["charged"] * 30


def test_the_same_code_started_again_does_not_try_again(address: str):
    for _ in range(2):
        with Engine(address, broken_workflow()) as engine, pytest.raises(RunBlocked, match="undefined_name"):
            engine.run("order", id="o").wait()

    with Engine(address, broken_workflow()) as engine:
        assert [event["type"] for event in engine.handle("o").history().wait()] == [
            "RunStarted",
            "ActivityScheduled",
            "ActivityCompleted",
        ]


def test_a_retry_under_the_same_code_blocks_again(address: str):
    with Engine(address, broken_workflow()) as engine:
        with pytest.raises(RunBlocked):
            engine.run("order", id="o").wait()
        engine.handle("o").retry().wait()

        with pytest.raises(RunBlocked, match="undefined_name"):
            engine.handle("o").result().wait()
    assert calls == ["charge"]


def test_a_bug_holds_an_attempt_even_when_max_attempts_is_used_up(address: str):
    with Engine(address, broken_activity(limit=1)) as engine:
        with pytest.raises(RunBlocked) as held:
            engine.run("order", id="o").wait()
        status = engine.handle("o").describe().wait().status

    assert str(held.value) == (
        "run 'o' is held by a bug in activity step: NameError: name 'chargee' is not defined\n"
        "  hint: mend it and start again, or: perdure retry o"
    )
    assert status == "held"


def test_mended_code_releases_a_held_attempt(address: str):
    with Engine(address, broken_activity(limit=1)) as engine, pytest.raises(RunBlocked):
        engine.run("order", id="o").wait()
    with Engine(address, mended_activity()) as engine:
        result = engine.run("order", id="o").wait()

    assert result == "done"
    assert calls == ["broken", "mended"]


def test_a_held_attempt_does_not_count_against_the_policy(address: str):
    with Engine(address, broken_activity(limit=1)) as engine:
        for _ in range(3):
            with pytest.raises(RunBlocked):
                engine.run("order", id="o").wait()
            engine.handle("o").retry().wait()
        with pytest.raises(RunBlocked):
            engine.handle("o").result().wait()

    assert calls == ["broken"] * 4


@pytest.mark.parametrize(("bugs", "attempts"), [("fail", 1), ("retry", 2)])
async def test_an_activity_can_opt_out_of_being_held(bugs: str, attempts: int):
    @activity(retry=Retry(initial=0.001, max_attempts=2, bugs=bugs))
    async def step() -> None:
        raise TypeError("a bug")

    @workflow
    async def order() -> int:
        try:
            await step()
        except ActivityFailed as error:
            return error.attempts
        return 0

    async with Engine("memory://", [order, step]) as engine:
        assert await engine.run(order()) == attempts


async def test_a_run_with_something_else_to_move_it_is_not_at_rest_while_an_attempt_is_held():
    @activity
    async def broken() -> None:
        raise NameError("x")

    @workflow
    async def order() -> str:
        held = asyncio.ensure_future(broken())
        await asyncio.sleep(0.05)
        held.cancel()
        return "went on"

    async with Engine("memory://", [order, broken]) as engine:
        assert await engine.run(order()) == "went on"


async def test_a_release_whose_answer_cancels_a_waiting_step_leaves_nothing_of_it():
    """The step is due to be released together with the block, and is gone by then."""
    fix: list[bool] = []
    gate = asyncio.Event()

    @activity(retry=Retry(initial="1h", maximum="1h"))
    async def failing() -> None:
        raise ConnectionError("later")

    @activity
    async def go() -> None:
        await gate.wait()

    @workflow
    async def order() -> str:
        failed = asyncio.ensure_future(failing())
        await go()
        if not fix:
            raise NameError("not mended yet")
        failed.cancel()
        return "ended"

    async with Engine("memory://", [order, failing, go]) as engine:
        handle = await engine.start(order(), id="o")
        while not any(step.retry_at for step in (await handle.describe()).steps):
            await asyncio.sleep(0)
        gate.set()
        with pytest.raises(RunBlocked):
            await handle.result()
        fix.append(True)
        await handle.retry()

        assert await handle.result() == "ended"


async def test_a_queued_run_of_a_workflow_that_is_not_known_waits_for_an_engine_that_knows_it(address: str):
    async with Client(address, create=True) as client:
        await client.start("order", id="o")
    async with Engine(address, [noted]) as engine:
        with pytest.raises(RunBlocked) as blocked:
            await engine.handle("o").result()
    async with Engine(address, mended_workflow()) as engine:
        assert await engine.handle("o").result() == "charged"

    assert "the engine was not given the workflow 'order'; it knows none" in str(blocked.value)
    assert "hint: add it: Engine(..., [..., order])" in str(blocked.value)


async def test_an_activity_that_is_not_known_any_more_blocks_until_it_is(address: str):
    gate = asyncio.Event()

    @activity
    async def first() -> None:
        await gate.wait()

    @activity
    async def second() -> str:
        return "second"

    @workflow
    async def order() -> str:
        await first()
        return await second()

    async with Engine(address, [order, first, second], drain=0) as engine:
        await engine.start(order(), id="o")
    gate.set()
    async with Engine(address, [order, first]) as engine:
        with pytest.raises(RunBlocked) as blocked:
            await engine.handle("o").result()
    async with Engine(address, [order, first, second]) as engine:
        assert await engine.handle("o").result() == "second"

    assert "second" in str(blocked.value)
    assert "Engine(..., [..., second])" in str(blocked.value)


async def test_changed_code_is_told_apart_with_what_was_recorded_and_what_it_does_instead(address: str):
    @workflow(name="order")
    async def old() -> str:
        await noted("a")
        await asyncio.sleep(3600)
        return "old"

    @workflow(name="order")
    async def new() -> str:
        await asyncio.sleep(1)
        await noted("a")
        return "new"

    async with Engine(address, [old, noted]) as engine:
        await engine.start("order", id="o")
    async with Engine(address, [new, noted]) as engine:
        await engine.handle("o").cancel()
        with pytest.raises(RunBlocked) as blocked:
            await engine.handle("o").result()

    message = str(blocked.value)
    assert f"run 'o' is blocked at {__file__}:" in message
    assert "recorded activity noted [0:1], produced timer [0:1]" in message
    assert 'hint: keep the old way for old runs:  if patched("name-of-the-change"): ... else: ...' in message


class Held:
    """Holds the engine in its next commit, until it is let go, so that what comes meanwhile becomes one batch."""

    def __init__(self) -> None:
        self.wanted = False
        self.reached, self.let_go = threading.Event(), threading.Event()

    def __call__(self, moment: Moment, batch: Batch) -> None:
        if self.wanted and moment == "before":
            self.wanted = False
            self.reached.set()
            self.let_go.wait(300)


async def test_a_step_begun_in_the_batch_that_blocks_its_run_is_done_once_and_its_result_kept():
    held, fix = Held(), list[bool]()
    gate, passed = asyncio.Event(), asyncio.Semaphore(0)

    @activity
    async def early(name: str) -> None:
        await gate.wait()
        passed.release()

    @activity(retry=1)
    async def late() -> str:
        calls.append("late")
        return "late"

    @workflow
    async def order() -> str:
        async def then_late() -> str:
            await early("a")
            return await late()

        async def then_broken() -> str:
            await early("b")
            if not fix:
                raise NameError("not mended yet")
            return "mended"

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(then_late()), group.create_task(then_broken())]
        return " ".join(task.result() for task in tasks)

    async with Engine(MemoryStore(faults=held), [order, early, late, noted, noting]) as engine:
        handle = await engine.start(order(), id="o")
        held.wanted = True
        other = asyncio.ensure_future(engine.run(noting(), id="other"))
        await asyncio.to_thread(held.reached.wait)
        gate.set()
        for _ in range(2):
            await passed.acquire()
        await asyncio.sleep(0)
        held.let_go.set()
        await other
        with pytest.raises(RunBlocked):
            await handle.result()
        fix.append(True)
        await handle.retry()

        assert await handle.result() == "late mended"
    assert calls.count("late") == 1


@workflow
async def noting() -> str:
    return await noted("other")


async def test_a_result_that_comes_while_its_run_is_blocked_is_kept_for_the_mended_code(address: str):
    gate = asyncio.Event()

    @activity(retry=1)
    async def slow() -> str:
        calls.append("slow")
        await gate.wait()
        return "slow"

    def version(broken: bool) -> Any:
        @workflow
        async def order() -> str:
            waiting = asyncio.ensure_future(slow())
            await noted("quick")
            if broken:
                raise NameError("x")
            return await waiting

        return order

    async with Engine(address, [version(True), slow, noted]) as engine:
        with pytest.raises(RunBlocked):
            await engine.run("order", id="o")
        gate.set()
    async with Engine(address, [version(False), slow, noted]) as engine:
        assert await engine.handle("o").result() == "slow"
    assert sorted(calls) == ["quick", "slow"]
