"""The short version: a clock of its own, so many runs an hour, and exactly those of the last hours are there; and what the long
one makes of its readings."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.kernel.project import HistoryRow
from perdure.kernel.run import Status
from perdure.runtime.retention import Retention
from perdure.runtime.world import World
from perdure.stores import base
from perdure.stores.memory import MemoryStore
from perdure.stores.postgres.store import PostgresStore
from perdure.stores.sqlite.store import SqliteStore
from tests.conformance.conftest import database as database
from tests.conformance.conftest import server as server
from tests.conformance.rows import run
from tests.growth.gauges import Reading
from tests.growth.verdict import line, picture, verdict

HOUR = 3_600 * 10**9
KEPT_HOURS = 3
HOURS = 12
AN_HOUR = 50


class Clock(World):
    def __init__(self) -> None:
        self.time = 1_000 * HOUR

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / 1e9


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[base.Store]:
    if request.param == "postgres":
        opened: base.Store = PostgresStore(request.getfixturevalue("database"))
    else:
        opened = MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "runs.db"))
    yield opened
    opened.admin.close()


def ended(store: base.Store, first: int, at: int) -> None:
    """Runs of an hour, with all that they leave."""
    rows = [run(2 * n, status=Status.COMPLETED, started_at=at, closed_at=at) for n in range(first, first + AN_HOUR)]
    store.journal.commit(
        base.Batch(
            created=rows,
            history=[HistoryRow(row.key, 1, b"e") for row in rows],
            blobs=[base.BlobRow(row.key, b"d" * 32, b"large") for row in rows],
            replies=[base.ReplyRow(f"{row.key}", "", "", at + HOUR // 2) for row in rows],
            parks=[(row.key, row.seq) for row in rows] if store.membership is not None else [],
            at=at,
        )
    )


def test_the_runs_of_the_last_hours_are_there_and_no_others(store: base.Store):
    clock = Clock()
    assert store.admin.try_own("here", 1, "build-1", clock.time) is not None
    retention = Retention(store, KEPT_HOURS * HOUR, clock, set, logging.getLogger("perdure.test"))

    kept: list[int] = []
    for hour in range(HOURS):
        ended(store, 1 + hour * AN_HOUR, clock.time)
        clock.time += HOUR
        retention.go_on()
        while retention.seconds(clock.monotonic()) is not None:
            clock.time += 1
            retention.go_on()
        kept.append(store.views.count(base.RunFilter()))

    assert kept == [min(hours, KEPT_HOURS - 1) * AN_HOUR for hours in range(1, KEPT_HOURS)] + [
        (KEPT_HOURS - 1) * AN_HOUR
    ] * (HOURS - KEPT_HOURS + 1)
    last = HOURS * AN_HOUR
    assert store.views.blob(2 * last, b"d" * 32) == b"large"
    assert store.views.blob(2, b"d" * 32) is None
    assert store.post.take_reply(f"{2 * last}") is None
    assert not [problem for problem in store.admin.check() if "does not exist" in problem]


def reading(seconds: float, runs: int = 5_000, live_bytes: int = 100 * 2**20) -> Reading:
    return Reading(seconds, runs, 5 * runs, 10, live_bytes, 1, 50 * 2**20, 1.0)


def test_what_stands_still_after_a_while_is_in_order():
    readings = [reading(n, min(n, 10) * 1_000) for n in range(30)]

    assert verdict(readings) == []


def test_what_grows_is_told():
    readings = [reading(n, live_bytes=n * 2**24) for n in range(30)]

    (problem,) = verdict(readings)
    assert problem.startswith("size still grows: at most")


def test_readings_are_drawn():
    readings = [reading(n, n * 1_000) for n in range(9)]

    assert picture(readings).splitlines()[0] == "runs      ▁▂▃▄▅▆▇█"
    assert "5,000" in line(reading(1.0))
