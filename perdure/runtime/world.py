"""Clock, identifiers and crash points come in through one small object, so that a simulator can be the world."""

import os
import time


class World:
    """The real one. Times in nanoseconds since the epoch."""

    def now(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Wait, because the store asks for patience."""
        time.sleep(seconds)

    def new_id(self) -> bytes:
        """16 random bytes."""
        return os.urandom(16)

    def crash_point(self, name: str) -> None:
        """Called where a crash would hurt most: "before-commit", "after-commit", "before-effects". Does nothing."""
