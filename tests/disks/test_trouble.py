"""SQLite is refused something by the disk, at any call of any kind: whoever asked is told in our words, or it goes on; nothing
is lost, and nothing done twice.

With PERDURE_SOAK=1 everything is tried, and not only some of it.
"""

import asyncio

import pytest

from perdure import Engine, PerdureError, activity, workflow
from perdure.testing.simulation.plan import plan_of
from tests.disks import vfs
from tests.disks.lives import PLAN, REFUSALS, SOAK, lived, stormy
from tests.disks.machine import Weather, machine_in
from tests.disks.vfs import OK, What

pytestmark = pytest.mark.skipif(not vfs.is_possible(), reason="this Python hides its SQLite")

CALLS: dict[What, int] = {
    "write": 300,
    "sync": 25,
    "read": 300,
    "open": 13,
    "truncate": 2,
    "delete": 2,
    "size": 15,
    "lock": 11,
    "map": 8,
    "share": 390,
}
"""How often SQLite asks for it in such a life, about."""

TROUBLES = [(what, code, CALLS[what]) for what, codes in REFUSALS.items() for code in codes]


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


@pytest.mark.parametrize("workload", ["random", "everything"])
def test_nor_if_any_call_may_be_refused_and_the_power_fails_as_well(workload: str):
    wrong: list[str] = []
    refused = 0
    for seed in range(300 if SOAK else 3):
        found, machine = lived(plan_of(seed, workload).calm(), stormy(seed, refusals=0.003))
        refused += machine.refused
        if found.violation:
            wrong.append(f"seed {seed}: {found.violation}")

    assert wrong == []
    assert refused > 0


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
    assert all("runs.db" in text and text.endswith(("try again", "start again")) for text in told)
