"""Whoever has the lock of a database nearly always leaves it to others for once."""

from perdure.runtime.courtesy import GAP_SECONDS, Courtesy
from perdure.runtime.world import World


class Watch(World):
    """A clock that is moved by hand, and by pauses."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 6))
        self.seconds += seconds


def pauses(commits: int, seconds: float, between: float = 0.001) -> list[float]:
    """Of an owner that commits so often, and each time so long."""
    world = Watch()
    courtesy = Courtesy(world)
    for _ in range(commits):
        began = courtesy.begin()
        world.seconds += seconds
        courtesy.end(began)
        world.seconds += between
    return world.pauses


def test_on_a_slow_disk_there_is_a_gap_once_a_second_that_nobody_oversleeps():
    assert pauses(commits=10, seconds=0.25) == [GAP_SECONDS - 0.001] * 2


def test_a_commit_of_many_seconds_is_followed_by_one():
    assert pauses(commits=3, seconds=20.0) == [GAP_SECONDS - 0.001] * 2


def test_quick_commits_leave_room_by_themselves():
    assert pauses(commits=10_000, seconds=0.005) == []


def test_an_owner_that_has_little_to_do_does_not_wait():
    assert pauses(commits=10, seconds=0.5, between=0.2) == []
