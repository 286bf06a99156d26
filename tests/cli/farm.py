"""Activities of a queue, for workers in processes of their own. Gates and the ledger are files in the working folder."""

import asyncio
import os
from pathlib import Path

from perdure import Retry, activity, workflow

FOLDER = "PERDURE_TEST_FARM"
QUICK = Retry(initial=0.001, maximum=0.001)


def folder() -> Path:
    return Path(os.environ.get(FOLDER, "."))


def note(text: str) -> None:
    with open(folder() / "ledger", "a") as file:
        file.write(f"{text}\n")


async def gate(name: str) -> None:
    """Wait until a file of that name is there, and leave a mark behind it."""
    while not (folder() / name).exists():
        await asyncio.sleep(0.01)
    (folder() / f"{name}.passed").touch()


@activity(queue="gpu", retry=QUICK)
async def paint(n: int) -> int:
    note(f"paint-{n}")
    await asyncio.sleep(0.001)
    return n


@activity(queue="gpu", retry=QUICK)
async def paint_with_a_break(n: int, until: int) -> int:
    """The first ones are painted; those after them wait until a file named "gate" is there."""
    note(f"paint-{n}")
    if n >= until:
        await gate("gate")
    return n


@activity(queue="gpu", retry=QUICK)
async def wait_at_gate() -> str:
    info = activity.info()
    activity.heartbeat(f"attempt {info.attempt} was here")
    note(f"wait-{info.attempt}")
    await gate(f"gate-{info.attempt}")
    return f"attempt {info.attempt}, told: {info.heartbeat_details}"


@activity(queue="gpu")
def in_thread(n: int) -> int:
    note(f"thread-{n}")
    return n


@workflow
async def one(n: int) -> int:
    return await paint(n)


@workflow
async def many(count: int) -> int:
    return len(set(await asyncio.gather(*[paint(n) for n in range(count)])))


@workflow
async def many_with_a_break(count: int, until: int) -> int:
    return len(set(await asyncio.gather(*[paint_with_a_break(n, until) for n in range(count)])))


@workflow
async def patient() -> str:
    return await wait_at_gate()


@workflow
async def both(n: int) -> list[int]:
    return [await in_thread(n), await paint(n)]


ALL = [one, many, many_with_a_break, patient, both, paint, paint_with_a_break, wait_at_gate, in_thread]
