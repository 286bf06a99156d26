"""A crowd of runs that start, sleep and wake: all of them, none too early."""

import asyncio
import time

from bench.figures import Figure, Setting
from bench.programs import DEFINITIONS, sleeper
from perdure import Engine
from perdure.kernel.run import Status
from perdure.stores.base import RunFilter

TOGETHER = 1_000


async def run(setting: Setting) -> list[Figure]:
    count, seconds = setting.pick((100_000, 20.0), (3_000, 1.0), (20, 0.1))
    async with Engine(f"sqlite:///{setting.folder / 'sleeping.db'}", DEFINITIONS) as engine:
        began = time.perf_counter()
        for first in range(0, count, TOGETHER):
            await asyncio.gather(*(engine.start(sleeper(seconds)) for _ in range(first, min(first + TOGETHER, count))))
        started = time.perf_counter()
        views = engine.store.views
        completed = RunFilter(statuses=(Status.COMPLETED,), limit=count)
        while views.count(RunFilter(statuses=(Status.WAITING, Status.RUNNING)), 1):
            await asyncio.sleep(0.1)
        ended = time.perf_counter()
        rows = views.search(completed)
    overslept = sorted(float(row.note) - seconds for row in rows)
    return [
        Figure(f"of {count:,} sleeping runs, woke", float(len(rows)), "", None, float(count), True),
        Figure("  too early", float(sum(each < 0 for each in overslept)), "", None, 0.0),
        Figure("  started per second", count / (started - began)),
        Figure("  until the last one had ended", ended - began, "s"),
        Figure("  woken late by, p50", overslept[len(overslept) // 2], "s"),
    ]


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
