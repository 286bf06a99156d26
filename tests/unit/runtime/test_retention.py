"""How much of the time goes into what is kept no longer, and what is looked at for it. The clock is moved by hand."""

import logging
from typing import Any

import pytest

from perdure.errors import StoreFull, StoreUnreachable
from perdure.runtime import retention
from perdure.runtime.retention import Retention
from perdure.runtime.world import World
from perdure.stores import base
from perdure.stores.memory import MemoryStore
from perdure.stores.pruning import Prune, Pruned
from tests.conformance.rows import run

DAY = 86_400.0
LOG = logging.getLogger("perdure.test")


class Clock(World):
    def __init__(self) -> None:
        self.seconds = 10 * DAY

    def now(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds


class Slow:
    """A part that takes its time, and keeps what it was asked."""

    def __init__(self, admin: base.Admin, clock: Clock) -> None:
        self._admin = admin
        self._clock = clock
        self.seconds = 0.0
        self.asked: list[Prune] = []
        self.began: list[float] = []
        self.fails: Exception | None = None
        self.tidies = False

    def prune(self, wanted: Prune) -> Pruned:
        self.asked.append(wanted)
        self.began.append(self._clock.seconds)
        self._clock.seconds += self.seconds
        if self.fails:
            raise self.fails
        return self._admin.prune(wanted)

    def tidy(self, now: int) -> None:
        if self.fails and self.tidies:
            raise self.fails
        self._admin.tidy(now)


class Scene:
    def __init__(self, keep_days: float | None = 1.0) -> None:
        self.clock = Clock()
        self.store: Any = MemoryStore()
        self.admin = self.store.admin = Slow(self.store.admin, self.clock)
        self.store.admin._admin.try_own("here", 1, "b", 1)  # pyright: ignore[reportPrivateUsage]
        self.spared: set[int] = set()
        keep_ns = None if keep_days is None else int(keep_days * DAY * 1e9)
        self.retention = Retention(self.store, keep_ns, self.clock, lambda: self.spared, LOG)

    def put(self, *keys: int, closed_days_ago: float = 2.0) -> None:
        at = int((self.clock.seconds - closed_days_ago * DAY) * 1e9)
        rows = [run(key, status=7, started_at=at, closed_at=at) for key in keys]
        self.store.journal.commit(base.Batch(created=rows))

    def pass_through(self) -> None:
        """From where it stands to the end of a pass."""
        self.clock.seconds += 1_000.0
        self.retention.go_on()
        while (seconds := self.retention.seconds(self.clock.seconds)) is not None:
            self.clock.seconds += seconds
            self.retention.go_on()

    def keys(self) -> list[int]:
        return sorted(self.store.shelf.runs)


def test_what_is_old_goes():
    scene = Scene()
    scene.put(*range(2, 402, 2))
    scene.put(500, closed_days_ago=0.5)

    scene.pass_through()

    assert scene.keys() == [500]


def test_nothing_is_looked_at_that_is_kept_for_ever():
    scene = Scene(keep_days=None)
    scene.put(2)

    scene.pass_through()

    assert scene.keys() == [2]
    assert scene.admin.asked == []


def test_whom_somebody_waits_for_stays():
    scene = Scene()
    scene.put(2, 4)
    scene.spared.add(2)

    scene.pass_through()

    assert scene.keys() == [2]


def test_batches_are_as_large_as_is_quick():
    scene = Scene()
    scene.put(*range(2, 10_002, 2))

    scene.pass_through()

    limits = [wanted.limit for wanted in scene.admin.asked]
    assert limits[:3] == [20, 40, 80]
    assert max(limits) == retention.BATCH_RUNS[1]


def test_it_takes_a_fifth_of_the_time_at_most_and_small_steps_when_they_are_slow():
    scene = Scene()
    scene.put(*range(2, 402, 2))
    scene.admin.seconds = 1.0

    scene.pass_through()

    assert {wanted.limit for wanted in scene.admin.asked} == {retention.BATCH_RUNS[0]}
    gaps = [later - before for before, later in zip(scene.admin.began, scene.admin.began[1:], strict=False)]
    assert gaps == pytest.approx([1.0 + retention.PAUSE] * len(gaps))


def test_it_does_nothing_between_its_passes():
    scene = Scene()
    scene.pass_through()
    before = len(scene.admin.asked)

    for _ in range(500):
        scene.clock.seconds += 1.0
        scene.retention.go_on()

    assert len(scene.admin.asked) == before
    assert scene.retention.seconds(scene.clock.seconds) is None


def test_a_pass_begins_where_the_last_has_left_nobody():
    scene = Scene()
    scene.put(2, 4, 6)
    scene.put(8, closed_days_ago=0.5)
    scene.put(10, 12)

    scene.pass_through()
    scene.pass_through()
    assert [wanted.after for wanted in scene.admin.asked] == [0, 6]

    scene.clock.seconds += DAY
    scene.pass_through()
    scene.pass_through()
    assert [wanted.after for wanted in scene.admin.asked] == [0, 6, 6, 8]


@pytest.mark.parametrize("error", [StoreUnreachable("not now"), StoreFull("not now")])
@pytest.mark.parametrize("tidies", [False, True])
def test_a_store_that_does_not_answer_or_has_no_room_is_asked_later(
    error: Exception, tidies: bool, caplog: pytest.LogCaptureFixture
):
    scene = Scene()
    scene.put(2)
    scene.admin.fails, scene.admin.tidies = error, tidies

    scene.pass_through()
    assert scene.keys() == [2]
    assert "what is kept no longer stays a little longer: not now" in caplog.text
    scene.admin.fails = None
    scene.pass_through()

    assert scene.keys() == []


def test_who_is_there_late_below_those_that_have_gone_goes_as_well():
    """A run that was started in a transaction which was open for longer than runs are kept, say."""
    scene = Scene()
    scene.put(8)
    scene.pass_through()
    scene.put(2)

    for _ in range(retention.PASSES):
        scene.pass_through()

    assert scene.keys() == []
