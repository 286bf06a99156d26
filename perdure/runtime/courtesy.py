"""Others write to the database as well: clients, workers, attempts with their streams. An owner leaves them their turn.

Who waits for the lock of a SQLite database looks for it every 0.1 s, and nobody queues. If a commit takes long, as on a slow
disk, a busy owner has the lock nearly always: what others want to write would wait until it is given up, and workers would be
taken for dead that only could not say that they live. So when it has had the lock for a second, it leaves it free for once
for longer than anybody sleeps. On a disk that is not slow there are gaps enough.
"""

from perdure.runtime.world import World

SLOW_SECONDS = 0.02
"""Shorter commits leave room by what lies between them."""

MOST_SECONDS = 1.0
GAP_SECONDS = 0.11


class Courtesy:
    """Of one owner."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kept_seconds = 0.0
        self._freed_at = 0.0

    def begin(self) -> float:
        """Called before a commit; when it begins, on the monotonic clock."""
        now = self._world.monotonic()
        if self._kept_seconds < MOST_SECONDS:
            return now
        self._kept_seconds = 0.0
        left = GAP_SECONDS - (now - self._freed_at)
        if left <= 0:
            return now
        self._world.pause(left)
        return self._world.monotonic()

    def end(self, began: float) -> None:
        """Called after it, whatever has become of it."""
        self._freed_at = self._world.monotonic()
        seconds = self._freed_at - began
        if seconds >= SLOW_SECONDS:
            self._kept_seconds += seconds
