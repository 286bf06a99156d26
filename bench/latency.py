"""A workflow of three steps, awaited one at a time: four commits, and the way between threads.

The four bare commits beside each of them meet the disk in the same mood: it answers long bursts faster.
"""

import asyncio
import time
from statistics import median, quantiles

from bench.counted import CountedStore
from bench.figures import Figure, Setting
from bench.floor import BareCommits, written
from bench.programs import DEFINITIONS, three_steps
from perdure import Engine

COMMITS = 4
"""The start with the first step, two results with the next step, the last result with the end."""

OVERHEAD_MS = 1.2


async def run(setting: Setting) -> list[Figure]:
    count, warm = setting.pick((2_000, 200), (300, 50), (3, 1))
    store = CountedStore(setting.folder / "latency.db")
    took: list[float] = []
    floors: list[float] = []
    with BareCommits(setting.folder) as bare:
        async with Engine(store, DEFINITIONS) as engine:
            await asyncio.gather(*(engine.run(three_steps(number)) for number in range(warm)))
            before = written(store.database, store.commits)
            await engine.run(three_steps(0))
            wrote = written(store.database, store.commits) - before
            for number in range(count):
                began = time.perf_counter()
                await engine.run(three_steps(number))
                took.append(time.perf_counter() - began)
                floors.append(sum(bare.commits(wrote, COMMITS)))
            commits = store.commits - before.commits
    floor_ms = median(floors) * 1e3
    return [
        Figure("3-step workflow, one at a time, p50", median(took) * 1e3, "ms", floor_ms, floor_ms + OVERHEAD_MS),
        Figure("  p99", _p99(took) * 1e3, "ms", _p99(floors) * 1e3),
        Figure("  commits per workflow", commits / (count + 1)),
    ]


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
