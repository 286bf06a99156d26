"""What a commit says, in words for a table."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.project import AttemptState
from perdure.kernel.run import LOST
from perdure.stores.base import Batch

ID = "crash-test"
"""Of the run that is tried; it need not be named."""

_CHILD = re.compile(rf"^{ID}/[0-9a-f]{{8}}/")
"""How the ids of children begin that were given none."""

_OF_RUNS: Mapping[type, str] = {
    ev.RunCompleted: "completed",
    ev.RunFailed: "failed",
    ev.RunCancelled: "cancelled",
    ev.RunTerminated: "terminated",
    ev.RunTimedOut: "timed out",
    ev.RunContinuedAsNew: "goes on as new",
}
_OF_STEPS: Mapping[type, str] = {
    ev.ActivityCompleted: "done",
    ev.ActivityFailed: "failed",
    ev.ActivityCancelled: "cancelled",
}
_OTHERS: Mapping[type, Callable[[Any], str]] = {
    ev.TimerStarted: lambda event: f"timer [{event.id}] set",
    ev.TimerFired: lambda event: f"timer [{event.id}] fires",
    ev.TimerCancelled: lambda event: "",
    ev.SideEffectRecorded: lambda event: "side effect recorded",
    ev.PatchMarked: lambda event: f"patch {event.patch}",
    ev.SignalReceived: lambda event: f"signal {event.name}",
    ev.UpdateAccepted: lambda event: f"update {event.name} accepted",
    ev.UpdateCompleted: lambda event: "update answered",
    ev.UpdateFailed: lambda event: "update failed",
    ev.Published: lambda event: f"{event.name} published",
    ev.TaskOpened: lambda event: f'task "{event.title}" [{event.id}] asked',
    ev.TaskClaimed: lambda event: f"task [{event.id}] claimed by {event.by}",
    ev.TaskReleased: lambda event: f"task [{event.id}] given back",
    ev.TaskCompleted: lambda event: f"task [{event.id}] answered by {event.by}",
    ev.TaskReminded: lambda event: f"reminder of task [{event.id}]",
    ev.TaskExpired: lambda event: f"task [{event.id}] expires",
    ev.StreamWritten: lambda event: f"{event.count:,} written to stream {event.stream}",
    ev.ChildScheduled: lambda event: f"{event.workflow} started as {short(event.child_id)}",
    ev.ChildStarted: lambda event: "child is there",
    ev.ChildCompleted: lambda event: f"child [{event.id}] has completed",
    ev.ChildFailed: lambda event: f"child [{event.id}] has {event.how}",
}
_OF_ATTEMPTS: Mapping[AttemptState, str] = {
    AttemptState.STARTED: "begins",
    AttemptState.WAITING: "failed",
    AttemptState.FAILED: "failed",
    AttemptState.HELD: "held",
    AttemptState.DEFERRED: "deferred",
}

ALIKE = 3
"""So many things of a kind are told of one commit; the others are counted."""


class Words:
    """Knows what runs and their steps are called: from the commits it has put into words."""

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        self._names: dict[tuple[int, str], str] = {}

    def of(self, batch: Batch) -> str:
        """A commit in one line."""
        for row in [*batch.created, *batch.updated]:
            self._ids[row.key] = row.id
        events = [(part.run, event) for part in batch.history for event in wire.decode_events(part.events)]
        for run, event in events:
            if isinstance(event, ev.ActivityScheduled):
                self._names[run, event.id] = event.name
        said = [self._event(run, event) for run, event in events]
        said += self._attempts(batch, {(run, getattr(event, "id", "")) for run, event in events})
        rows = [*batch.created, *batch.updated]
        said += [f"blocked ({wire.decode_block(row.block).kind})" for row in rows if row.block is not None]
        if not any(said) and batch.replies:
            said.append("a message is answered")
        return listed([each for each in said if each]) or "nothing that can be seen"

    def _attempts(self, batch: Batch, told: set[tuple[int, str]]) -> Iterable[str]:
        """What is not told by the events of their steps."""
        for row in batch.attempts:
            state = _OF_ATTEMPTS.get(AttemptState(row.state), "")
            if row.detail is not None and is_loss(row.detail):
                yield f"attempt {row.attempt} of {self.step(row.run, row.step)} is lost"
            elif (row.run, row.step) in told or not state:
                continue
            else:
                state = "lives" if row.state == AttemptState.STARTED and row.detail is not None else state
                yield f"attempt {row.attempt} of {self.step(row.run, row.step)} {state}"
        for task in batch.tasks:
            if (task.run, task.step) not in told:
                yield f"{self.step(task.run, task.step)} is in its queue again"

    def _event(self, run: int, event: Any) -> str:
        kind = type(event)
        if kind is ev.RunStarted:
            return f"{event.workflow} begins{self._owner(run).replace(' of ', ' as ', 1)}"
        if kind is ev.ActivityScheduled:
            return f"{self.step(run, event.id)} scheduled"
        if kind in _OF_STEPS:
            return f"{self.step(run, event.id)} {_OF_STEPS[kind]}"
        if kind in _OF_RUNS:
            return f"{self._owner(run).removeprefix(' of ') or 'run'} {_OF_RUNS[kind]}"
        if kind in _OTHERS:
            return _OTHERS[kind](event)
        return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).strip()

    def step(self, run: int, step: str) -> str:
        """What a step is called, and whose it is."""
        return f"{self._names.get((run, step), 'step')} [{step}]{self._owner(run)}"

    def _owner(self, run: int) -> str:
        return of_run(self._ids.get(run, ID))


def of_run(id: str) -> str:
    """Whose something is, if it is not the tried run's."""
    return "" if id == ID else f" of {short(id)}"


def short(id: str) -> str:
    """An id, of a child that has no id of its own choice its place."""
    return _CHILD.sub("child ", id)


def is_loss(detail: bytes) -> bool:
    """Whether the attempt of a row was lost with its process."""
    failure = wire.decode_detail(detail).failure
    return failure is not None and failure.code == LOST


def listed(said: Sequence[str]) -> str:
    """A few of them, and how many more."""
    return ", ".join(_counted(said))


def _counted(said: Iterable[str]) -> list[str]:
    """A few of what there is much of, and how many more."""
    kept: list[str] = []
    seen: dict[str, int] = {}
    for each in said:
        alike = each.partition(" [")[0] + each.rpartition("]")[2]
        seen[alike] = seen.get(alike, 0) + 1
        if seen[alike] <= ALIKE:
            kept.append(each)
    return [*kept, *(f"{count - ALIKE} more {alike}" for alike, count in seen.items() if count > ALIKE)]
