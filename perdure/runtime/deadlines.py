"""The time limits of attempts in this process: how long each may run, be silent, and go on when nobody wants it any more."""

import heapq

from perdure.kernel import messages as msg
from perdure.kernel import overdue
from perdure.runtime.slots import Flight, Slots

NEVER = float("inf")


class Deadlines:
    """A heap by the monotonic clock (seconds). A heartbeat touches only its flight: the heap finds out when it looks."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Flight]] = []
        self._serial = 0

    def watch(self, flight: Flight, monotonic: float, timeout_ns: int | None, heartbeat_ns: int | None) -> None:
        """The attempt begins. None is no limit."""
        if timeout_ns is None and heartbeat_ns is None:
            return
        flight.heard = monotonic
        flight.limit_ns = timeout_ns or 0
        flight.close_at = NEVER if timeout_ns is None else monotonic + timeout_ns / 1e9
        flight.heartbeat_ns = heartbeat_ns or 0
        self._set(flight, _due(flight))

    def give_up(self, flight: Flight, monotonic: float, grace_seconds: float) -> None:
        """Nobody wants its result: it has so long to end."""
        flight.given_up = True
        self._set(flight, monotonic + grace_seconds)

    def _set(self, flight: Flight, deadline: float) -> None:
        flight.deadline = deadline
        self._serial += 1
        heapq.heappush(self._heap, (deadline, self._serial, flight))

    def overdue(self, monotonic: float) -> list[Flight]:
        """Attempts past their deadline; one whose deadline has moved since does not count."""
        heap = self._heap
        over: list[Flight] = []
        while heap and heap[0][0] <= monotonic:
            at, _, flight = heapq.heappop(heap)
            if at != flight.deadline:
                continue
            due = at if flight.given_up else _due(flight)
            if due > monotonic:
                self._set(flight, due)  # it was heard of meanwhile
            else:
                over.append(flight)
        return over

    def forget_landed(self, slots: Slots) -> None:
        """Attempts that ended in time leave their deadline behind; when those are most of the heap, it is rebuilt."""
        if len(self._heap) > 2 * slots.in_air() + 256:
            self._heap = [entry for entry in self._heap if slots.holds(entry[2])]
            heapq.heapify(self._heap)

    def seconds(self, monotonic: float) -> float | None:
        """How long until the next; None without any."""
        return max(self._heap[0][0] - monotonic, 0.0) if self._heap else None


def _due(flight: Flight) -> float:
    silent_at = flight.heard + flight.heartbeat_ns / 1e9 if flight.heartbeat_ns else NEVER
    return min(flight.close_at, silent_at)


def timed_out(flight: Flight, member: int, now: int, monotonic: float) -> msg.AttemptEnded:
    """The end of an attempt that is past its deadline."""
    silent = flight.close_at > monotonic
    failure = overdue.silent(flight.heartbeat_ns) if silent else overdue.too_long(flight.limit_ns)
    return msg.AttemptEnded(
        flight.step,
        flight.attempt,
        member,
        flight.began or now,
        failure=failure,
        timed_out=True,
        details=flight.details,
        silent=silent,
    )
