"""Clock, identifiers and crash points come in through one small object, so that a simulator can be the world."""

import os

# Bound here: in their module they are replaced, by functions that look in whose turn they are called.
from time import monotonic, sleep, time_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.runtime.stillness import Stillness

_IDS_DRAWN = 256
_ids: list[bytes] = []
os.register_at_fork(after_in_child=_ids.clear)


def new_id() -> bytes:
    """16 random bytes, of many that are drawn at a time: each draw gives the interpreter lock away."""
    while True:
        try:
            return _ids.pop()
        except IndexError:
            drawn = os.urandom(16 * _IDS_DRAWN)
            _ids.extend(drawn[n : n + 16] for n in range(0, len(drawn), 16))


class World:
    """The real one. Times in nanoseconds since the epoch. `offset_ns`: what is added to the machine's clock, of which the one of the
    database differs (clock.py)."""

    offset_ns = 0

    def now(self) -> int:
        return self.machine_time() + self.offset_ns

    def machine_time(self) -> int:
        return time_ns()

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        return monotonic()

    def pause(self, seconds: float) -> None:
        """Wait, because the store asks for patience."""
        sleep(seconds)

    def rest(self, seconds: float, stillness: "Stillness") -> float:
        """The engine has nothing to do for so many seconds: how long it is to wait, at most. A world in which time can
        be skipped moves its clock instead."""
        return seconds

    def new_id(self) -> bytes:
        """16 random bytes."""
        return new_id()

    def crash_point(self, name: str) -> None:
        """Called where a crash would hurt most: "before-commit", "after-commit", "before-effects"; of workers of queues
        "before-exchange", "after-exchange"; of what is written to streams "before-chunks", "after-chunks". Does nothing."""
