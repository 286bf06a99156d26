"""Many short workflows at the same time: what a step costs, everything included, and how many share a commit."""

import asyncio
import time
from statistics import median

from bench.counted import CountedStore
from bench.figures import SAME, Figure, Setting
from bench.floor import BareCommits, Written, written
from bench.programs import DEFINITIONS, three_steps
from perdure import Engine

STEPS = 3


class Round:
    """One wave of workflows: seconds by the wall and by the processor, and what was written."""

    def __init__(self, count: int, wall: float, cpu: float, wrote: Written) -> None:
        self.per_second = count / wall
        self.us_per_step = cpu / count / STEPS * 1e6
        self.steps_per_commit = count * STEPS / wrote.commits
        self.wrote = wrote


async def wave(engine: Engine, count: int, in_flight: int) -> None:
    """Run `count` workflows, `in_flight` at the same time; each is awaited, and another one started in its place."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            assert await engine.run(three_steps(number)) == number

    await asyncio.gather(*(caller() for _ in range(in_flight)))


async def timed(engine: Engine, store: CountedStore, count: int, in_flight: int) -> Round:
    before = written(store.database, store.commits)
    wall, cpu = time.perf_counter(), time.process_time()
    await wave(engine, count, in_flight)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Round(count, wall, cpu, written(store.database, store.commits) - before)


def cpu_of(bare: BareCommits, wrote: Written) -> float:
    """Processor seconds for as many bare commits of the same bytes."""
    began = time.process_time()
    bare.commits(wrote, wrote.commits)
    return time.process_time() - began


async def run(setting: Setting) -> list[Figure]:
    count, rounds = setting.pick((8_000, 5), (2_000, 2), (40, 1))
    usual, few, many = setting.pick((1_000, 500, 8_000), (1_000, 500, 2_000), (10, 5, 20))
    store = CountedStore(setting.folder / "throughput.db")
    found: dict[int, list[Round]] = {usual: [], few: [], many: []}
    floors: list[float] = []
    with BareCommits(setting.folder) as bare:
        async with Engine(store, DEFINITIONS, concurrency=many) as engine:
            await wave(engine, usual, usual)
            for _ in range(rounds):
                for in_flight, results in found.items():
                    results.append(await timed(engine, store, max(count, in_flight), in_flight))
                wrote = found[usual][-1].wrote
                floors.append(cpu_of(bare, wrote) / max(count, usual) / STEPS * 1e6)
    cost = {in_flight: median(each.us_per_step for each in results) for in_flight, results in found.items()}
    return [
        Figure(f"CPU per step, {usual:,} in flight", cost[usual], "µs", median(floors), 100.0),
        Figure("  steps per commit", median(each.steps_per_commit for each in found[usual]), "", None, 100.0, True),
        Figure("  workflows per second", median(each.per_second for each in found[usual])),
        Figure(f"  CPU of a step at {few:,} in flight", cost[few], "µs"),
        Figure(f"  CPU of a step at {many:,} in flight", cost[many], "µs"),
        Figure(f"  CPU at {many:,} over that at {few:,}", cost[many] / cost[few], "×", None, SAME),
    ]


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
