"""Owners that may be silent for different times, side by side, as during a deploy that changes `lease`: nobody who lives is taken for
dead by any of them, and who does not is found by all. The clock is moved by hand."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from perdure import activity
from perdure.payload import PLAIN
from perdure.runtime.equipment import Bounds, Company, Definitions
from perdure.runtime.inbox import Inbox
from perdure.runtime.outbox import Outbox
from perdure.runtime.owner import Owner
from perdure.runtime.pulse import BEATS_PER_LEASE
from perdure.runtime.queue_work import QueueSettings, QueueWork
from perdure.runtime.slots import Flight
from perdure.runtime.waiters import Waiters
from perdure.runtime.worker import Loop
from perdure.runtime.world import World
from perdure.stores import base
from perdure.stores.memory import MemoryStore, Shelf

LOG = logging.getLogger("perdure.test")
TICK_SECONDS = 0.25


@activity(queue="gpu")
def render() -> None: ...


class Clock(World):
    seconds = 1_000.0

    def now(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds


class Crew:
    def begin(self, departures: Any) -> None: ...
    def give_up(self, flight: Flight) -> None: ...
    def loop_is_gone(self, loop: Any) -> None: ...
    def beats(self) -> list[Any]:
        return []


class Member:
    """An owner that makes rounds; one that is `busy` makes none, while a thread tells that it lives."""

    def __init__(self, store: base.Store, clock: Clock, lease_seconds: float) -> None:
        self.store = store
        self._clock = clock
        self._tick_seconds = lease_seconds / BEATS_PER_LEASE
        self._tick_at = clock.seconds
        number = self.store.admin.try_own("here", 1, "b", 1, int(lease_seconds * 1e9))
        assert number is not None
        self.number = number
        company = Company(Inbox(), Waiters(), Outbox(), Crew())
        bounds = Bounds((9, 9, 9), 9, 9, 1.0, lease_seconds)
        self._owner = Owner(
            self.store, number, Definitions("b", {}, {}, {}), bounds, company, clock, LOG, lambda: False
        )
        self.busy = self.frozen = False

    def go_on(self) -> None:
        if self.frozen:
            return
        if not self.busy:
            self._owner.round(0.0)
            return
        pulse = self._owner.pulse
        assert pulse is not None
        if self._clock.seconds >= self._tick_at:
            self._tick_at = self._clock.seconds + self._tick_seconds
            self._owner._holdings.moves += 1
            pulse.tick(self._clock.seconds)

    def leave(self) -> None:
        self.frozen = True
        assert self.store.membership is not None
        self.store.membership.hand_over()
        self.store.admin.close()


class Place:
    """Members, and one worker of the queue "gpu", on one database. `living` tells who was not declared dead there, of both."""

    def __init__(self, opened: Callable[[], base.Store], living: Callable[[], Collection[int]]) -> None:
        self.clock = Clock()
        self._opened = opened
        self._living = living
        self.members: list[Member] = []
        self._loop = asyncio.new_event_loop()
        home = Loop(self._loop, contextvars.copy_context())
        settings = QueueSettings(["gpu"], 9, 9, 1, 1_000, 1.0, PLAIN)
        self.work = QueueWork(
            opened(),
            {"render": render},
            "b",
            settings,
            home,
            self.clock,
            LOG,
            Inbox(),
            lambda: None,
        )

    def joined(self, *leases: float) -> list[Member]:
        self.members += [Member(self._opened(), self.clock, lease) for lease in leases]
        return self.members

    def pass_by(self, seconds: float, works: bool = True) -> None:
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            self.clock.seconds += TICK_SECONDS
            for member in self.members:
                member.go_on()
            if works:
                self.work.round(0.0)

    def worker_lives(self) -> bool:
        return self.work.member in self._living()

    def lives(self, member: Member) -> bool:
        return member.number in self._living()

    def silence(self, member: Member) -> float:
        """For how long it may be silent until it is declared dead."""
        began, member.frozen = self.clock.seconds, True
        while self.lives(member):
            self.pass_by(TICK_SECONDS)
        return self.clock.seconds - began

    def leave(self) -> None:
        if self.worker_lives():
            self.work.leave()
        self._loop.close()


@pytest.fixture
def place() -> Iterator[Place]:
    shelf = Shelf(shared=True)
    made = Place(lambda: MemoryStore(shelf=shelf), lambda: shelf.seats.keys() | shelf.workers.keys())
    yield made
    made.leave()


@pytest.mark.parametrize("leases", [(3.0, 60.0), (60.0, 3.0), (3.0, 10.0, 60.0)])
def test_no_owner_takes_a_worker_for_dead_that_lives(place: Place, leases: tuple[float, ...]) -> None:
    place.joined(*leases)

    place.pass_by(200)

    assert place.worker_lives()


@pytest.mark.parametrize("leaves", ["cleanly", "dead"])
@pytest.mark.parametrize("first", [3.0, 10.0])
def test_one_that_was_there_for_a_moment_with_a_long_lease_kills_no_worker(
    place: Place, leaves: str, first: float
) -> None:
    _, new = place.joined(first, 60.0)
    place.pass_by(2)
    if leaves == "cleanly":
        new.leave()
    new.frozen = True

    place.pass_by(200)

    assert place.worker_lives()


def test_a_worker_has_the_time_to_hear_of_a_shorter_lease(place: Place) -> None:
    place.joined(600.0)
    place.pass_by(500)
    place.joined(3.0)
    place.pass_by(200)

    assert place.worker_lives()


@pytest.mark.parametrize("leases", [(3.0, 60.0), (60.0, 3.0)])
def test_a_worker_that_falls_silent_is_taken_for_dead_when_the_shortest_lease_is_over(
    place: Place, leases: tuple[float, ...]
) -> None:
    place.joined(*leases)
    place.pass_by(30)

    place.pass_by(2.5, works=False)
    assert place.worker_lives()
    place.pass_by(4, works=False)

    assert not place.worker_lives()
    with pytest.raises(base.WorkerGone):
        place.work.round(0.0)


def test_an_owner_with_a_long_lease_that_is_busy_is_not_taken_for_dead_by_one_with_a_short_one(place: Place) -> None:
    _, long = place.joined(3.0, 60.0)
    place.pass_by(5)
    long.busy = True

    place.pass_by(300)

    assert place.lives(long)


@pytest.mark.parametrize(("leases", "silent"), [((3.0, 60.0), 0), ((60.0, 3.0), 1), ((3.0, 60.0), 1), ((60.0, 3.0), 0)])
def test_an_owner_that_falls_silent_is_declared_dead_when_its_own_lease_is_over(
    place: Place, leases: tuple[float, ...], silent: int
) -> None:
    members = place.joined(*leases)
    place.pass_by(5)

    assert leases[silent] - 1.5 <= place.silence(members[silent]) <= leases[silent] + 1.5
