"""Whose time it is, where a store has a clock of its own."""

import logging

import pytest

from perdure.runtime.clock import Clock
from perdure.runtime.membership import Holdings
from perdure.runtime.world import World
from perdure.stores.memory import MemoryStore, Shelf

SECOND = 1_000_000_000
SERVER = 1_000 * SECOND


class Machine(World):
    """Its clock is so far ahead; each look at the monotonic one takes a while."""

    def __init__(self, ahead: float, took: float = 0.0) -> None:
        self.ahead = ahead
        self.took = took
        self.seconds = 0.0

    def machine_time(self) -> int:
        return SERVER + int(self.ahead * SECOND)

    def monotonic(self) -> float:
        self.seconds += self.took
        return self.seconds


def clock_of(world: World) -> Clock:
    return Clock(world, logging.getLogger("perdure"))


def measured(world: Machine, server: int = SERVER) -> float:
    """By how much the time differs from the server's after that."""
    clock_of(world).measured(server, world.monotonic())
    return (world.now() - server) / SECOND


@pytest.mark.parametrize("ahead", [300.0, -300.0, 1.5, -86_400.0])
def test_where_clocks_differ_that_of_the_database_counts(ahead: float) -> None:
    assert measured(Machine(ahead)) == 0.0


@pytest.mark.parametrize("ahead", [0.0, 0.9, -0.9])
def test_clocks_that_differ_by_less_than_a_second_are_left_alone(ahead: float) -> None:
    assert measured(Machine(ahead)) == ahead


def test_a_store_without_a_clock_changes_nothing() -> None:
    world = Machine(300.0)
    clock_of(world).measured(0, 0.0)

    assert world.offset_ns == 0


def test_the_server_has_said_it_in_the_middle_of_the_call() -> None:
    world = Machine(300.0, took=10.0)

    assert measured(world) == 5.0  # when the call is over
    assert world.offset_ns == -295 * SECOND


@pytest.mark.parametrize(("ahead", "took"), [(3.0, 10.0), (0.2, 10.0)])
def test_a_call_that_took_longer_than_the_clocks_differ_tells_nothing(ahead: float, took: float) -> None:
    world = Machine(ahead, took)
    world.offset_ns = -77 * SECOND
    measured(world)

    assert world.offset_ns == -77 * SECOND


def test_time_does_not_jump_with_each_look() -> None:
    world = Machine(300.0)
    measured(world)
    world.ahead += 0.2
    measured(world)
    assert world.offset_ns == -300 * SECOND

    world.ahead += 0.2
    measured(world)
    assert world.offset_ns == -300 * SECOND - 400_000_000


def test_it_is_said_once_and_once_more_when_they_agree_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = Machine(300.0)
    for ahead in (300.0, 300.0, 200.0, 0.9, 0.4, 0.9):
        world.ahead = ahead
        measured(world)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "300.0 s ahead of that of the database's server" in caplog.text
    assert "NTP" in caplog.text
    assert world.offset_ns == 0


def test_owners_that_share_a_store_are_told_its_time_when_they_poll() -> None:
    shelf = Shelf(shared=True)
    shelf.clock = lambda: SERVER
    store = MemoryStore(shelf=shelf)
    store.admin.try_own("here", 1, "b", 0)
    world = Machine(300.0)

    clock_of(world).measured(Holdings(store).poll(0, 10, 10).time, world.monotonic())
    assert world.now() == SERVER

    world = Machine(-300.0)
    clock_of(world).ask(store.admin)
    assert world.now() == SERVER
