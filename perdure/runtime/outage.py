"""A database that does not answer. Whoever has it alone gives up after a while; one that several share is asked for as long as
it takes: its server starts again, or another takes its place, and nobody comes to start the engines again."""

import logging
import math
from collections.abc import Callable

from perdure.runtime.world import World

PAUSE_SECONDS = (0.01, 2.0)
"""Between two tries: at first, and after a while; half of that where it is tried for ever, since others are to be heard soon."""

WARN_SECONDS = 60.0
"""How often it is said that there is no answer yet."""

CLOSING_TRIES = 3
"""How often a store is asked by an engine that is being closed."""


class Outage:
    """Of one thread. `endless`: nobody gives up but who is being closed."""

    def __init__(
        self, world: World, log: logging.Logger, endless: bool, closing: Callable[[], bool] = lambda: False
    ) -> None:
        self._world = world
        self._log = log
        self._endless = endless
        self._closing = closing
        self._tries = 0
        self._began = 0.0
        self._warn_at = -math.inf

    def failed(self, error: Exception, most: int, what: str = "answer") -> bool:
        """Once more there was no answer: wait a little. False, at once, if that was tried often enough: `most` times."""
        if self._tries >= (CLOSING_TRIES if self._closing() else math.inf if self._endless else most):
            return False
        first, longest = PAUSE_SECONDS
        pause = min(first * 2 ** min(self._tries, 10), longest / 2 if self._endless else longest)
        self.noted(error, what)
        self._world.pause(pause)
        return True

    def noted(self, error: Exception, what: str = "answer") -> None:
        """Once more there was no answer, and whoever has asked waits as it likes."""
        monotonic = self._world.monotonic()
        if not self._tries:
            self._began, self._warn_at = monotonic, -math.inf
        if monotonic >= self._warn_at:
            self._warn_at = monotonic + WARN_SECONDS
            since = f", for {monotonic - self._began:.0f} s by now" if self._tries else ""
            self._log.warning("the database does not %s now and is asked again%s: %s", what, since, error)
        self._tries += 1

    def over(self) -> None:
        """It has answered."""
        if self._tries:
            self._tries = 0
            seconds = self._world.monotonic() - self._began
            if seconds >= WARN_SECONDS:
                self._log.warning("the database answers again, after %.0f s", seconds)
