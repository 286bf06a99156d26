"""One workflow with many activities at the same time."""

import asyncio
import time
from statistics import median

from bench.counted import CountedStore
from bench.figures import Figure, Setting
from bench.floor import BareCommits, written
from bench.programs import DEFINITIONS, fan_out
from perdure import Engine


async def run(setting: Setting) -> list[Figure]:
    width, wide, rounds = setting.pick((1_000, 10_000, 9), (1_000, 4_000, 3), (10, 30, 1))
    store = CountedStore(setting.folder / "fan_out.db")
    took: list[float] = []
    wide_took: list[float] = []
    floors: list[float] = []
    with BareCommits(setting.folder) as bare:
        async with Engine(store, DEFINITIONS) as engine:
            await seconds(engine, width)
            for _ in range(rounds):
                before = written(store.database, store.commits)
                took.append(await seconds(engine, width))
                wrote = written(store.database, store.commits) - before
                floors.append(sum(bare.commits(wrote, wrote.commits)))
                wide_took.append(await seconds(engine, wide))
    growth = (median(wide_took) / wide) / (median(took) / width)
    return [
        Figure(f"fan-out of {width:,} activities", median(took), "s", median(floors), 0.1),
        Figure(f"  of {wide:,} activities", median(wide_took), "s"),
        Figure(f"  cost of one of {wide:,} over one of {width:,}", growth, "×", None, 1.25),
    ]


async def seconds(engine: Engine, width: int) -> float:
    began = time.perf_counter()
    assert await engine.run(fan_out(width)) == width
    return time.perf_counter() - began


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
