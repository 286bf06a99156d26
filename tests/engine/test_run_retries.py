"""Runs that fail and are followed by another attempt: one commit ends the one and queues the other."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    DefinitionError,
    Engine,
    Retry,
    RunCancelled,
    RunFailed,
    RunTerminated,
    RunTimedOut,
    activity,
    workflow,
)
from perdure.stores.base import RunFilter
from perdure.testing import TestEngine

LARGE = "x" * 200_000
tries: list[str] = []


@pytest.fixture(autouse=True)
def no_tries() -> None:
    tries.clear()


@activity(retry=1)
async def work(succeeds_at: int, text: str) -> str:
    tries.append(activity.info().run_id)
    if len(tries) < succeeds_at:
        raise ConnectionError(f"try {len(tries)}")
    return text


@activity
async def refuse() -> None:
    raise activity.NonRetryable("never")


@workflow
async def job(succeeds_at: int, text: str = "done") -> str:
    return await work(succeeds_at, text)


@workflow
async def fails_by(kind: str) -> None:
    if kind == "value":
        raise ValueError("of this kind")
    if kind == "non-retryable":
        raise activity.NonRetryable("never")
    if kind == "later":
        raise activity.RetryAfter("1 day")
    if kind == "bug after cleanup":
        try:
            raise NameError("a bug")
        finally:
            await workflow.sleep(1)


@workflow(retry=Retry(initial="1m", max_attempts=3), run_timeout="1h")
async def naps(days: int) -> int:
    tries.append(workflow.info().run_id)
    await workflow.sleep(timedelta(days=days))
    return days


@workflow
async def sleeps_then_fails() -> None:
    tries.append(workflow.info().run_id)
    await workflow.sleep("10m")
    raise ValueError("too late")


ALL = [job, fails_by, naps, sleeps_then_fails, work, refuse]
QUICK = Retry(initial=0.001, max_attempts=5)


async def attempts(engine: Any, id: str) -> list[str]:
    """The states of the runs of an id, the first attempt first."""
    return [row.status for row in reversed(await engine.list(id_prefix=id))]


@pytest.mark.parametrize("way", ["engine", "client"])
async def test_a_run_that_fails_is_followed_by_another_until_one_completes_and_the_result_is_of_that(
    way: str, tmp_path: Path
):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        runs = engine if way == "engine" else client
        handle = await runs.start("job", [3, LARGE], id="a", retry=QUICK)

        results = [await handle.result(), await runs.handle("a").result()]
        results += [await runs.handle("a", run_id=handle.run_id).result()]

        assert results == [LARGE] * 3
        assert await attempts(engine, "a") == ["failed", "failed", "completed"]
        assert len(set(tries)) == 3


async def test_who_waits_by_run_hears_of_the_last_attempt(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        answers = [engine.run(job(3, LARGE), id="a", retry=QUICK) for _ in range(3)]
        answers += [client.run("job", [3, LARGE], id="a", retry=QUICK) for _ in range(3)]

        assert await asyncio.gather(*answers) == [LARGE] * 6
        assert len(tries) == 3


async def test_attempts_are_linked_and_counted():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(job(3), id="a", retry=Retry(max_attempts=4), request_id="r")
        await handle.result()

        rows = reversed(await engine.list(id_prefix="a"))
        runs = [await engine.handle("a", run_id=row.run_id).describe() for row in rows]
        ids = [run.run_id for run in runs]

        assert [run.attempt for run in runs] == [1, 2, 3]
        assert [run.max_attempts for run in runs] == [4, 4, 4]
        assert [run.first_run_id for run in runs] == [None, ids[0], ids[0]]
        assert [run.previous_run_id for run in runs] == [None, ids[0], ids[1]]
        assert [run.next_run_id for run in runs] == [ids[1], ids[2], None]
        assert [run.request_id for run in runs] == ["r"] * 3
        assert handle.run_id == ids[0]
        assert (await handle.describe()).run_id == ids[2]
        assert (await engine.start(job(9), id="a", request_id="r")).run_id == ids[0]


async def test_the_next_attempt_begins_after_the_back_off():
    async with TestEngine(ALL) as engine:
        began = engine.now()

        await engine.run(job(4), retry=Retry(initial="1m", coefficient=10, maximum="1h"))

        took = engine.now() - began
        assert timedelta(minutes=1 + 10 + 60) <= took < timedelta(minutes=75)


async def test_when_the_policy_is_used_up_the_last_failure_is_told():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed, match="ConnectionError: try 3"):
            await engine.run(job(9), id="a", retry=3)

        assert await attempts(engine, "a") == ["failed"] * 3


async def test_without_a_policy_a_failure_is_final():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed, match="try 1"):
            await engine.run(job(2), id="a")

        assert await attempts(engine, "a") == ["failed"]


FINAL: dict[str, tuple[str, Retry]] = {
    "a failure that its activity or workflow calls final": ("non-retryable", Retry()),
    "a class the policy lists": ("value", Retry(non_retryable=(ValueError,))),
    "a bug, after cleanup": ("bug after cleanup", Retry()),
}


@pytest.mark.parametrize("what", FINAL)
async def test_it_is_not_tried_again_after(what: str):
    kind, retry = FINAL[what]
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed):
            await engine.run(fails_by(kind), id="a", retry=retry)

        assert await attempts(engine, "a") == ["failed"]


async def test_a_bug_is_tried_again_where_the_policy_says_so():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed):
            await engine.run(fails_by("bug after cleanup"), id="a", retry=Retry(bugs="retry", max_attempts=2))

        assert await attempts(engine, "a") == ["failed"] * 2


async def test_a_failure_may_say_when_the_next_attempt_begins():
    async with TestEngine(ALL) as engine:
        began = engine.now()
        with pytest.raises(RunFailed):
            await engine.run(fails_by("later"), retry=2)

        assert engine.now() - began >= timedelta(days=1)


async def test_a_run_timeout_is_of_one_attempt_and_is_tried_again():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunTimedOut, match="run_timeout of 3600 s"):
            await engine.run(naps(1), id="a")

        assert await attempts(engine, "a") == ["timed out"] * 3
        assert len(set(tries)) == 3


async def test_an_execution_timeout_is_of_the_whole_chain():
    async with TestEngine(ALL) as engine:
        began = engine.now()
        with pytest.raises(RunTimedOut, match="execution_timeout of 9000 s"):
            await engine.run(naps(1), id="a", execution_timeout="150m")

        assert await attempts(engine, "a") == ["timed out"] * 3
        assert timedelta(minutes=150) <= engine.now() - began < timedelta(minutes=152)


async def test_no_attempt_is_queued_that_would_begin_after_the_end_of_its_chain():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed, match="too late"):
            await engine.run(
                sleeps_then_fails(), id="a", retry=Retry(initial="50m", maximum="1h"), execution_timeout="1h"
            )

        assert await attempts(engine, "a") == ["failed"]


async def test_a_run_that_waits_for_its_next_attempt_is_queued_and_can_be_cancelled():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(job(9), id="a", retry=Retry(initial="1 day", maximum="1 day"))
        while (await handle.describe()).attempt == 1:
            await asyncio.sleep(0)
        waiting = await handle.describe()
        await handle.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result()

        assert (waiting.status, waiting.input) == ("queued", [9, "done"])
        assert await attempts(engine, "a") == ["failed", "cancelled"]


async def test_a_cancellation_on_its_way_to_an_attempt_that_fails_meanwhile_is_for_the_next_one():
    async with TestEngine(ALL) as engine:
        first = await engine.start(job(9), id="a", retry=Retry(initial="1 day", maximum="1 day"))
        while (await first.describe()).attempt == 1:
            await asyncio.sleep(0)
        failed = (await engine.list(status="failed"))[0]
        await engine.handle("a", run_id=failed.run_id).cancel("enough")

        with pytest.raises(RunCancelled, match="enough"):
            await first.result()


async def test_a_run_that_waits_for_its_next_attempt_can_be_terminated_and_released():
    async with TestEngine(ALL) as engine:
        retry = Retry(initial="1 day", maximum="1 day")
        ended = await engine.start(job(9), id="a", retry=retry)
        while (await ended.describe()).attempt == 1:
            await asyncio.sleep(0)
        await ended.terminate("enough")
        with pytest.raises(RunTerminated):
            await ended.result()
        tries.clear()

        released = await engine.start(job(2), id="b", retry=retry)
        while (await released.describe()).attempt == 1:
            await asyncio.sleep(0)
        began = engine.now()
        await released.retry()

        assert await released.result() == "done"
        assert engine.now() - began < timedelta(hours=1)
        assert await attempts(engine, "a") == ["failed", "terminated"]


async def test_a_cancelled_or_terminated_run_is_not_tried_again():
    async with TestEngine(ALL) as engine:
        for verb, error in (("cancel", RunCancelled), ("terminate", RunTerminated)):
            handle = await engine.start(naps(1), id=verb)
            await getattr(handle, verb)()
            with pytest.raises(error):
                await handle.result()

            assert len(await attempts(engine, verb)) == 1


async def test_an_id_whose_next_attempt_waits_belongs_to_an_open_run():
    async with TestEngine(ALL) as engine:
        retry = Retry(initial="1 day", maximum="1 day")
        handle = await engine.start(job(9), id="a", retry=retry)
        while (await handle.describe()).attempt == 1:
            await asyncio.sleep(0)

        attached = await engine.start(job(9), id="a")
        other = await engine.start(job(1), id="a", id_conflict="terminate_existing")

        assert attached.run_id == (await engine.handle("a", run_id=attached.run_id).describe()).run_id
        assert await other.result() == "done"
        assert await attempts(engine, "a") == ["failed", "terminated", "completed"]


async def test_the_next_attempt_survives_its_engine(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL) as engine:
        handle = await engine.start(job(2, LARGE), id="a", retry=Retry(initial="1h", maximum="1h"))
        while (await handle.describe()).attempt == 1:
            await asyncio.sleep(0.001)
    async with Engine(address, ALL) as engine, Client(engine.store) as client:
        await client.handle("a").retry()

        assert await client.handle("a", run_id=handle.run_id).result() == LARGE
        assert client.store.views.count(RunFilter()) == 2


async def test_a_chain_whose_time_is_over_before_an_engine_comes_back_ends_without_another_attempt(tmp_path: Path):
    from tests.engine.clocks import StandingClock

    address, clock = f"sqlite:///{tmp_path}/runs.db", StandingClock()
    async with Engine(address, ALL, world=clock) as engine:
        handle = await engine.start(job(2), id="a", retry=Retry(initial="1h", maximum="1h"), execution_timeout="2h")
        while (await handle.describe()).attempt == 1:
            await asyncio.sleep(0.001)
    clock.time += 10 * 3_600_000_000_000
    async with Engine(address, ALL, world=clock) as engine:
        with pytest.raises(RunTimedOut, match="execution_timeout of 7200 s"):
            await engine.handle("a").result()
        last = await engine.handle("a").history()

    assert [event["type"] for event in last] == ["RunStarted", "RunTimedOut"]
    assert len(tries) == 1


async def test_many_runs_that_fail_at_once_are_all_tried_again():
    failed: set[str] = set()

    @activity(retry=1)
    async def once(n: str) -> str:
        if n not in failed:
            failed.add(n)
            raise ConnectionError(n)
        return n

    @workflow(retry=Retry(initial=0.001))
    async def twice(n: str) -> str:
        return await once(n)

    async with Engine("memory://", [twice, once]) as engine:
        assert await asyncio.gather(*[engine.run(twice(str(n))) for n in range(500)]) == [str(n) for n in range(500)]
        assert await engine.count() == 1_000


@pytest.mark.parametrize(
    ("retry", "message"),
    [
        ("often", "a start: retry must be a Retry, a number of attempts or None, not 'often'"),
        (0, "max_attempts must be a whole number from 1 on"),
        (True, "a start: retry must be a Retry, a number of attempts or None, not True"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(retry: Any, message: str):
    with Engine("memory://", ALL) as engine:
        with pytest.raises(DefinitionError) as refused:
            engine.start(job(1), retry=retry).wait()

        assert message in str(refused.value)
