"""What runs all the time: one of each kind of row that a database gets."""

import asyncio
import itertools
import time

from perdure import Engine, Retry, activity, sleep, stream, workflow

NAP_SECONDS = 3.0
"""Longer than a run is kept awake for: it is parked."""


@activity
async def nothing(number: int) -> int:
    return number


@activity
async def large(number: int) -> str:
    return "x" * 100_000


@activity(retry=Retry(initial="10ms", max_attempts=3))
async def shaky(number: int) -> int:
    if activity.info().attempt == 1:
        raise ConnectionError("the first time it never works")
    return number


@workflow
async def three_steps(number: int) -> int:
    for step in range(3):
        await nothing(step)
    return number


@workflow
async def naps(number: int) -> int:
    await nothing(number)
    await sleep(NAP_SECONDS)
    return await nothing(number)


@workflow
async def has_all(number: int) -> int:
    """Attempts, a large payload, attributes, what it shows, a stream, a child."""
    workflow.set_attributes({"number": number})
    await stream("tokens").write("word")
    await large(number)
    await shaky(number)
    return await three_steps(number)


ALL = [nothing, large, shaky, three_steps, naps, has_all]
EVERY_NAP = 5
EVERY_ALL = 20


async def keep_up(engine: Engine, name: str, a_second: float, seconds: float) -> int:
    """Start so many runs a second, no matter how they get on; how many there were."""
    begin = time.monotonic()
    for n in itertools.count():
        ahead = begin + n / a_second - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        if time.monotonic() - begin >= seconds:
            return n
        call = has_all(n) if n % EVERY_ALL == 0 else naps(n) if n % EVERY_NAP == 0 else three_steps(n)
        await engine.start(call, id=f"{name}-{n}")
    return 0
