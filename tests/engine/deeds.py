"""Definitions that several processes share, and the file in which they leave their marks."""

import asyncio
import os
import re
import signal
import threading
from pathlib import Path

from perdure import Retry, activity, workflow

MARKS = "PERDURE_TEST_MARKS"
PATTERN = os.environ.get("PERDURE_TEST_PATTERN", "(a+)+$")
"""A regular expression that never ends, unless another one is given."""


def mark(text: str) -> None:
    """One line in the file outside of every database."""
    with open(os.environ[MARKS], "a") as file:
        file.write(f"{text}\n")


def marks() -> list[str]:
    path = Path(os.environ[MARKS])
    return path.read_text().splitlines() if path.exists() else []


@activity
async def greet(name: str) -> str:
    mark(f"greet {name}")
    return f"Hello {name}"


@activity
async def hang_once(name: str) -> str:
    """Hangs in the first process that runs it."""
    mark(f"hang {name} {activity.info().attempt}")
    print("hanging", flush=True)
    if activity.info().attempt == 1:
        await asyncio.Event().wait()
    return name


@activity(retry=Retry(initial=0.01, max_attempts=3))
def die() -> None:
    mark(f"die {activity.info().attempt}")
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


@workflow
async def hello(name: str) -> str:
    return await greet(name)


@workflow
async def patient(name: str) -> str:
    return await greet(name) + await hang_once(name)


@workflow
async def deadly() -> None:
    await die()


@workflow
async def endless() -> str:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await greet("the broom")
        raise
    return "never"


@workflow
async def hellish() -> str:
    await greet("the devil")
    return str(re.match(PATTERN, "a" * 50 + "b"))


ALL = [hello, patient, deadly, endless, hellish, greet, hang_once, die]
