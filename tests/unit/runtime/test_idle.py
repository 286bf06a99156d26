"""What an engine, and a worker of queues, costs its database when there is nothing to do; and how soon it hears of news all the
same. Nobody sleeps here: the clock is moved by whoever would wait."""

import asyncio
import contextlib
import contextvars
import logging
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perdure import activity
from perdure.kernel import wire
from perdure.kernel.events import Payload
from perdure.kernel.project import RunRow, TaskRow
from perdure.kernel.run import Status
from perdure.payload import PLAIN
from perdure.runtime.equipment import Bounds, Company, Definitions
from perdure.runtime.inbox import Inbox
from perdure.runtime.outbox import Outbox
from perdure.runtime.owner import Owner
from perdure.runtime.queue_work import QueueSettings, QueueWork
from perdure.runtime.stillness import Stillness
from perdure.runtime.waiters import Waiters
from perdure.runtime.worker import Loop
from perdure.runtime.world import World
from perdure.stores import base
from perdure.stores.open import open_store

SECONDS = 60
LONG_SECONDS = 1_200
WRITES = frozenset({"tasks.beat", "tasks.exchange", "tasks.join", "tasks.bury", "journal.commit", "post.send"})
LOG = logging.getLogger("perdure.test")


@activity(queue="gpu")
def render() -> None: ...


class Clock(World):
    """Stands, until somebody waits."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds

    def rest(self, seconds: float, stillness: Stillness) -> float:
        self.seconds += seconds
        return 0.0


class Letterbox(Inbox):
    """Who waits at it, and finds nothing, has waited."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def take(self, seconds: float, limit: int) -> list[Any]:
        if self.is_empty():
            self._clock.seconds += seconds
        return super().take(0.0, limit)


class CountedPart:
    def __init__(self, name: str, part: Any, calls: list[str]) -> None:
        self._name = name
        self._part = part
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls.append(f"{self._name}.{name}")
        return getattr(self._part, name)


class Counted:
    """A store, and what it was asked."""

    def __init__(self, store: base.Store) -> None:
        self.calls: list[str] = []
        self.address = store.address
        self.membership, self.marking = store.membership, store.marking
        for name in ("journal", "work", "post", "tasks", "streams", "views", "admin"):
            setattr(self, name, CountedPart(name, getattr(store, name), self.calls))

    def asked(self) -> Counter[str]:
        """Since this was asked last. A look at the locks of workers is none at the database."""
        found = Counter(
            call for call in self.calls if call not in ("tasks.dead", "post.nudge", "tasks.nudge", "streams.bell")
        )
        self.calls.clear()
        return found


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    opened = open_store(f"memory://{tmp_path}" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db")
    yield Counted(opened)
    opened.admin.close()


def own(store: Any, lease_seconds: float = 10.0) -> int:
    member = store.admin.try_own("here", 1, "b", 1, int(lease_seconds * 1e9))
    assert member is not None
    return member


class Crew:
    def begin(self, departures: Any) -> None: ...
    def give_up(self, flight: Any) -> None: ...
    def loop_is_gone(self, loop: Any) -> None: ...
    def beats(self) -> list[Any]:
        return []


def owner_of(store: Any, clock: Clock, inbox: Inbox, retention_ns: int | None = None) -> Owner:
    member = own(store)
    company = Company(inbox, Waiters(), Outbox(), Crew())
    bounds = Bounds((9, 9, 9), 9, 9, 1.0, 10.0, retention_ns)
    owner = Owner(store, member, Definitions("b", {}, {}, {}), bounds, company, clock, LOG, lambda: False)  # type: ignore[arg-type]
    owner.take_over()
    return owner


class Bench:
    """A worker driven by hand, of one activity in a thread."""

    def __init__(self, store: Any) -> None:
        self.clock = Clock()
        self.inbox = Letterbox(self.clock)
        self._loop = asyncio.new_event_loop()
        settings = QueueSettings(["gpu"], 9, 9, 1, 1_000, 1.0, PLAIN)
        home = Loop(self._loop, contextvars.copy_context())
        self.work = QueueWork(store, {"render": render}, "b", settings, home, self.clock, LOG, self.inbox, lambda: None)

    def wait(self, seconds: float) -> list[float]:
        """Rounds for so long; when each began."""
        end, began = self.clock.seconds + seconds, list[float]()
        while self.clock.seconds < end:
            self.work.round(end - self.clock.seconds)
            began.append(self.clock.seconds)
        return began

    def leave(self) -> None:
        with contextlib.suppress(base.WorkerGone):
            self.work.leave()
        self._loop.close()


@pytest.fixture
def bench(store: Any) -> Iterator[Bench]:
    made = Bench(store)
    yield made
    made.leave()


def give(store: Any, *steps: str) -> None:
    body = wire.encode(wire.Task("r", b"r", "w", Payload(b"[]"), 1, None, None, None, None, "gpu"))
    row = RunRow(2, "r", b"r" * 16, "w", Status.WAITING, "", "b", 1, None, None, 1)
    tasks = [TaskRow(2, step, 1, "gpu", "render", None, body) for step in steps]
    store.journal.commit(base.Batch(created=[row], tasks=tasks))


@pytest.mark.parametrize("retention_ns", [None, 30 * 86_400 * 10**9])
def test_an_idle_owner_asks_its_store_at_most_once_a_second(store: Any, retention_ns: int | None) -> None:
    clock = Clock()
    owner = owner_of(store, clock, Letterbox(clock), retention_ns)
    owner.round()
    store.asked()

    end = clock.seconds + LONG_SECONDS
    while clock.seconds < end:
        owner.round()

    asked = store.asked()
    assert LONG_SECONDS * 0.98 <= sum(asked.values()) <= LONG_SECONDS
    assert asked.keys() == {"work.poll", "admin.tidy"} | ({"admin.prune"} if retention_ns else set())
    assert asked["admin.tidy"] == 2


def test_an_owner_that_has_workers_asks_no_more_often(store: Any) -> None:
    clock = Clock()
    owner = owner_of(store, clock, Letterbox(clock))
    member = store.tasks.join("there", 2, "b", 1, ["gpu"], ["render"])
    owner.round()
    store.asked()

    for _ in range(SECONDS):
        store.tasks.beat(member, ["gpu"], [])
        owner.round()

    assert store.asked() == {"work.poll": SECONDS, "tasks.beat": SECONDS, "admin.tidy": 1}


def test_an_idle_worker_asks_its_store_once_a_second_and_writes_only_to_tell_that_it_lives(
    store: Any, bench: Bench
) -> None:
    own(store)
    bench.wait(2)
    store.asked()

    bench.wait(SECONDS)

    asked = store.asked()
    assert sum(asked.values()) <= SECONDS + 1
    assert asked.keys() == {"tasks.look", "tasks.beat"}
    assert sum(asked[name] for name in WRITES) == SECONDS / 3


@pytest.mark.parametrize("lease_seconds", [3.0, 4.0, 7.5, 10.0, 60.0])
def test_a_worker_tells_three_times_in_its_lease_that_it_lives(store: Any, bench: Bench, lease_seconds: float) -> None:
    own(store, lease_seconds)
    bench.wait(1)
    heard: list[float] = [bench.clock.seconds]
    for _ in range(200):
        store.asked()
        bench.wait(0.5)
        if store.asked()["tasks.beat"]:
            heard.append(bench.clock.seconds)

    gaps = [later - before for before, later in pairwise(heard)]
    assert max(gaps) <= lease_seconds / 3 + 1e-6
    assert len(heard) > 1


def test_a_shorter_lease_of_a_new_owner_is_kept_from_the_next_look_on(store: Any, bench: Bench) -> None:
    for lease_seconds, beats in ((600.0, 0), (3.0, 2)):
        with contextlib.closing(open_store(store.address).admin) as owner:
            owner.try_own("here", 1, "b", 1, int(lease_seconds * 1e9))
            bench.wait(5)
            store.asked()
            bench.wait(2)
            assert store.asked()["tasks.beat"] == beats


def test_a_worker_that_is_told_takes_a_task_at_once(store: Any, bench: Bench) -> None:
    own(store)
    bench.wait(10.5)
    before = bench.clock.seconds
    give(store, "0:1")

    bench.inbox.nudge()
    bench.work.round(1.0)

    assert store.tasks.waiting(["gpu"]) == []
    assert bench.clock.seconds == before


def test_a_worker_that_is_not_told_finds_a_task_within_a_second(store: Any, bench: Bench) -> None:
    own(store)
    bench.wait(10.5)
    give(store, "0:1")

    bench.wait(1.0)

    assert store.tasks.waiting(["gpu"]) == []


def test_an_idle_worker_that_was_taken_for_dead_learns_it_within_a_second(store: Any, bench: Bench) -> None:
    own(store)
    bench.wait(10.5)
    (row,) = store.views.workers()
    store.tasks.bury(row.member)

    with pytest.raises(base.WorkerGone):
        bench.wait(1.0)


def test_what_nobody_here_can_do_makes_no_worker_write(store: Any, bench: Bench, caplog: Any) -> None:
    own(store)
    give(store)
    body = wire.encode(wire.Task("r", b"r", "w", Payload(b"[]"), 1, None, None, None, None, "gpu"))
    store.journal.commit(base.Batch(tasks=[TaskRow(2, f"0:{n}", 1, "gpu", "other", None, body) for n in range(3)]))
    store.asked()

    bench.wait(SECONDS)

    assert store.asked()["tasks.exchange"] == 0
    assert caplog.text.count("tasks of activity 'other' wait in gpu") == 1
