"""What a run costs in memory: awake with nothing to do but to wait for an activity, and parked."""

import asyncio
import ctypes
import gc
import multiprocessing
import os
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench.figures import Figure, Setting
from bench.programs import DEFINITIONS, idle, sleeper
from perdure import Engine

TOGETHER = 500
CACHED = 100
DAY = 86_400.0


def measure(setting: Setting) -> list[Figure]:
    count, many = setting.pick((5_000, 10_000), (1_000, 1_500), (20, 200))
    awake = _apart(awake_run, setting.folder / "awake.db", count)
    queued = _apart(queued_run, setting.folder / "queued.db", count)
    parked = _apart(parked_run, setting.folder / "parked.db", many)
    return [
        Figure("memory of an awake run", awake / 1024, "KB", None, 8.0),
        Figure("  of one whose activity waits for a slot", queued / 1024, "KB", None, 8.0),
        Figure("  of a parked one that has left memory", parked / 1024, "KB", None, 0.1),
    ]


def _apart(measured: Callable[[Path, int], float], database: Path, count: int) -> float:
    """In a process of its own: what an earlier measurement left to the allocator would be used again."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, database, count).result()


def awake_run(database: Path, count: int) -> float:
    return asyncio.run(per_run(database, count, idle, concurrency=2 * count + TOGETHER))


def queued_run(database: Path, count: int) -> float:
    return asyncio.run(per_run(database, count, idle, concurrency=1))


def parked_run(database: Path, count: int) -> float:
    """Python's memory only: SQLite keeps pages of what was written last, 16 MB of them and no more."""
    tracemalloc.start()
    return asyncio.run(per_run(database, count, lambda _: sleeper(DAY), cached_runs=CACHED))


async def per_run(database: Path, count: int, call: Callable[[int], Any], **options: Any) -> float:
    """Bytes by which the process grows for each run that is started; the first ones only warm it up."""
    async with Engine(f"sqlite:///{database}", DEFINITIONS, drain=0, **options) as engine:
        await _start(engine, call, range(TOGETHER))
        before = _used_bytes()
        await _start(engine, call, range(TOGETHER, TOGETHER + count))
        return (_used_bytes() - before) / count


async def _start(engine: Engine, call: Callable[[int], Any], numbers: range) -> None:
    for first in range(numbers.start, numbers.stop, TOGETHER):
        together = numbers[first - numbers.start : first - numbers.start + TOGETHER]
        await asyncio.gather(*(engine.start(call(number)) for number in together))
    await asyncio.sleep(0.2)  # what was started has begun its activity by then


def _used_bytes() -> int:
    """What is traced, if anything is; else the memory of this process, without what allocators can give back."""
    gc.collect()
    if tracemalloc.is_tracing():
        return tracemalloc.get_traced_memory()[0]
    _trim()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
