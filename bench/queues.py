"""Tasks of a queue, over two worker processes: how many a second, and what one costs the owner and the workers."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.counted import CountedStore
from bench.figures import Figure, Setting
from bench.floor import BareCommits, written
from bench.programs import DEFINITIONS, remote_fan_out, remote_steps
from perdure import Engine

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
STEPS = 3
TASKS_PER_SECOND = 2_000


@contextmanager
def workers(address: str, count: int = WORKERS) -> Iterator[None]:
    command = [sys.executable, "-m", "perdure", "worker", "bench.programs", "--queue", "bench", "--db", address, "-q"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


async def joined(store: CountedStore) -> None:
    while len(store.views.workers()) < WORKERS:
        await asyncio.sleep(0.02)


class Took:
    """One round: seconds by the wall, and by the owner's processor."""

    def __init__(self, count: int, wall: float, cpu: float) -> None:
        self.per_second = count / wall
        self.wall = wall
        self.us = cpu / count * 1e6


async def fanned(engine: Engine, width: int) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    assert await engine.run(remote_fan_out(width)) == width
    return Took(width, time.perf_counter() - wall, time.process_time() - cpu)


async def many(engine: Engine, runs: int) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(engine.run(remote_steps(number)) for number in range(runs)))
    return Took(runs * STEPS, time.perf_counter() - wall, time.process_time() - cpu)


async def run(setting: Setting) -> list[Figure]:
    width, runs, rounds = setting.pick((4_000, 1_000, 9), (4_000, 1_000, 3), (10, 4, 1))
    store = CountedStore(setting.folder / "queues.db")
    wide: list[Took] = []
    short: list[Took] = []
    floors: list[float] = []
    children = _seconds_of_children()
    with BareCommits(setting.folder) as bare:
        async with Engine(store, DEFINITIONS) as engine:
            with workers(store.address):
                await joined(store)
                await fanned(engine, width)
                for _ in range(rounds):
                    before = written(store.database, store.commits)
                    wide.append(await fanned(engine, width))
                    wrote = written(store.database, store.commits) - before
                    floors.append(sum(bare.commits(wrote, wrote.commits)))
                    short.append(await many(engine, runs))
    tasks = (rounds + 1) * width + rounds * runs * STEPS
    spent = _seconds_of_children() - children
    return [
        Figure(f"fan-out of {width:,} tasks, {WORKERS} workers", median(each.wall for each in wide), "s", median(floors)),
        Figure("  tasks per second", median(each.per_second for each in wide), "", None, TASKS_PER_SECOND, True),
        Figure("  CPU of a task, owner", median(each.us for each in wide), "µs"),
        Figure(f"{runs:,} runs of {STEPS} tasks, tasks per second", median(each.per_second for each in short), "", None,
               TASKS_PER_SECOND, True),
        Figure("  CPU of a task, owner", median(each.us for each in short), "µs"),
        Figure("  CPU of a task, workers and their start", spent / tasks * 1e6, "µs"),
    ]  # fmt: skip


def _seconds_of_children() -> float:
    """Processor seconds of processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
