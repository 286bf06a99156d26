"""An engine that has nothing to do: how often it asks its database."""

import asyncio

from bench.counted import CountedStore
from bench.figures import Figure, Setting
from bench.programs import DEFINITIONS, sleeper
from perdure import Engine


async def run(setting: Setting) -> list[Figure]:
    seconds = setting.pick(10.0, 2.2, 0.1)
    empty, asleep = await asyncio.gather(
        calls_a_second(setting, "empty.db", 0, seconds),
        calls_a_second(setting, "asleep.db", setting.pick(1_000, 100, 3), seconds),
    )
    return [
        Figure("calls of an idle engine to its database", empty, "/s", None, 1.0),
        Figure("  with sleeping runs", asleep, "/s", None, 1.0),
    ]


async def calls_a_second(setting: Setting, name: str, sleeping: int, seconds: float) -> float:
    store = CountedStore(setting.folder / name)
    async with Engine(store, DEFINITIONS) as engine:
        await asyncio.gather(*(engine.start(sleeper(86_400)) for _ in range(sleeping)))
        await asyncio.sleep(min(seconds, 0.5))
        store.calls.clear()
        await asyncio.sleep(seconds)
        calls = [at for at, _ in store.calls]
    return (len(calls) - 1) / (calls[-1] - calls[0]) if len(calls) > 1 else len(calls) / seconds


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
