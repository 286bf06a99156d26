"""Clocks for engines, so that no test has to be quicker than a timer, or to wait for one."""

import time

from perdure.runtime.world import World

HOUR_NS = 3_600_000_000_000


class StandingClock(World):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = time.time_ns()

    def now(self) -> int:
        return self.time


class Later(World):
    """The clock of an engine that comes two hours after the one before: what was to sleep for one is due when it begins."""

    def now(self) -> int:
        return super().now() + 2 * HOUR_NS


class Stepped(World):
    """Its monotonic clock, by which attempts are too long or too silent, goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds
