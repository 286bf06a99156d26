"""Workflows whose activities have a process to themselves, and what those do to it."""

import asyncio
import ctypes
import os
import signal
import threading
import time
from datetime import timedelta

from perdure import Retry, activity, stream, workflow
from tests.engine.deeds import mark

AT_ONCE = Retry(initial=0.001, max_attempts=3)


@activity(runs_in="process", retry=AT_ONCE)
def crash_once(how: str) -> list[int]:
    """Takes its process down in the first attempt; then the number of the attempt, and the process."""
    activity.logger.info("attempt %d", activity.info().attempt)
    if activity.info().attempt == 1:
        if how == "exit":
            os._exit(5)
        elif how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()
        ctypes.string_at(0)
    return [activity.info().attempt, os.getpid()]


@activity(runs_in="process", retry=AT_ONCE)
def crash_always() -> None:
    os._exit(1)


@activity(runs_in="process", at_most_once=True)
def crash_only_once() -> None:
    os._exit(1)


@activity(runs_in="process")
def double(text: str) -> str:
    return text * 2


@activity(runs_in="process")
def process() -> int:
    return os.getpid()


@activity(runs_in="process", timeout="30ms", retry=1)
def oversleep() -> None:
    mark(str(os.getpid()))
    threading.Event().wait()


@activity(runs_in="process", timeout="10m")
def hang() -> None:
    mark(str(os.getpid()))
    threading.Event().wait()


@activity(runs_in="process")
def wait_politely() -> None:
    mark("waits")
    while not activity.cancelled():
        time.sleep(0.001)
    mark("was told")


@activity(runs_in="process", retry=AT_ONCE)
def count_up() -> list[int]:
    """What it has counted to, over a crash."""
    reached = activity.info().heartbeat_details or 0
    for number in range(reached, reached + 3):
        activity.heartbeat(number + 1)
    if activity.info().attempt == 1:
        os._exit(1)
    return [reached, activity.info().attempt]


@activity(runs_in="process")
def describe() -> tuple[str, str, int, timedelta | None]:
    info = activity.info()
    return info.id, info.activity, info.attempt, info.timeout


@activity(runs_in="process")
def misspell() -> None:
    activity.logger.warning("here it comes")
    raise NameError("a bug")


@activity(runs_in="process", queue="crunching", retry=AT_ONCE)
def crunch(text: str) -> list[str]:
    if activity.info().attempt == 1:
        activity.heartbeat("was here")
        os._exit(1)
    return [text, activity.info().queue, activity.info().heartbeat_details]


@workflow
async def crunches(text: str) -> list[str]:
    return await crunch(text)


@workflow
async def crashes_once(how: str) -> list[int]:
    return await crash_once(how)


@workflow
async def crashes_always() -> None:
    await crash_always()


@workflow
async def crashes_only_once() -> None:
    await crash_only_once()


@workflow
async def crash_among_others(width: int) -> list[str]:
    one, *others = await asyncio.gather(crash_once("kill"), *(double(str(number)) for number in range(width)))
    return [str(one[0]), *others]


@workflow
async def doubled(text: str) -> int:
    return len(await double(await double(text)))


@workflow
async def where() -> int:
    return await process()


@workflow
async def oversleeps() -> None:
    await oversleep()


@workflow
async def hangs() -> None:
    await hang()


@workflow
async def waits_politely() -> None:
    await wait_politely()


@workflow
async def counts_up() -> list[int]:
    return await count_up()


@workflow
async def describes() -> tuple[str, str, int, timedelta | None]:
    return await describe()


@workflow
async def misspells() -> None:
    await misspell()


@activity(runs_in="process")
def tell(words: list[str]) -> int:
    for word in words:
        stream("tokens").write(word)
    return len(words)


@activity(runs_in="process")
def pour_apart(count: int, size: int) -> float:
    text = "x" * size
    for _ in range(count):
        stream("water").write(text)
    return 1.0


ALL = [
    crunches,
    crunch,
    crashes_once,
    crashes_always,
    crashes_only_once,
    crash_among_others,
    doubled,
    where,
    oversleeps,
    hangs,
    waits_politely,
    counts_up,
    describes,
    misspells,
    crash_once,
    crash_always,
    crash_only_once,
    double,
    process,
    oversleep,
    hang,
    wait_politely,
    count_up,
    describe,
    misspell,
]
