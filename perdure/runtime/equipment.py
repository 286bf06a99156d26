"""What an owner is given when it begins: the code that it has, its bounds, and whom it speaks with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from perdure.kernel.program import Language
from perdure.kernel.wire import Task
from perdure.runtime.inbox import Inbox
from perdure.runtime.outbox import Outbox
from perdure.runtime.slots import Flight
from perdure.runtime.waiters import Waiters

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition
    from perdure.workflows import WorkflowDefinition


@dataclass(frozen=True)
class Definitions:
    """What this process can run, by names. `build` is the fingerprint of it."""

    build: str
    workflows: "Mapping[str, WorkflowDefinition[Any, Any]]"
    activities: "Mapping[str, ActivityDefinition[Any, Any]]"
    languages: Mapping[str, Language]


@dataclass(frozen=True)
class Bounds:
    """`concurrency`: attempts at once, on the loop, in threads and in processes. `cached_runs` stay in memory when they wait;
    `awake_runs` are moved at once, and others wait for room. `grace_seconds` has an attempt that was given up, until its slot is
    free again; after `lease_seconds` of silence others take the owner for dead. `retention_ns`: how long runs are kept that have
    ended, None for ever."""

    concurrency: tuple[int, int, int]
    cached_runs: int
    awake_runs: int
    grace_seconds: float
    lease_seconds: float
    retention_ns: int | None = None


class Crew(Protocol):
    """Runs attempts."""

    def begin(self, departures: Sequence[tuple[Flight, str, Task]]) -> None:
        """Each with the name of its activity."""
        ...

    def give_up(self, flight: Flight) -> None: ...

    def beats(self) -> list[Flight]:
        """Attempts whose heartbeats have brought details that are not stored yet, each once."""
        ...

    def loop_is_gone(self, loop: Any) -> None: ...


OwnWorker = Callable[[Mapping[tuple[str, str], int]], bool]
"""Tells the worker of queues in this process of tasks, so many of each (queue, activity). Whether it is going to take them all: then
nobody else has to be told."""


def no_worker(tasks: Mapping[tuple[str, str], int]) -> bool:
    """There is none in this process."""
    return False


@dataclass(frozen=True)
class Company:
    """Others in this process: who puts letters into the `inbox`, who waits, by way of the `outbox`, and who does the work."""

    inbox: Inbox
    waiters: Waiters
    outbox: Outbox
    crew: Crew
    own_worker: OwnWorker = no_worker
