"""One workflow with many children at the same time."""

import asyncio
import time
from statistics import median

from bench.figures import LINEAR, Figure, Setting
from bench.programs import DEFINITIONS, parent_of_many
from bench.sequential import Took
from perdure import Engine


async def run(setting: Setting) -> list[Figure]:
    width, wide, rounds = setting.pick((1_000, 10_000, 5), (500, 2_000, 3), (10, 30, 1))
    narrow: list[Took] = []
    wider: list[Took] = []
    async with Engine(f"sqlite:///{setting.folder}/children.db", DEFINITIONS) as engine:
        await timed(engine, width)
        for _ in range(rounds):
            narrow.append(await timed(engine, width))
            wider.append(await timed(engine, wide))
    growth = (median(each.cpu for each in wider) / wide) / (median(each.cpu for each in narrow) / width)
    return [
        Figure(f"{width:,} children of one activity each", median(each.wall for each in narrow), "s"),
        Figure(f"  {wide:,} children", median(each.wall for each in wider), "s"),
        Figure(f"  CPU of one of {wide:,} over one of {width:,}", growth, "×", None, LINEAR),
    ]


async def timed(engine: Engine, width: int) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    assert await engine.run(parent_of_many(width)) == width
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
