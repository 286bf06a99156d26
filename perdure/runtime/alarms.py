"""What has to happen when: runs to be woken soon, and attempts that must not run any longer.

Only near wake-ups are here; later ones sleep in the store, which is asked once a second a little ahead of time.
"""

import heapq

from perdure.runtime.actors import Actor
from perdure.runtime.slots import Flight, Slots

HORIZON_NS = 2_000_000_000
"""Wake-ups further away than this are left to the store."""


class Alarms:
    """Two heaps: wake-ups by the wall clock (nanoseconds), deadlines of attempts by the monotonic one (seconds)."""

    def __init__(self) -> None:
        self._wakes: list[tuple[int, int]] = []
        self._deadlines: list[tuple[float, int, Flight]] = []
        self._serial = 0

    def set(self, actor: Actor, now: int) -> None:
        """Remember when a run is next due, if that is near."""
        at = actor.run.wake_at()
        if at is not None and at != actor.alarm and at - now < HORIZON_NS:
            actor.alarm = at
            heapq.heappush(self._wakes, (at, actor.run.key))

    def limit(self, flight: Flight, monotonic: float, timeout_ns: int) -> None:
        """The attempt must be over in so many nanoseconds."""
        flight.limit_ns = timeout_ns
        flight.deadline = monotonic + timeout_ns / 1e9
        self._serial += 1
        heapq.heappush(self._deadlines, (flight.deadline, self._serial, flight))

    def due(self, now: int) -> list[int]:
        """Keys of runs whose time has come; each alarm rings once."""
        wakes = self._wakes
        if not wakes or wakes[0][0] > now:
            return []
        keys: dict[int, None] = {}
        while wakes and wakes[0][0] <= now:
            keys[heapq.heappop(wakes)[1]] = None
        return list(keys)

    def overdue(self, monotonic: float) -> list[Flight]:
        """Attempts that ran into their deadline; one that was set anew since does not count."""
        deadlines = self._deadlines
        over: list[Flight] = []
        while deadlines and deadlines[0][0] <= monotonic:
            at, _, flight = heapq.heappop(deadlines)
            if at == flight.deadline:
                over.append(flight)
        return over

    def forget_landed(self, slots: Slots) -> None:
        """Attempts that ended in time leave their deadline behind; when those are most of the heap, it is rebuilt."""
        if len(self._deadlines) > 2 * slots.in_air() + 256:
            self._deadlines = [entry for entry in self._deadlines if slots.holds(entry[2])]
            heapq.heapify(self._deadlines)

    def seconds(self, now: int, monotonic: float) -> float | None:
        """How long until the next of them; None without any."""
        waits = [(self._wakes[0][0] - now) / 1e9] if self._wakes else []
        if self._deadlines:
            waits.append(self._deadlines[0][0] - monotonic)
        return max(min(waits), 0.0) if waits else None
