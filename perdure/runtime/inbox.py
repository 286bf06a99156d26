"""The engine thread's mailbox within its process: any thread puts, one takes."""

from queue import Empty, SimpleQueue
from typing import Any

from perdure.runtime.culprits import Item

_NUDGE: Any = object()


class Inbox:
    """Items in the order they came. `nudge` only wakes; `nudged` tells that somebody did since the last `take`."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self.put = self._queue.put
        self.nudged = False

    def nudge(self) -> None:
        self._queue.put(_NUDGE)

    def is_empty(self) -> bool:
        return self._queue.empty()

    def take(self, seconds: float, limit: int) -> list[Item]:
        """What is there, at most `limit`; waits up to `seconds` for the first."""
        queue = self._queue
        items: list[Item] = []
        try:
            item = queue.get(seconds > 0, seconds if seconds > 0 else None)
            while True:
                if item is _NUDGE:
                    self.nudged = True
                else:
                    items.append(item)
                if len(items) >= limit:
                    break
                item = queue.get_nowait()
        except Empty:
            pass
        return items
