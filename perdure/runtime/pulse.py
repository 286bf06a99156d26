"""An owner tells by its polls that it lives. While it has so much to do that it does not come to them, a thread tells it in its
stead, as long as something moves: many turns in a row, or replays, must not look like a death, or whoever took over died of them
as well."""

import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

from perdure.errors import StoreError
from perdure.runtime.world import World
from perdure.stores.base import Store

BEATS_PER_LEASE = 4


class Busy(Protocol):
    """What an owner's thread leaves for others to read. `moves` grows with all that it does; `polled` is when it has last polled."""

    moves: int
    polled: float


class Pulse:
    """`beat` is called on its own thread. An owner that has done nothing for a whole lease is left alone: it is silent."""

    def __init__(self, owner: Busy, beat: Callable[[], None], lease_seconds: float, world: World) -> None:
        self._owner = owner
        self._beat = beat
        self._lease_seconds = lease_seconds
        self._world = world
        self._seen, self._moved = owner.moves, world.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perdure-pulse", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """It is not waited for: it may be in a call that does nothing any more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._lease_seconds / BEATS_PER_LEASE):
            self.tick(self._world.monotonic())

    def tick(self, monotonic: float) -> None:
        """Beat, if the owner has something to do and has not polled of late. What a store does not hear now it may hear next time."""
        if self._owner.moves != self._seen:
            self._seen, self._moved = self._owner.moves, monotonic
        polled = self._owner.polled
        is_late = monotonic - polled >= self._lease_seconds / BEATS_PER_LEASE
        if is_late and monotonic - max(self._moved, polled) < self._lease_seconds:
            with contextlib.suppress(StoreError):
                self._beat()


def pulse_of(owner: Busy, store: Store, lease_seconds: float, world: World) -> Pulse | None:
    """None where nobody waits for a death to take over: a store with one owner."""
    return None if store.membership is None else Pulse(owner, store.membership.beat, lease_seconds, world)
