"""Several members and a PostgreSQL server on this machine: throughput beside DBOS, latency beside bare commits, tasks over worker
processes, and how long it takes until others go on with what a killed member had."""

import asyncio
import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import psycopg

from bench.figures import LINEAR, Figure, Setting
from bench.members import Members, Took
from bench.programs import DEFINITIONS, remote_fan_out, three_steps
from bench.queues import workers
from bench.servers import measured_server
from perdure import Engine
from tests.postgres.server import Server

MEMBERS = 2
WORKERS = 4
STEPS = 3
COMMITS = 4
TIMES_DBOS = 20.0
TIMES_COMMITS = 1.5
MORE_US = (0, 1_000)
"""So much longer than on this machine's disk each commit takes: what is asked between commits takes the same time on each disk."""


class Round(NamedTuple):
    """What a round took, and processor seconds of the server for each workflow."""

    took: Took
    server: float


def measure(setting: Setting) -> list[Figure]:
    with measured_server(setting) as server:
        if server is None:
            return []
        return [
            *_throughput(setting, server),
            *(asyncio.run(_latency(setting, server, more_us)) for more_us in MORE_US),
            *asyncio.run(_tasks(setting, server)),
        ]


@contextmanager
def _database(server: Server, name: str) -> Iterator[str]:
    with psycopg.connect(server.address(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield server.address(name)


def _throughput(setting: Setting, server: Server) -> list[Figure]:
    count, theirs, in_flight, rounds = setting.pick((16_000, 600, 1_000, 5), (4_000, 200, 1_000, 3), (40, 4, 10, 1))
    ours: list[Round] = []
    dbos: list[Round] = []
    with _database(server, "throughput") as address, Members("perdure", address, MEMBERS, in_flight) as members:
        compared = importlib.util.find_spec("dbos") is not None
        if compared:
            with _database(server, "dbos") as other, Members("dbos", other, MEMBERS, in_flight) as rivals:
                for _ in range(rounds):
                    ours.append(_round(server, members, count))
                    dbos.append(_round(server, rivals, theirs))
        else:
            ours += [_round(server, members, count) for _ in range(rounds)]
    per_second = median(each.took.per_second for each in ours)
    figures = [
        Figure(f"PostgreSQL, {MEMBERS} members, {in_flight:,} in flight: workflows per second", per_second),
        Figure("  CPU of a step, client", median(each.took.cpu for each in ours) / STEPS * 1e6, "µs"),
        Figure("  CPU of a step, server", median(each.server for each in ours) / STEPS * 1e6, "µs"),
    ]
    if compared:
        ratios = [mine.took.per_second / their.took.per_second for mine, their in zip(ours, dbos, strict=True)]
        cpu = [
            (their.took.cpu + their.server) / (mine.took.cpu + mine.server)
            for mine, their in zip(ours, dbos, strict=True)
        ]
        figures += [
            Figure("  DBOS: workflows per second", median(each.took.per_second for each in dbos)),
            Figure("  workflows per second over those of DBOS", median(ratios), "×", None, TIMES_DBOS, True),
            Figure("  CPU of DBOS over ours, client and server", median(cpu), "×"),
        ]
    return figures


def _round(server: Server, members: Members, count: int) -> Round:
    before = _cpu_of(server)
    took = members.run(count)
    return Round(took, (_cpu_of(server) - before) / count)


def _cpu_of(server: Server) -> float:
    """Processor seconds that the processes of the server have used so far, those that have ended too."""
    first = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    ticks = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(pid) == first:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == first:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def _latency(setting: Setting, server: Server, more_us: int) -> Figure:
    """The commits beside them insert as many bytes, by one call of a function that does nothing else."""
    count = setting.pick(1_000, 200, 3)
    took: list[float] = []
    floors: list[float] = []
    with _database(server, f"latency_{more_us}") as address:
        for name, value in (("commit_delay", more_us), ("commit_siblings", 0)):
            server.ask(f"ALTER DATABASE latency_{more_us} SET {name} = {value}")
        with psycopg.connect(address, autocommit=True) as bare:
            async with Engine(address, DEFINITIONS) as engine:
                await asyncio.gather(*(engine.run(three_steps(number)) for number in range(20)))
                bare.execute("CREATE TABLE bare (run bigint, seq bigint, events bytea, PRIMARY KEY (run, seq))")
                sizes = bare.execute("SELECT avg(length(events)) FROM perdure.history").fetchone()
                data = os.urandom(round(float(sizes[0] if sizes else 100)))
                for number in range(count):
                    began = time.perf_counter()
                    await engine.run(three_steps(number))
                    took.append(time.perf_counter() - began)
                    began = time.perf_counter()
                    for part in range(COMMITS):
                        bare.execute("INSERT INTO bare VALUES (%s, %s, %s)", (number, part, data))
                    floors.append(time.perf_counter() - began)
    floor = median(floors) * 1e3
    where = f", commits take {more_us / 1e3:g} ms longer" if more_us else ""
    return Figure(
        f"PostgreSQL: 3-step workflow, one at a time{where}, p50",
        median(took) * 1e3, "ms", floor, floor * TIMES_COMMITS,
    )  # fmt: skip


async def _tasks(setting: Setting, server: Server) -> list[Figure]:
    narrow, wide, rounds = setting.pick((1_000, 10_000, 5), (500, 2_000, 2), (10, 30, 1))
    took: dict[int, list[float]] = {narrow: [], wide: []}
    with _database(server, "tasks") as address:
        async with Engine(address, DEFINITIONS) as engine:
            with workers(address, WORKERS):
                while len(engine.store.views.workers()) < WORKERS:
                    await asyncio.sleep(0.02)
                await engine.run(remote_fan_out(narrow))
                for _ in range(rounds):
                    for width, seconds in took.items():
                        began = time.perf_counter()
                        assert await engine.run(remote_fan_out(width)) == width
                        seconds.append(time.perf_counter() - began)
    growth = (median(took[wide]) / wide) / (median(took[narrow]) / narrow)
    return [
        Figure(f"PostgreSQL: fan-out of {wide:,} tasks, {WORKERS} worker processes", median(took[wide]), "s"),
        Figure("  tasks per second", wide / median(took[wide])),
        Figure(f"  one of {wide:,} over one of {narrow:,}", growth, "×", None, LINEAR),
    ]
