"""Runs that begin later, and runs that may not take longer than so."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    DefinitionError,
    Engine,
    RunBlocked,
    RunCancelled,
    RunTerminated,
    RunTimedOut,
    activity,
    workflow,
)
from perdure.testing import TestEngine
from tests.engine.clocks import HOUR_NS, StandingClock

LARGE = "x" * 200_000


@activity
async def echo(text: str) -> str:
    return text


@activity
async def endless() -> None:
    await asyncio.Event().wait()


@activity
async def clumsy() -> None:
    raise NameError("a bug")


@workflow
async def say(text: str) -> str:
    return await echo(text)


@workflow
async def begun_at() -> str:
    return str(workflow.now())


@workflow
async def naps(days: int) -> int:
    for _ in range(days):
        await workflow.sleep("1 day")
    return days


@workflow
async def stays() -> None:
    await endless()


@workflow
async def stumbles() -> None:
    await clumsy()


@workflow
async def breaks() -> None:
    raise NameError("a bug in the workflow")


@workflow
async def cleans_up() -> str:
    try:
        await workflow.sleep("1 day")
    except asyncio.CancelledError:
        await echo("broom")
        raise
    return "never"


@workflow(run_timeout="1h", execution_timeout="2h")
async def limited() -> int:
    await workflow.sleep("150m")
    return 1


ALL = [say, begun_at, naps, stays, stumbles, breaks, cleans_up, limited, echo, endless, clumsy]


# start delay


async def test_a_delayed_run_is_queued_until_its_time_and_begins_exactly_then():
    async with TestEngine(ALL) as engine:
        asked = engine.now()
        handle = await engine.start(begun_at(), start_delay="3 days")

        before = await handle.describe()
        began = await handle.result()

        assert (before.status, before.note) == ("queued", "")
        assert before.wake_at is not None
        assert timedelta(0) <= before.wake_at - asked - timedelta(days=3) < timedelta(seconds=5)
        assert str(before.wake_at) <= began < str(before.wake_at + timedelta(minutes=1))


async def test_a_delayed_run_that_a_client_queues_begins_when_it_is_due(tmp_path: Path):
    clock = StandingClock()
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL, world=clock) as engine, Client(engine.store) as client:
        handle = await client.start("say", [LARGE], id="a", start_delay="1h")
        before = await handle.describe()
        clock.time += 2 * HOUR_NS
        engine.store.post.nudge()  # so that the engine looks at its clock

        assert await handle.result() == LARGE
        assert (before.status, before.input) == ("queued", [LARGE])


async def test_a_delay_outlives_its_engine(tmp_path: Path):
    address, clock = f"sqlite:///{tmp_path}/runs.db", StandingClock()
    async with Engine(address, ALL, world=clock) as engine:
        await engine.start(say(LARGE), id="a", start_delay="1h")
    clock.time += 3_599_000_000_000
    async with Engine(address, ALL, world=clock) as engine:
        early = await engine.handle("a").describe()
        clock.time += 2_000_000_000

        assert await engine.handle("a").result() == LARGE
    assert early.status == "queued"


async def test_bad_arguments_of_a_delayed_start_are_refused_at_once(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        with pytest.raises(Exception, match="argument text: expected str, found 5"):
            await client.start("say", [5], id="a", start_delay="1h")

        assert await engine.count() == 0


async def test_a_delayed_run_that_is_cancelled_begins_at_once_and_its_code_sees_it():
    async with TestEngine(ALL) as engine:
        asked = engine.now()
        handle = await engine.start(cleans_up(), start_delay="3 days")

        await handle.cancel("enough")
        with pytest.raises(RunCancelled):
            await handle.result()

        assert [call.arguments["text"] for call in engine.calls(echo)] == ["broom"]
        assert engine.now() - asked < timedelta(days=1)


async def test_a_delayed_run_that_is_terminated_never_begins_and_its_history_says_what_it_was():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(say("x"), start_delay="3 days")

        await handle.terminate("enough")
        with pytest.raises(RunTerminated, match="enough"):
            await handle.result()

        assert [event["type"] for event in await handle.history()] == ["RunStarted", "RunTerminated"]
        assert engine.calls(echo) == []


async def test_an_operator_lets_a_delayed_run_begin_that_ends_at_once(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        for runs, id in ((engine, "a"), (client, "b")):
            await engine.start(begun_at(), id=id, start_delay="3 days")

            await runs.handle(id).retry()

            assert (await engine.handle(id).describe()).status == "completed"


async def test_an_operator_lets_a_delayed_run_begin_at_once():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(say("x"), start_delay="3 days")

        await handle.retry()

        assert await handle.result() == "x"


async def test_a_delayed_run_is_attached_to_by_the_same_start():
    async with TestEngine(ALL) as engine:
        first = await engine.start(say("x"), id="a", start_delay="3 days")
        second = await engine.start(say("x"), id="a", start_delay="5 days")

        assert second.run_id == first.run_id
        assert await second.result() == "x"


async def test_a_start_that_ends_the_open_run_and_begins_later_ends_it_at_once(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        for runs in (engine, client):
            first = await engine.start(naps(1), id="a", id_conflict="terminate_existing")
            second = await runs.start("say", ["x"], id="a", id_conflict="terminate_existing", start_delay="1h")

            with pytest.raises(RunTerminated):
                await first.result()
            assert (await second.describe()).status == "queued"
            assert (await engine.handle("a").describe()).run_id == second.run_id


async def test_a_thousand_runs_that_are_due_at_the_same_instant_all_begin():
    async with TestEngine(ALL, replay_every_step=False, awake_runs=50) as engine:
        handles = await asyncio.gather(*[engine.start(say(str(n)), start_delay="1 day") for n in range(1_000)])

        assert await asyncio.gather(*[handle.result() for handle in handles]) == [str(n) for n in range(1_000)]


# timeouts


async def test_a_run_that_takes_longer_than_its_run_timeout_is_ended_without_cleanup():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(cleans_up(), id="a", run_timeout="1h")

        with pytest.raises(RunTimedOut) as timed_out:
            await handle.result()

        assert str(timed_out.value) == "run 'a' timed out: it took longer than its run_timeout of 3600 s"
        described = await handle.describe()
        assert (described.status, described.note) == ("timed out", "longer than its run_timeout of 3600 s")
        assert engine.calls(echo) == []
        assert [row.id for row in await engine.list(status="timed out")] == ["a"]


async def test_a_run_that_is_quicker_is_not_touched():
    async with TestEngine(ALL) as engine:
        assert await engine.run(naps(3), run_timeout="4 days", execution_timeout="5 days") == 3


async def test_what_is_due_before_a_timeout_comes_before_it_however_long_the_engine_was_away(tmp_path: Path):
    address, clock = f"sqlite:///{tmp_path}/runs.db", StandingClock()
    async with Engine(address, ALL, world=clock) as engine:
        await engine.start(naps(1), id="quick", run_timeout="25h")
        await engine.start(naps(2), id="slow", run_timeout="25h")
    clock.time += 30 * 86_400_000_000_000
    async with Engine(address, ALL, world=clock) as engine:
        assert await engine.handle("quick").result() == 1
        with pytest.raises(RunTimedOut):
            await engine.handle("slow").result()
        kinds = [event["type"] for event in await engine.handle("slow").history()]

    assert kinds == ["RunStarted", "TimerStarted", "TimerFired", "TimerStarted", "RunTimedOut"]


async def test_the_shorter_of_both_timeouts_counts():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunTimedOut, match="execution_timeout of 60 s"):
            await engine.run(naps(1), run_timeout="1h", execution_timeout="1m")
        with pytest.raises(RunTimedOut, match="run_timeout of 60 s"):
            await engine.run(naps(1), run_timeout="1m", execution_timeout="1h")


async def test_a_workflow_may_have_timeouts_of_its_own_and_a_start_may_choose_others():
    async with TestEngine(ALL) as engine, Client(engine.store) as client:
        with pytest.raises(RunTimedOut, match="run_timeout of 3600 s"):
            await engine.run(limited())
        with pytest.raises(RunTimedOut, match="execution_timeout of 7200 s"):
            await engine.run(limited(), run_timeout="3h")
        assert await engine.run(limited(), run_timeout=None, execution_timeout=None) == 1
        handle = await client.start("limited", id="by name")
        with pytest.raises(RunTimedOut, match="run_timeout of 3600 s"):
            await engine.handle("by name").result()
        assert handle.id == "by name"


async def test_a_run_timeout_counts_from_the_begin_not_from_the_start():
    async with TestEngine(ALL) as engine:
        assert await engine.run(naps(1), start_delay="10 days", run_timeout="2 days", execution_timeout="2 days") == 1


async def test_an_attempt_that_runs_when_its_run_times_out_is_cancelled():
    cancelled, clock = asyncio.Event(), StandingClock()

    @activity
    async def patient() -> None:
        clock.time += HOUR_NS
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @workflow
    async def waits() -> None:
        await patient()

    async with Engine("memory://", [waits, patient], world=clock) as engine:
        with pytest.raises(RunTimedOut):
            await engine.run(waits(), run_timeout=0.05)

        await cancelled.wait()


@pytest.mark.parametrize("call", [breaks, stumbles], ids=["blocked", "held"])
async def test_who_waits_for_a_run_that_a_bug_stops_hears_of_it_at_once_and_the_timeout_ends_it_all_the_same(call: Any):
    async with TestEngine(ALL) as engine:
        began = engine.now()
        handle = await engine.start(call(), run_timeout="1 day")
        with pytest.raises(RunBlocked):
            await handle.result()
        heard = engine.now()

        await engine.sleep("2 days")
        with pytest.raises(RunTimedOut):
            await handle.result()

        assert heard - began < timedelta(hours=1)


async def test_a_timed_out_run_takes_no_more_messages():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(naps(9), id="a", run_timeout="1 day")
        with pytest.raises(RunTimedOut):
            await handle.result()

        with pytest.raises(Exception, match="run 'a' is timed out already"):
            await handle.cancel()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no time": ({"run_timeout": 0}, "a start: run_timeout must be longer than nothing, not 0; None is no limit"),
    "a negative time": ({"execution_timeout": -1}, "a start: execution_timeout: a duration is at least 0"),
    "no duration": ({"run_timeout": "soon"}, "a start: run_timeout: 'soon' is not a duration"),
    "a negative delay": ({"start_delay": "-5m"}, "a start: start_delay: a duration is at least 0, not '-5m'"),
    "a delay of another type": ({"start_delay": [1]}, "a start: start_delay: [1] (list) is not a duration"),
}


@pytest.mark.parametrize("what", BAD)
def test_times_that_make_no_sense_are_refused_before_anything_happens(what: str):
    options, message = BAD[what]
    with Engine("memory://", ALL) as engine:
        with pytest.raises(DefinitionError) as refused:
            engine.start(say("x"), **options).wait()

        assert message in str(refused.value)
        assert engine.count().wait() == 0


def test_a_workflow_with_a_timeout_that_makes_no_sense_is_refused():
    with pytest.raises(DefinitionError, match=r"workflow bad \(.*\): run_timeout must be longer than nothing"):

        @workflow(run_timeout=0)
        async def bad() -> None: ...


def test_no_delay_is_none():
    with Engine("memory://", ALL) as engine:
        assert engine.run(say("x"), start_delay=0).wait() == "x"
