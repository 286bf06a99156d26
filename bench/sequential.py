"""One long workflow, a step after the other: a commit each, and no more work at its end than at its beginning."""

import asyncio
import time
from statistics import median

from bench.counted import CountedStore
from bench.figures import Figure, Setting
from bench.floor import BareCommits, written
from bench.programs import DEFINITIONS, sequence
from perdure import Engine

OVERHEAD_S = 0.25e-3
"""On top of each commit."""


async def run(setting: Setting) -> list[Figure]:
    steps, long, rounds = setting.pick((1_000, 10_000, 5), (300, 1_500, 3), (5, 10, 1))
    store = CountedStore(setting.folder / "sequential.db")
    short_took: list[float] = []
    long_took: list[float] = []
    floors: list[float] = []
    with BareCommits(setting.folder) as bare:
        async with Engine(store, DEFINITIONS) as engine:
            await seconds(engine, steps)
            for number in range(rounds):
                short_took.append(await seconds(engine, steps))
                floors += bare.commits(written(store.database, store.commits), steps)
                if number == rounds // 2:
                    long_took.append(await seconds(engine, long))
    floor, took = steps * median(floors), median(short_took)
    growth = (long_took[0] / long) / (took / steps)
    return [
        Figure(f"workflow of {steps:,} steps in sequence", took, "s", floor, floor + steps * OVERHEAD_S),
        Figure(f"  of {long:,} steps", long_took[0], "s", long * median(floors)),
        Figure(f"  cost of a step of {long:,} over one of {steps:,}", growth, "×", None, 1.25),
    ]


async def seconds(engine: Engine, steps: int) -> float:
    began = time.perf_counter()
    assert await engine.run(sequence(steps)) == steps
    return time.perf_counter() - began


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
