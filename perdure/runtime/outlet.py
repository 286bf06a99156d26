"""Where the attempts of a process find what stores their streams: made when the first of them writes to one."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from perdure.payload import Coder
from perdure.runtime.slots import Flight
from perdure.runtime.threads import Threads
from perdure.runtime.world import World

if TYPE_CHECKING:
    from perdure.runtime.outflow import Append, Outflow, Spool


class Outlet:
    """What it is made with is that of an `Outflow`."""

    def __init__(self, append: "Append", coder: Coder, world: World, threads: Threads) -> None:
        self._parts = (append, coder, world, threads)
        self._lock = threading.Lock()
        self._flow: Outflow | None = None

    @property
    def flow(self) -> "Outflow":
        if self._flow is None:
            from perdure.runtime.outflow import Outflow  # most programs write no streams

            with self._lock:
                self._flow = self._flow or Outflow(*self._parts)
        return self._flow

    def spool_of(self, attempt: Any, told: Callable[[int], object] | None = None) -> "Spool":
        """The one of an attempt, made once, whichever of its threads is the first."""
        if attempt.spool is None:
            from perdure.runtime.outflow import Spool

            flight: Flight = attempt.flight
            with self._lock:
                attempt.spool = attempt.spool or Spool(flight, told)
        return attempt.spool

    def close(self) -> None:
        if self._flow is not None:
            self._flow.close()
