"""How long an engine takes to be ready, and to be left: what each test of a workflow pays."""

import time
from statistics import median

from bench.figures import Figure, Setting
from bench.programs import DEFINITIONS, three_steps
from perdure import Engine
from perdure.testing import TestEngine

READY_MS = 5.0


def measure(setting: Setting) -> list[Figure]:
    rounds = setting.pick(300, 50, 2)
    took = [_milliseconds(number) for number in range(rounds)]
    ready, for_tests, first, left = (median(column) for column in zip(*took, strict=True))
    return [
        Figure("engine in memory, made and entered", ready, "ms"),
        Figure("  engine for tests", for_tests, "ms", None, READY_MS),
        Figure("  its first run, of 3 steps", first, "ms"),
        Figure("  left", left, "ms"),
    ]


def _milliseconds(number: int) -> tuple[float, ...]:
    began = time.perf_counter()
    with Engine("memory://", DEFINITIONS):
        ready = time.perf_counter() - began
    began = time.perf_counter()
    with TestEngine(DEFINITIONS) as engine:
        entered = time.perf_counter()
        engine.run(three_steps(number)).wait()
        over = time.perf_counter()
    return tuple(seconds * 1e3 for seconds in (ready, entered - began, over - entered, time.perf_counter() - over))
