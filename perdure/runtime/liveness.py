"""Which workers of queues live: one whose beat stands still for too long is taken for dead, by the owner's own clock."""

import math
from collections.abc import Mapping

from perdure.stores.base import LEASE_NS

LEASE_SECONDS = LEASE_NS / 1e9
"""How long a worker may be silent, unless an engine was told otherwise. It tells three times in that time that it lives."""

LEASE_LEAST_SECONDS = 3.0
"""Less would take workers for dead that were only late with one beat."""


class Liveness:
    """What the owner has seen of the beats. A clock that jumps kills nobody: only differences of the monotonic one count."""

    def __init__(self, lease_seconds: float = LEASE_SECONDS) -> None:
        self._lease_seconds = lease_seconds
        self._seen: dict[int, tuple[int, float]] | None = None

    def look(self, beats: Mapping[int, int], monotonic: float) -> tuple[list[int], bool]:
        """The workers that are silent for too long; and whether tasks may have lost their worker since the last look."""
        before = self._seen
        self._seen = seen = {}
        silent: list[int] = []
        for member, beat in beats.items():
            known = (before or {}).get(member)
            seen[member] = known if known is not None and known[0] == beat else (beat, monotonic)
            if monotonic - seen[member][1] >= self._lease_seconds:
                silent.append(member)
        return silent, before is None or not before.keys() <= beats.keys()

    def next_look(self, monotonic: float) -> float:
        """When the next of them will have been silent for too long, if it is not heard of until then; never, without any."""
        ends = [since + self._lease_seconds for _, since in (self._seen or {}).values()]
        return min((end for end in ends if end > monotonic), default=math.inf)

    @property
    def lease_seconds(self) -> float:
        return self._lease_seconds

    def forget(self) -> None:
        """What the last look has led to was not done: the next one begins anew."""
        self._seen = None
