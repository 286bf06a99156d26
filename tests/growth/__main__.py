"""`python -m tests.growth --minutes 60 --store postgres`: a steady load, of which only the latest is kept, and what that comes to.

Prints a line for each interval and a picture at the end; the exit code is 1 if sizes still grow when they should not any more.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perdure import Engine
from perdure.stores.postgres.store import PostgresStore
from perdure.stores.sqlite.store import SqliteStore
from tests.growth.gauges import PostgresGauge, Reading, SqliteGauge, Timed
from tests.growth.load import ALL, keep_up
from tests.growth.verdict import HEAD, line, picture, verdict
from tests.postgres.server import Server

READINGS = 60


@contextmanager
def opened(store: str) -> Iterator[tuple[Any, Any, Timed]]:
    """A store, what measures it, and its polls."""
    if store == "postgres":
        with Server({"autovacuum_naptime": "10s"}) as server:
            made = PostgresStore(server.address())
            polls = made.membership = Timed(made.membership)  # type: ignore[assignment]
            gauge = PostgresGauge(server.address())
            yield made, gauge, polls
            gauge.close()
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "runs.db")
            made = SqliteStore(str(path))
            polls = made.work = Timed(made.work)  # type: ignore[assignment]
            gauge = SqliteGauge(path)
            yield made, gauge, polls
            gauge.close()


async def soak(store: str, minutes: float, a_second: float, keep: str) -> tuple[list[Reading], list[tuple[Any, ...]]]:
    seconds, readings = minutes * 60, list[Reading]()
    with opened(store) as (made, gauge, polls):
        async with Engine(made, ALL, retention=keep) as engine:
            begin = time.monotonic()
            load = asyncio.ensure_future(keep_up(engine, "run", a_second, seconds))
            print(HEAD, flush=True)
            while not load.done():
                await asyncio.wait([load], timeout=seconds / READINGS)
                readings.append(gauge.read(time.monotonic() - begin, polls))
                print(line(readings[-1]), flush=True)
            print(f"{load.result():,} runs were started")
        return readings, gauge.tables()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.growth", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--store", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--rate", type=float, default=100.0, help="runs a second")
    parser.add_argument("--keep", default="60s", help="how long they are kept")
    asked = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # attempts fail, as they are meant to
    readings, tables = asyncio.run(soak(asked.store, asked.minutes, asked.rate, asked.keep))
    for name, table, index, rows, dead, updates, hot in tables:
        print(f"{name:<12} {table / 2**20:8.1f} MiB, indexes {index / 2**20:7.1f} MiB, {rows:>8,} rows, {dead:>7,} dead, "
              f"{updates:>9,} updates, {hot:>9,} of them without an index")  # fmt: skip
    print(picture(readings))
    problems = verdict(readings)
    print("\n".join(problems) or "nothing grows")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
