"""Activities in processes beside those in threads: what an attempt costs, and what the first one in a process does."""

import time
from collections.abc import Callable
from statistics import median

from bench.figures import Figure, Setting
from bench.programs import PLACES, in_process, in_thread
from perdure import Call, Engine

PROCESS_US = 500.0
"""More than in a thread: the way to another process and back."""


def measure(setting: Setting) -> list[Figure]:
    count, starts = setting.pick((2_000, 9), (300, 3), (3, 1))
    first = [_first() for _ in range(starts)]
    with Engine("memory://", PLACES) as engine:
        for call in (in_thread(0), in_process(0)):
            engine.run(call).wait()
        thread, process = _each(engine, in_thread, count), _each(engine, in_process, count)
    return [
        Figure("an attempt in a process (floor: in a thread)", process, "µs", thread, thread + PROCESS_US),
        Figure("  the first one, which starts the process", median(first) * 1e3, "ms"),
    ]


def _first() -> float:
    with Engine("memory://", PLACES) as engine:
        began = time.perf_counter()
        engine.run(in_process(0)).wait()
        return time.perf_counter() - began


def _each(engine: Engine, workflow: Callable[[int], Call[int]], count: int) -> float:
    """Microseconds of a run with one step."""
    took: list[float] = []
    for number in range(count):
        began = time.perf_counter()
        engine.run(workflow(number)).wait()
        took.append(time.perf_counter() - began)
    return median(took) * 1e6
