"""Streams: how many chunks a second are written and stored, read again, and how long one takes to whoever follows."""

import asyncio
import time

from bench.figures import Figure, Setting
from perdure import Engine, activity, stream, workflow

WRITERS = 10
FLOOR = 20_000.0


@activity
async def say(count: int) -> int:
    tokens = stream("tokens", str)
    for n in range(count):
        await tokens.write(f"token {n}")
        if not n % 500:
            await asyncio.sleep(0)  # as one that waits for a model
    return count


@activity
async def tick(count: int) -> int:
    for _ in range(count):
        await stream("times").write(time.perf_counter())
        await asyncio.sleep(0.01)
    return count


@workflow
async def chat(count: int) -> int:
    return await say(count)


@workflow
async def ticking(count: int) -> int:
    return await tick(count)


@workflow
async def count_up(count: int) -> None:
    numbers = stream("numbers", int)
    for n in range(count):
        numbers.write(n)


async def run(setting: Setting) -> list[Figure]:
    each, own, ticks = setting.pick((30_000, 200_000, 300), (5_000, 20_000, 60), (50, 200, 3))
    definitions = [chat, say, ticking, tick, count_up]
    async with Engine(f"sqlite:///{setting.folder / 'streams.db'}", definitions) as engine:
        began = time.perf_counter()
        await asyncio.gather(*(engine.run(chat(each), id=f"chat-{n}") for n in range(WRITERS)))
        written = time.perf_counter() - began

        began = time.perf_counter()
        read = 0
        async for _ in engine.handle("chat-0").stream("tokens", type=str):
            read += 1
        reading = time.perf_counter() - began

        began = time.perf_counter()
        await engine.run(count_up(own))
        counted = time.perf_counter() - began

        handle = await engine.start(ticking(ticks))
        late = sorted([time.perf_counter() - chunk.value async for chunk in handle.stream("times")])
    return [
        Figure(f"chunks a second, by {WRITERS} activities", WRITERS * each / written, "", None, FLOOR, True),
        Figure("  read again", read / reading),
        Figure("  by a workflow, in one turn", own / counted, "", None, FLOOR, True),
        Figure("a chunk on its way to a follower, p50", late[len(late) // 2] * 1e3, "ms"),
        Figure("  p99", late[len(late) * 99 // 100] * 1e3, "ms"),
    ]


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
