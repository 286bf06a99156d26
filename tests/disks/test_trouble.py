"""SQLite is refused something by the disk, at any call of any kind: whoever asked is told in our words, or it goes on; nothing
is lost, and nothing done twice."""

import asyncio

import pytest

from perdure import Engine, PerdureError, activity, workflow
from tests.disks import vfs
from tests.disks.lives import PLAN, SOAK, lived
from tests.disks.machine import Weather, machine_in
from tests.disks.vfs import OK, What

pytestmark = pytest.mark.skipif(not vfs.is_possible(), reason="this Python hides its SQLite")

BUSY, FULL, CANTOPEN = 5, 13, 14
IOERR_READ, IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE, IOERR_FSTAT = 266, 778, 1034, 1546, 1802
IOERR_LOCK, IOERR_SHMOPEN, IOERR_SHMLOCK, IOERR_SHMMAP, IOERR_DELETE = 3850, 4618, 5130, 5386, 2570

TROUBLES: list[tuple[What, int, int]] = [
    ("write", FULL, 300),
    ("write", IOERR_WRITE, 300),
    ("sync", IOERR_FSYNC, 25),
    ("read", IOERR_READ, 300),
    ("open", CANTOPEN, 13),
    ("truncate", IOERR_TRUNCATE, 2),
    ("delete", IOERR_DELETE, 2),
    ("size", IOERR_FSTAT, 15),
    ("lock", IOERR_LOCK, 11),
    ("lock", BUSY, 11),
    ("map", IOERR_SHMMAP, 8),
    ("map", IOERR_SHMOPEN, 8),
    ("share", IOERR_SHMLOCK, 390),
    ("share", BUSY, 390),
]
"""What is refused, how, and how often it is asked for in such a life, about."""


class Trouble:
    """The calls of a kind from the n-th one on are refused, so many of them, as long as it is `near`."""

    def __init__(self, what: What, code: int, at: int, lasts: int = 1, near: bool = True) -> None:
        self._what = what
        self._code = code
        self._calls = range(at, at + lasts)
        self._passed = 0
        self.near = near

    def __call__(self, what: What, name: str) -> int:
        if what != self._what or not self.near:
            return OK
        self._passed += 1
        return self._code if self._passed in self._calls else OK


@pytest.mark.parametrize("lasts", [1, 7])
@pytest.mark.parametrize(("what", "code", "calls"), TROUBLES)
def test_whatever_call_is_refused_the_outcome_is_the_same(what: What, code: int, calls: int, lasts: int):
    wrong: list[str] = []
    step = 1 if SOAK else max(calls // 2, 1)
    for at in range(1 + lasts % step, calls + 1, step):
        trouble = Trouble(what, code, at, lasts)
        found, _ = lived(PLAN, Weather(trouble=trouble))
        if found.violation:
            wrong.append(f"{what} {at}: {found.violation}")

    assert wrong == []


@activity
async def note(n: int) -> int:
    return n * n


@workflow
async def sums(count: int) -> int:
    await asyncio.sleep(0.001)
    return sum(await asyncio.gather(*[note(n) for n in range(count)]))


@pytest.mark.parametrize(("what", "code", "calls"), TROUBLES)
def test_an_engine_that_stops_by_it_says_so_in_our_words(
    what: What, code: int, calls: int, caplog: pytest.LogCaptureFixture
):
    told: list[str] = []
    for at in range(1, 60) if SOAK else (1, 4, 2 + calls // 12):
        trouble = Trouble(what, code, at, lasts=3, near=False)
        with machine_in(Weather(trouble=trouble)) as machine:
            store = machine.new()
            trouble.near = True
            try:
                with Engine(store, [sums, note]) as engine:
                    assert engine.run(sums(4), id="sums").wait() == 14
            except PerdureError as error:
                told.append(f"{error}")
            trouble.near = False
            with Engine(machine.new(), [sums, note]) as engine:
                assert engine.run(sums(4), id="sums").wait() == 14
        assert machine.problems == []

    assert [record.message for record in caplog.records if record.levelname == "CRITICAL"] == []
    assert all("runs.db: " in text and text.endswith(("try again", "start again")) for text in told)
