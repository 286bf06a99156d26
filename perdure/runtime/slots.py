"""The rights to run attempts in this process, and the steps that wait for one: by turns of their runs, and of a run first come,
first served. So a run with a hundred thousand steps at once is long under way, and nobody else is for that."""

import os
from collections import OrderedDict, deque
from collections.abc import Container, Iterator, Mapping
from typing import Any

import msgspec

from perdure.kernel.events import Payload
from perdure.runtime.actors import Actor

ON_LOOP = 0
IN_THREAD = 1
IN_PROCESS = 2
KINDS = (ON_LOOP, IN_THREAD, IN_PROCESS)


class Flight(msgspec.Struct, gc=False, eq=False):
    """An attempt that holds a slot. `given_up`: whatever it still does, nobody wants its result.

    `began` is when, in nanoseconds since the epoch, 0 if nobody asked. Moments of the monotonic clock, in seconds:
    `deadline` is when to look at it next, `close_at` when it has run too long (`limit_ns`), `heard` when it was last heard
    of (not longer ago than `heartbeat_ns`). `details` are those of its latest heartbeat; `beaten`: they are not stored yet.
    """

    key: int
    step: str
    attempt: int
    kind: int
    given_up: bool = False
    began: int = 0
    deadline: float = 0.0
    close_at: float = 0.0
    limit_ns: int = 0
    heartbeat_ns: int = 0
    heard: float = 0.0
    details: Payload | None = None
    beaten: bool = False


class _Waiting:
    """Steps that wait for a slot, by their runs, whose turns are in this order."""

    def __init__(self) -> None:
        self._steps: OrderedDict[int, deque[str]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, key: int, step: str) -> None:
        steps = self._steps.get(key)
        if steps is None:
            steps = self._steps[key] = deque()
        steps.append(step)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return ((key, step) for key, steps in self._steps.items() for step in steps)

    def next_run(self, only: Container[int] | None) -> int | None:
        """Whose turn it is, if only these can have one."""
        return next((key for key in self._steps if only is None or key in only), None)

    def take(self, key: int) -> str:
        """The run's next step; then it is the turn of all others that wait."""
        steps = self._steps[key]
        step = steps.popleft()
        if steps:
            self._steps.move_to_end(key)
        else:
            del self._steps[key]
        return step


class Slots:
    """Grants slots to steps of runs; `member` is who runs them.

    A claim is made while a batch is decided and holds once the batch is durable: until then it is in `claimed`, from
    where it is either taken into the air or given back.
    """

    def __init__(
        self, member: int, activities: Mapping[str, Any], on_loop: int, in_thread: int, in_process: int
    ) -> None:
        self.member = member
        self._activities = activities
        self._most = (on_loop, in_thread, in_process)
        self._free = list(self._most)
        self._abandoned: dict[tuple[int, str, int], int] = {}
        self._waiting = (_Waiting(), _Waiting(), _Waiting())
        self.claimed: list[Flight] = []
        self._flights: dict[int, dict[tuple[str, int], Flight]] = {}
        self._count = 0
        self.closed = False

    def kind(self, name: str) -> int:
        """Where attempts of an activity run."""
        definition = self._activities.get(name)
        return ON_LOOP if definition is None else _kind_of(definition)

    def claim(self, actor: Actor, name: str, step: str) -> int:
        definition = self._activities.get(name)
        if definition is None:
            return 0
        kind = ON_LOOP if definition.is_async else _kind_of(definition)
        if self.closed or self._free[kind] <= 0 or self._waiting[kind]:
            return 0
        self._free[kind] -= 1
        self.claimed.append(Flight(actor.run.key, step, 1, kind))
        return self.member

    def want(self, actor: Actor, name: str, step: str) -> None:
        self._waiting[self.kind(name)].add(actor.run.key, step)

    def grants(self, only: Container[int] | None = None) -> Iterator[tuple[int, str, int]]:
        """Steps (run, step, kind) that can have a slot now; each is held until `take` or `give_back` is called.

        With `only` the steps of other runs are passed over, and keep their places.
        """
        for kind, waiting in enumerate(self._waiting):
            while self._free[kind] > 0 and not self.closed:
                key = waiting.next_run(only)
                if key is None:
                    break
                self._free[kind] -= 1
                yield key, waiting.take(key), kind

    def free(self, kind: int) -> int:
        """How many more attempts of a kind there is room for."""
        return 0 if self.closed else self._free[kind]

    def occupy(self, flight: Flight) -> None:
        """An attempt takes off whose right to run was granted elsewhere."""
        self._free[flight.kind] -= 1
        self.claimed.append(flight)
        self.take_off()

    def can_grant(self) -> bool:
        """Whether a step waits for a slot and there is one."""
        return not self.closed and any(
            waiting and free > 0 for waiting, free in zip(self._waiting, self._free, strict=True)
        )

    def take(self, key: int, step: str, attempt: int, kind: int) -> None:
        self.claimed.append(Flight(key, step, attempt, kind))

    def give_back(self, kind: int) -> None:
        self._free[kind] += 1

    def take_off(self) -> list[Flight]:
        """The batch is durable: what was claimed in it is in the air."""
        claimed, self.claimed = self.claimed, []
        for flight in claimed:
            of_run = self._flights.get(flight.key)
            if of_run is None:
                of_run = self._flights[flight.key] = {}
            of_run[flight.step, flight.attempt] = flight
        self._count += len(claimed)
        return claimed

    def void(self) -> None:
        """The batch is void, and so is what was claimed in it."""
        for flight in self.claimed:
            self._free[flight.kind] += 1
        self.claimed.clear()

    def land(self, key: int, step: str, attempt: int) -> None:
        """The attempt has ended, or its slot is taken from it: others may have it. Twice does no harm."""
        of_run = self._flights.get(key)
        flight = None if of_run is None else of_run.pop((step, attempt), None)
        if flight is None or of_run is None:
            self._abandoned.pop((key, step, attempt), None)
            return
        self._free[flight.kind] += 1
        self._count -= 1
        if not of_run:
            del self._flights[key]

    def abandon(self, flight: Flight) -> bool:
        """Take the slot from an attempt that does not end, though nobody wants it. False if as many as there are slots
        hang like that already: it keeps its slot then, so that their number has a bound."""
        if list(self._abandoned.values()).count(flight.kind) >= self._most[flight.kind]:
            return False
        self.land(flight.key, flight.step, flight.attempt)
        self._abandoned[flight.key, flight.step, flight.attempt] = flight.kind
        return True

    def in_air(self) -> int:
        """How many attempts hold a slot."""
        return self._count

    def all(self) -> list[Flight]:
        return [flight for of_run in self._flights.values() for flight in of_run.values()]

    def of_run(self, key: int) -> list[Flight]:
        return list(self._flights.get(key, {}).values())

    def at_work(self, key: int) -> bool:
        """Whether an attempt of the run is in the air, or takes off with the batch that is decided, and its result is wanted."""
        flights = self._flights.get(key, {}).values()
        return any(not flight.given_up for flight in flights) or any(flight.key == key for flight in self.claimed)

    def holds(self, flight: Flight) -> bool:
        """Whether the attempt has its slot still, wanted or not."""
        return self._flights.get(flight.key, {}).get((flight.step, flight.attempt)) is flight

    def flies(self, key: int, step: str, attempt: int) -> bool:
        """Whether the attempt is in the air, and its result wanted."""
        flight = self._flights.get(key, {}).get((step, attempt))
        return flight is not None and not flight.given_up


def _kind_of(definition: Any) -> int:
    if definition.is_async:
        return ON_LOOP
    return IN_PROCESS if definition.in_process else IN_THREAD


def processors() -> int:
    """How many this process may use, which may be fewer than there are: so many attempts compute at the same time."""
    allowed: set[int] = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    return len(allowed) or os.cpu_count() or 1
