"""An engine that has nothing to do: how often it asks its database."""

import asyncio
from collections.abc import Sequence

from bench.counted import CountedStore
from bench.figures import Figure, Setting
from bench.programs import DEFINITIONS, sleeper
from perdure import Engine

ELSEWHERE = {"tasks.dead"}
"""What is asked of the files beside the database."""


async def run(setting: Setting) -> list[Figure]:
    seconds = setting.pick(10.0, 2.2, 0.1)
    empty, asleep, serving = await asyncio.gather(
        calls_a_second(setting, "empty.db", 0, seconds),
        calls_a_second(setting, "asleep.db", setting.pick(1_000, 100, 3), seconds),
        calls_a_second(setting, "serving.db", 0, seconds, queues=["bench"]),
    )
    return [
        Figure("calls of an idle engine to its database", empty, "/s", None, 1.0),
        Figure("  with sleeping runs", asleep, "/s", None, 1.0),
        Figure("  that serves a queue: the engine's and the worker's", serving, "/s", None, 2.0),
    ]


async def calls_a_second(
    setting: Setting, name: str, sleeping: int, seconds: float, queues: Sequence[str] = ()
) -> float:
    store = CountedStore(setting.folder / name)
    async with Engine(store, DEFINITIONS, queues=queues) as engine:
        await asyncio.gather(*(engine.start(sleeper(86_400)) for _ in range(sleeping)))
        await asyncio.sleep(min(seconds, 0.5))
        store.calls.clear()
        await asyncio.sleep(seconds)
        calls = [(at, name.partition(".")[0]) for at, name in store.calls if name not in ELSEWHERE]
    return sum(_rate([at for at, part in calls if part == one], seconds) for one in {part for _, part in calls})


def _rate(calls: Sequence[float], seconds: float) -> float:
    return (len(calls) - 1) / (calls[-1] - calls[0]) if len(calls) > 1 else len(calls) / seconds


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
