"""Runs that have to be woken soon. Later wake-ups sleep in the store, which is asked once a second a little ahead of time."""

import heapq

from perdure.runtime.actors import Actor

HORIZON_NS = 2_000_000_000
"""Wake-ups further away than this are left to the store."""


class Alarms:
    """A heap by the wall clock (nanoseconds)."""

    def __init__(self) -> None:
        self._wakes: list[tuple[int, int]] = []

    def set(self, actor: Actor, now: int) -> None:
        """Remember when a run is next due, if that is near."""
        at = actor.run.wake_at()
        if at is not None and at != actor.alarm and at - now < HORIZON_NS:
            actor.alarm = at
            heapq.heappush(self._wakes, (at, actor.run.key))

    def due(self, now: int) -> list[int]:
        """Keys of runs whose time has come; each alarm rings once."""
        wakes = self._wakes
        if not wakes or wakes[0][0] > now:
            return []
        keys: dict[int, None] = {}
        while wakes and wakes[0][0] <= now:
            keys[heapq.heappop(wakes)[1]] = None
        return list(keys)

    def seconds(self, now: int) -> float | None:
        """How long until the next of them; None without any."""
        return max((self._wakes[0][0] - now) / 1e9, 0.0) if self._wakes else None
