"""A process whose engine has a workflow that nothing can interrupt: `python -m tests.poison.deadly ADDRESS`.

What is deadly is named by the environment, so that the same code, the same build, does not kill where nothing is named.
"""

import ctypes
import itertools
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

from perdure import Engine, activity, workflow

DEADLY = "PERDURE_TEST_DEADLY"


def lock_twice() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


HOW: dict[str, Callable[[], Any]] = {
    "a sum without end": lambda: sum(itertools.count()),
    "a power that is too large": lambda: 10**10**8,
    "a regular expression that never ends": lambda: re.match("(a+)+$", "a" * 50 + "b"),
    "a lock that nobody gives back": lock_twice,
    "a fault": lambda: ctypes.string_at(0),
}


@activity
async def say(text: str) -> str:
    return text


@workflow
async def deadly() -> str:
    await say("here it comes")
    how = HOW.get(os.environ.get(DEADLY, ""))
    if how is not None:
        how()
    return "alive"


@workflow
async def lives(n: int) -> int:
    return len(await say("x" * n))


ALL = [deadly, lives, say]


def main(address: str) -> None:
    with Engine(address, ALL, stuck_after=0.5, kill_when_hung=2.0):
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
