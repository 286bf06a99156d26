"""How often heartbeats are written: those of all attempts of a process together, once a second."""

import asyncio
from pathlib import Path

from bench.counted import CountedStore
from perdure import Engine, activity, workflow
from tests.engine.clocks import Stepped

ATTEMPTS = 1_000


class Choir:
    """Attempts that all beat when they are told to."""

    def __init__(self) -> None:
        self.beaten = 0
        self.round = asyncio.Condition()
        self.number = 0
        self.over = False

    async def sing(self) -> None:
        seen = 0
        while not self.over:
            async with self.round:
                while self.number == seen and not self.over:
                    await self.round.wait()
                seen = self.number
            activity.heartbeat(seen)
            self.beaten += 1

    async def beat(self, times: int) -> None:
        for _ in range(times):
            self.beaten = 0
            async with self.round:
                self.number += 1
                self.round.notify_all()
            while self.beaten < ATTEMPTS:
                await asyncio.sleep(0)


choir: Choir


@activity
async def voice(number: int) -> int:
    await choir.sing()
    return number


@workflow
async def concert() -> int:
    return len(await asyncio.gather(*(voice(n) for n in range(ATTEMPTS))))


async def test_the_heartbeats_of_a_thousand_attempts_are_one_commit_a_second(tmp_path: Path) -> None:
    global choir
    choir, world, store = Choir(), Stepped(), CountedStore(tmp_path / "b.db")
    async with Engine(store, [concert, voice], world=world) as engine:
        handle = await engine.start(concert(), id="r")
        await choir.beat(1)
        commits = store.commits
        await choir.beat(20)
        within_a_second = store.commits - commits
        world.seconds += 1.5
        while not any(step.heartbeat_details for step in (await handle.describe()).steps):
            await asyncio.sleep(0)
        after_it = store.commits - commits
        told = [step.heartbeat_details for step in (await handle.describe()).steps]
        choir.over = True
        async with choir.round:
            choir.round.notify_all()
        result = await handle.result()

    assert (within_a_second, after_it) == (0, 1)
    assert told == [21] * ATTEMPTS
    assert result == ATTEMPTS
