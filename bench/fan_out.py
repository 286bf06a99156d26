"""One workflow with many activities at the same time."""

import asyncio
import time
from statistics import median

from bench.counted import CountedStore
from bench.figures import LINEAR, Figure, Setting
from bench.floor import BareCommits, written
from bench.programs import DEFINITIONS, fan_out
from bench.sequential import Took
from perdure import Engine


async def run(setting: Setting) -> list[Figure]:
    width, wide, rounds = setting.pick((1_000, 10_000, 9), (1_000, 4_000, 3), (10, 30, 1))
    store = CountedStore(setting.folder / "fan_out.db")
    narrow: list[Took] = []
    wider: list[Took] = []
    floors: list[float] = []
    with BareCommits(setting.folder) as bare:
        async with Engine(store, DEFINITIONS) as engine:
            await timed(engine, width)
            for _ in range(rounds):
                before = written(store.database, store.commits)
                narrow.append(await timed(engine, width))
                wrote = written(store.database, store.commits) - before
                floors.append(sum(bare.commits(wrote, wrote.commits)))
                wider.append(await timed(engine, wide))
    growth = (median(each.cpu for each in wider) / wide) / (median(each.cpu for each in narrow) / width)
    return [
        Figure(f"fan-out of {width:,} activities", median(each.wall for each in narrow), "s", median(floors), 0.1),
        Figure(f"  of {wide:,} activities, 1,000 at a time", median(each.wall for each in wider), "s"),
        Figure(f"  CPU of one of {wide:,} over one of {width:,}", growth, "×", None, LINEAR),
    ]


async def timed(engine: Engine, width: int) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    assert await engine.run(fan_out(width)) == width
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
