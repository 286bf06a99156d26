"""When a thread tells of an owner that it lives, which does not come to say it itself."""

from typing import Any, cast

import pytest

from perdure.errors import StoreUnreachable
from perdure.runtime.pulse import Pulse
from perdure.runtime.world import World

LEASE = 8.0


class Owner:
    moves = 0
    polled = 0.0


class Clock:
    def __init__(self) -> None:
        self.beats = 0
        self.fails = False

    def monotonic(self) -> float:
        return 0.0

    def beat(self) -> None:
        self.beats += 1
        if self.fails:
            raise StoreUnreachable("the server has gone")


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(owner: Owner, clock: Clock) -> Pulse:
    return Pulse(owner, clock.beat, LEASE, cast(World, cast(Any, clock)))


def test_an_owner_that_polls_says_it_itself(owner: Owner, clock: Clock, pulse: Pulse) -> None:
    for second in range(1, 30):
        owner.polled = float(second)
        pulse.tick(second + 1.0)

    assert clock.beats == 0


def test_one_that_moves_and_does_not_poll_is_told_to_live_for_as_long_as_that_takes(
    owner: Owner, clock: Clock, pulse: Pulse
) -> None:
    for tick in range(1, 101):
        owner.moves += 1
        pulse.tick(tick * 2.0)

    assert clock.beats == 100


def test_one_that_does_not_move_is_silent_after_a_lease(owner: Owner, clock: Clock, pulse: Pulse) -> None:
    owner.moves += 1
    for tick in range(1, 101):
        pulse.tick(tick * 2.0)

    assert clock.beats == 4
    owner.moves += 1
    pulse.tick(202.0)
    assert clock.beats == 5


def test_a_store_that_does_not_hear_it_ends_nothing(owner: Owner, clock: Clock, pulse: Pulse) -> None:
    clock.fails = True
    owner.moves += 1
    pulse.tick(2.0)
    pulse.tick(4.0)

    assert clock.beats == 2
