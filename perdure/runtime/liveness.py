"""Who lives of the workers of queues, and of the other owners: one whose beat stands still for longer than the lease that goes with
it is taken for dead. That lease is of the one who beats, so that it knows how often it has to; the clock is of the one who looks."""

import math
from collections.abc import Callable, Mapping

from perdure.stores.base import LEASE_NS

LEASE_SECONDS = LEASE_NS / 1e9
"""How long a worker may be silent, unless an engine was told otherwise. It tells three times in that time that it lives."""

LEASE_LEAST_SECONDS = 3.0
"""Less would take workers for dead that were only late with one beat."""


def time_to_speak(lease_seconds: float) -> float:
    """What those who are silent get of it, once it is found that they are."""
    return min(2.0, lease_seconds / 2)


class Liveness:
    """What the owner has seen of the beats. A clock that jumps kills nobody: only differences of the monotonic one count. `limit`: of
    a lease, how long one may be silent that has it, both in seconds."""

    def __init__(self, limit: Callable[[float], float] = float) -> None:
        self._limit = limit
        self._seen: dict[int, tuple[int, float, float]] | None = None

    def look(self, beats: Mapping[int, int], leases: Mapping[int, int], monotonic: float) -> tuple[list[int], bool]:
        """Those that are silent for too long; and whether tasks may have lost their worker since the last look."""
        before = self._seen
        self._seen = seen = {}
        silent: list[int] = []
        for member, beat in beats.items():
            known = (before or {}).get(member)
            since = known[1] if known is not None and known[0] == beat else monotonic
            limit = self._limit(leases.get(member, LEASE_NS) / 1e9)
            seen[member] = (beat, since, limit)
            if monotonic - since >= limit:
                silent.append(member)
        return silent, before is None or not before.keys() <= beats.keys()

    def next_look(self, monotonic: float) -> float:
        """When the next of them will have been silent for too long, if it is not heard of until then; never, without any."""
        ends = [since + limit for _, since, limit in (self._seen or {}).values()]
        return min((end for end in ends if end > monotonic), default=math.inf)

    def forget(self) -> None:
        """What the last look has led to was not done: the next one begins anew."""
        self._seen = None
