"""A run with very many steps at once: the others need not wait until it is through with them."""

import asyncio

from perdure import Engine, activity, workflow
from tests.poison.beside import NEIGHBOURS, STEPS

STEPS_AT_ONCE = 3_000
SLOTS = 10

begun: list[str] = []
gate = asyncio.Event()


@activity
async def one_of_many(n: int) -> int:
    await gate.wait()
    begun.append("crowd")
    return n


@activity
async def one_of_few(n: int) -> int:
    begun.append("neighbour")
    return n


@workflow
async def crowds() -> int:
    return len(await asyncio.gather(*[one_of_many(n) for n in range(STEPS_AT_ONCE)]))


@workflow
async def goes_on() -> int:
    return sum([await one_of_few(n) for n in range(STEPS)])


async def test_slots_go_to_all_runs_by_turns():
    """The neighbours' first steps come when thousands wait already."""
    begun.clear()
    gate.clear()
    async with Engine("memory://", [crowds, goes_on, one_of_many, one_of_few], concurrency=SLOTS) as engine:
        crowd = await engine.start(crowds())
        while (await crowd.describe()).events < STEPS_AT_ONCE:
            await asyncio.sleep(0)
        neighbours = [await engine.start(goes_on()) for _ in range(NEIGHBOURS)]
        gate.set()
        results = await asyncio.gather(*[each.result() for each in neighbours])
        through = len(begun) - begun[::-1].index("neighbour")
        assert await crowd.result() == STEPS_AT_ONCE

    assert results == [sum(range(STEPS))] * NEIGHBOURS
    assert begun.count("neighbour") == NEIGHBOURS * STEPS
    assert through < STEPS_AT_ONCE / 2
