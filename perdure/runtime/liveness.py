"""Which workers of queues live: one whose beat stands still for too long is taken for dead, by the owner's own clock."""

from collections.abc import Mapping

LEASE_SECONDS = 10.0
"""How long a worker may be silent. It tells that it lives every second."""


class Liveness:
    """What the owner has seen of the beats. A clock that jumps kills nobody: only differences of the monotonic one count."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] | None = None

    def look(self, beats: Mapping[int, int], monotonic: float) -> tuple[list[int], bool]:
        """The workers that are dead now; and whether tasks may have lost their worker since the last look."""
        before = self._seen
        self._seen = seen = {}
        dead: list[int] = []
        for member, beat in beats.items():
            known = (before or {}).get(member)
            seen[member] = known if known is not None and known[0] == beat else (beat, monotonic)
            if monotonic - seen[member][1] >= LEASE_SECONDS:
                dead.append(member)
        return dead, before is None or bool(dead) or not before.keys() <= beats.keys()

    def forget(self) -> None:
        """What the last look has led to was not done: the next one begins anew."""
        self._seen = None
