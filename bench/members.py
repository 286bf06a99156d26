"""Processes that share a PostgreSQL database, each told on its standard input when to run how many workflows.

    python -m bench.members perdure|dbos ADDRESS IN_FLIGHT

It answers a line of JSON each time: seconds by the wall, and by its processor. The first line says that it is ready.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from bench.programs import DEFINITIONS, three_steps
from perdure import Engine

ROOT = Path(__file__).resolve().parent.parent


class Took(NamedTuple):
    """One round of all members: workflows per second by the wall, and processor seconds of the clients for each workflow."""

    per_second: float
    cpu: float


class Members:
    """So many processes of one kind, which work at the same time."""

    def __init__(self, kind: str, address: str, count: int, in_flight: int) -> None:
        command = [sys.executable, "-m", "bench.members", kind, address, str(in_flight // count)]
        self._processes = [
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]

    def run(self, workflows: int) -> Took:
        """Each runs its share of them."""
        share = workflows // len(self._processes)
        began = time.perf_counter()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{share}\n")
            process.stdin.flush()
        cpu = sum(self._answer(process)["cpu"] for process in self._processes)
        count = share * len(self._processes)
        return Took(count / (time.perf_counter() - began), cpu / count)

    def _answer(self, process: "subprocess.Popen[str]") -> dict[str, float]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a member has ended with {process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        for process in self._processes:
            self._answer(process)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._processes:
            process.communicate()


async def wave(run: Callable[[int], Awaitable[int]], count: int, in_flight: int) -> None:
    """`count` workflows, `in_flight` at the same time; each is awaited, and another one started in its place."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            assert await run(number) == number

    await asyncio.gather(*(caller() for _ in range(in_flight)))


async def obey(run: Callable[[int], Awaitable[int]], in_flight: int, warm: int) -> None:
    await wave(run, warm, min(in_flight, warm))
    print("{}", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        await wave(run, int(line), in_flight)
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}), flush=True)


async def perdure(address: str, in_flight: int) -> None:
    async with Engine(address, DEFINITIONS) as engine:
        await obey(lambda number: engine.run(three_steps(number)), in_flight, in_flight)


async def dbos(address: str, in_flight: int) -> None:
    """The same workflow in DBOS, as its pages say it is written."""
    from dbos import DBOS  # pyright: ignore[reportMissingImports]  of the group `bench` alone

    database = address.replace("postgresql://", "postgresql+psycopg://")
    options: Any = {"name": "bench", "system_database_url": database, "log_level": "ERROR", "run_admin_server": False}
    DBOS(config=options)

    @DBOS.step()
    async def no_op(number: int) -> int:
        return number

    @DBOS.workflow()
    async def steps(number: int) -> int:
        first = await no_op(number)
        second = await no_op(first)
        return await no_op(second)

    DBOS.launch()
    await obey(steps, in_flight, 20)
    DBOS.destroy()


if __name__ == "__main__":
    kind, address, in_flight = sys.argv[1:]
    asyncio.run({"perdure": perdure, "dbos": dbos}[kind](address, int(in_flight)))
