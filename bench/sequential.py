"""One long workflow, a step after the other: a commit each, and no more work at its end than at its beginning."""

import asyncio
import time
from statistics import median
from typing import NamedTuple

from bench.counted import CountedStore
from bench.figures import LINEAR, Figure, Setting
from bench.floor import BareCommits, written
from bench.programs import DEFINITIONS, sequence
from perdure import Engine

OVERHEAD_S = 0.25e-3
"""On top of each commit."""


async def run(setting: Setting) -> list[Figure]:
    steps, long, rounds = setting.pick((1_000, 10_000, 5), (300, 1_500, 3), (5, 10, 1))
    store = CountedStore(setting.folder / "sequential.db")
    short: list[Took] = []
    floors: list[float] = []
    with BareCommits(setting.folder) as bare:
        async with Engine(store, DEFINITIONS) as engine:
            await timed(engine, steps)
            for _ in range(rounds):
                short.append(await timed(engine, steps))
                floors += bare.commits(written(store.database, store.commits), steps)
            longer = await timed(engine, long)
            floors += bare.commits(written(store.database, store.commits), steps)
    floor = median(floors)
    wall, cpu = median(each.wall for each in short), median(each.cpu for each in short)
    growth = (longer.cpu / long) / (cpu / steps)
    return [
        Figure(f"workflow of {steps:,} steps in sequence", wall, "s", steps * floor, steps * (floor + OVERHEAD_S)),
        Figure(f"  of {long:,} steps", longer.wall, "s", long * floor),
        Figure(f"  CPU of a step of {long:,} over one of {steps:,}", growth, "×", None, LINEAR),
    ]


class Took(NamedTuple):
    """Seconds by the wall and by the processor."""

    wall: float
    cpu: float


async def timed(engine: Engine, steps: int) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    assert await engine.run(sequence(steps)) == steps
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
