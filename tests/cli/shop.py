"""Workflows for real processes: each act is noted in a ledger in the working folder, and gates are files."""

import asyncio
from pathlib import Path

from perdure import Retry, activity, workflow


@activity
def note(word: str) -> str:
    with open("ledger", "a") as ledger:
        ledger.write(word + "\n")
    return word


@activity
async def gate(name: str) -> None:
    """Ends once there is a file of that name; that it waits can be seen from another file."""
    Path(name + ".waits").touch()
    while not Path(name).exists():
        await asyncio.sleep(0.01)


@activity(retry=Retry(initial="1h", maximum="1h"))
async def flaky() -> str:
    if not Path("mended").exists():
        raise OSError("no answer")
    return "answered"


@activity
async def buggy() -> str:
    if not Path("mended").exists():
        raise NameError("name 'gateway' is not defined")
    return "mended"


@workflow
async def order(amount: int) -> str:
    await note("charged")
    await gate("gate")
    await note("shipped")
    return f"order of {amount}"


@workflow
async def careful(amount: int) -> str:
    try:
        await gate("gate")
    except asyncio.CancelledError:
        await note("refunded")
        raise
    return "never"


@workflow
async def asks() -> str:
    return await flaky()


@workflow
async def uses_a_bug() -> str:
    return await buggy()


@workflow
async def declines(amount: int) -> str:
    await note("charged")
    raise ValueError(f"{amount} is too much")
