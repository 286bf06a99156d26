"""Runs that wait to be woken, and callers that wait for runs: nobody is forgotten, and nobody is kept for ever."""

import asyncio
import time

from perdure import Engine, activity, workflow
from perdure.runtime.world import World


class StandingClock(World):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = time.time_ns()

    def now(self) -> int:
        return self.time


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

        assert await asyncio.gather(*[worker.result(timeout=10) for worker in workers]) == [0, 1, 2]
