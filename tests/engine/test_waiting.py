"""Runs that wait to be woken, and callers that wait for runs: nobody is forgotten, and nobody is kept for ever."""

import asyncio
import threading
import time

import pytest

from perdure import Client, Engine, EngineNotRunning, RunNotFound, activity, workflow
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores.base import MailRow
from tests.engine.clocks import StandingClock


async def test_a_run_that_wakes_beside_others_that_take_its_room_in_memory_gets_its_slot():
    gate = asyncio.Event()

    @activity
    async def hold() -> None:
        await gate.wait()

    @activity
    async def work(n: int) -> int:
        return n

    @workflow
    async def holds() -> None:
        await hold()

    @workflow
    async def sleeps_on() -> None:
        await workflow.sleep(60)
        await workflow.sleep(60)

    @workflow
    async def works(n: int) -> int:
        await workflow.sleep(60)
        return await work(n)

    clock = StandingClock()
    definitions = [holds, sleeps_on, works, hold, work]
    async with Engine("memory://", definitions, world=clock, concurrency=1, cached_runs=2) as engine:
        await engine.start(holds(), id="in the only slot")
        for n in range(3):
            await engine.start(sleeps_on(), id=f"sleeper {n}")
            await engine.start(works(n), id=f"worker {n}")
        clock.time += 59_500_000_000
        await engine.handle("in the only slot").retry()  # makes the engine look what is due soon
        clock.time += 500_000_000
        workers = [engine.handle(f"worker {n}") for n in range(3)]
        while await engine.count(workflow="works", status="running") < 3:
            await asyncio.sleep(0)
        gate.set()

        assert await asyncio.gather(*[worker.result() for worker in workers]) == [0, 1, 2]


@workflow
async def sleeps() -> None:
    await workflow.sleep(3600)


async def test_a_client_stops_looking_for_a_run_that_nobody_waits_for_any_more():
    async with Engine("memory://given-up", [sleeps]), Client("memory://given-up") as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.run("sleeps", id="r"), 0.1)

        while any(thread.name == "perdure-watch" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)


async def test_a_client_that_was_closed_waits_for_nothing():
    client = Client("memory://")
    handle = await client.start("sleeps", id="r")
    client.close()

    with pytest.raises(EngineNotRunning, match="this client is closed"):
        await handle.result()


async def test_who_waits_for_a_queued_run_hears_that_its_start_was_refused():
    gate = asyncio.Event()

    @activity
    async def hold() -> None:
        await gate.wait()

    @workflow
    async def holds() -> None:
        await hold()

    @workflow
    async def counts(n: int) -> int:
        return n

    async with Engine("memory://", [holds, counts, hold], awake_runs=1) as engine:
        await engine.start(holds(), id="the only one awake")
        start = msg.Start("counts", Payload(b'{"n": "many"}'), b"r" * 16, refuse_by_reply=True)
        queued = RunRow(0, "bad", b"r" * 16, "counts", Status.QUEUED, "", "", time.time_ns(), None, None, 0)
        engine.store.post.submit(queued, MailRow(0, 0, start, "a client's request"))
        result = engine.handle("bad").result()
        waiting = asyncio.ensure_future(result)
        await asyncio.sleep(0)
        gate.set()

        with pytest.raises(RunNotFound):
            await waiting
