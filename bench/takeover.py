"""A member of a PostgreSQL database is killed: how long until another goes on with what it had.

It leaves runs that only sleep, runs whose timers fall due about then, and runs with an attempt in flight, all of which is lost.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psycopg

from bench.figures import Figure, Setting
from bench.servers import measured_server
from perdure import Engine, Retry, activity, workflow

ROOT = Path(__file__).resolve().parent.parent
LEASE_SECONDS = 3.0
"""How long a member may be silent; 10 s unless one says otherwise."""

AT_FIRST_SECONDS = 1.0
ALL_SECONDS = 10.0
DEADLINE_SECONDS = 300.0
HANGS = "PERDURE_BENCH_HANGS"


class Left(NamedTuple):
    """What the killed member leaves: runs with an attempt in flight, with a timer that is due, and others that sleep."""

    flying: int
    due: int
    asleep: int


@activity(retry=Retry(initial=0.001))
async def hangs_in_the_first_member(number: int) -> int:
    if HANGS in os.environ:
        await asyncio.Event().wait()
    return number


@workflow
async def flies(number: int) -> int:
    return await hangs_in_the_first_member(number)


@workflow
async def sleeps(seconds: float) -> None:
    await asyncio.sleep(seconds)


DEFINITIONS = [flies, sleeps, hangs_in_the_first_member]


def engine(address: str, left: Left) -> Engine:
    awake = max(left.flying + 100, 20_000)
    return Engine(address, DEFINITIONS, concurrency=left.flying + 1, awake_runs=awake, lease=LEASE_SECONDS)


async def victim(address: str, left: Left) -> None:
    """Begins all of it, says so with the time at which the timers are due, and waits to be killed."""
    async with engine(address, left) as working:
        slots = asyncio.Semaphore(2_000)

        async def start(call: "object", id: str) -> None:
            async with slots:
                await working.start(call, id=id)  # type: ignore[arg-type]

        await asyncio.gather(*(start(sleeps(1e6), f"asleep-{n}") for n in range(left.asleep)))
        await asyncio.gather(*(start(flies(n), f"flying-{n}") for n in range(left.flying)))
        due_at = time.time() + 4.0 + left.due / 1_000
        await asyncio.gather(*(start(sleeps(max(due_at - time.time(), 0.0)), f"due-{n}") for n in range(left.due)))
        print(due_at, flush=True)
        await asyncio.Event().wait()


async def run(address: str, left: Left) -> tuple[float, float]:
    """Seconds after the kill until the first run was done by somebody else, and until all were that are not asleep."""
    command = [sys.executable, "-m", "bench.takeover", address, *map(str, left)]
    environment = {**os.environ, HANGS: "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    due_at = float(await asyncio.to_thread(process.stdout.readline))
    logging.getLogger("perdure").setLevel(logging.CRITICAL)  # each lost attempt is told
    try:
        async with engine(address, left):
            with psycopg.connect(address, autocommit=True) as connection:
                await asyncio.sleep(max(due_at - LEASE_SECONDS - time.time(), 1.5))
                before = _done(connection)
                process.send_signal(signal.SIGKILL)
                killed = time.monotonic()
                process.wait()
                first = 0.0
                while (done := _done(connection)) < left.flying + left.due:
                    passed = time.monotonic() - killed
                    first = first or (passed if done > before else 0.0)
                    if passed > DEADLINE_SECONDS:
                        raise RuntimeError(f"{done:,} runs are done, of {left.flying + left.due:,}")
                    await asyncio.sleep(0.05)
                return first or time.monotonic() - killed, time.monotonic() - killed
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        logging.getLogger("perdure").setLevel(logging.NOTSET)


def _done(connection: "psycopg.Connection[tuple[int]]") -> int:
    found = connection.execute("SELECT count(*) FROM perdure.runs WHERE status = 7").fetchone()
    assert found is not None
    return found[0]


def measure(setting: Setting) -> list[Figure]:
    left = setting.pick(Left(20_000, 20_000, 60_000), Left(2_000, 2_000, 6_000), Left(5, 5, 5))
    with measured_server(setting) as server:
        if server is None:
            return []
        first, everything = asyncio.run(run(server.address(), left))
    return [
        Figure(f"takeover of {sum(left):,} open runs: first progress", first, "s", None, LEASE_SECONDS + AT_FIRST_SECONDS),
        Figure(f"  all {left.flying + left.due:,} that had something to do, after that", everything - first, "s", None,
               ALL_SECONDS),
    ]  # fmt: skip


if __name__ == "__main__":
    address, *counts = sys.argv[1:]
    asyncio.run(victim(address, Left(*map(int, counts))))
