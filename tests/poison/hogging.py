"""An engine in a process that may not have much memory, and a workflow that wants all: `python -m tests.poison.hogging`."""

import resource
import sys

from perdure import Engine, RunFailed, activity, workflow

BESIDE_BYTES = 400 << 20
"""What it may have beside what it has when it begins."""


@activity
async def say(text: str) -> str:
    return text


@workflow
async def hog() -> None:
    had = []
    while True:
        had.append(bytes(10_000_000))


@workflow
async def lives(n: int) -> int:
    return len(await say("x" * n))


def main() -> None:
    with Engine("memory://", [hog, lives, say], stuck_after="60s") as engine:
        engine.run(lives(1)).wait()  # all threads are there
        with open("/proc/self/statm") as statm:
            has = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + BESIDE_BYTES, has + BESIDE_BYTES))
        bad = engine.start(hog(), id="bad").wait()
        goods = [engine.run(lives(n)).wait() for n in range(5)]
        try:
            bad.result().wait()
        except RunFailed as failed:
            print(goods, failed)


if __name__ == "__main__":
    sys.exit(main())
