"""What a commit says, in words for a table."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.project import AttemptState
from perdure.kernel.run import LOST
from perdure.stores.base import Batch

Names = dict[tuple[int, str], str]
"""What the step of a run, by its key, is called."""

_WORDS: Mapping[type, Callable[[Any], str]] = {
    ev.RunStarted: lambda event: f"{event.workflow} begins",
    ev.ActivityScheduled: lambda event: f"{event.name} [{event.id}] scheduled",
    ev.TimerStarted: lambda event: f"timer [{event.id}] set",
    ev.TimerFired: lambda event: f"timer [{event.id}] fires",
    ev.TimerCancelled: lambda event: "",
    ev.SideEffectRecorded: lambda event: "side effect recorded",
    ev.PatchMarked: lambda event: f"patch {event.patch}",
    ev.CancelRequested: lambda event: "cancel requested",
    ev.RunCompleted: lambda event: "run completed",
    ev.RunFailed: lambda event: "run failed",
    ev.RunCancelled: lambda event: "run cancelled",
    ev.RunTerminated: lambda event: "run terminated",
    ev.RunTimedOut: lambda event: "run timed out",
    ev.AttributesSet: lambda event: "attributes set",
    ev.MemoSet: lambda event: "memo set",
}
_ENDS: Mapping[type, str] = {
    ev.ActivityCompleted: "done",
    ev.ActivityFailed: "failed",
    ev.ActivityCancelled: "cancelled",
}
_STATES = {
    AttemptState.STARTED: "begins",
    AttemptState.WAITING: "failed",
    AttemptState.FAILED: "failed",
    AttemptState.HELD: "held",
    AttemptState.DEFERRED: "deferred",
}


def words_of(batch: Batch, names: Names) -> str:
    """The batch in one line; `names` learns of the steps that are scheduled in it."""
    said: list[str] = []
    ended: set[tuple[int, str]] = set()
    for part in batch.history:
        for event in wire.decode_events(part.events):
            if type(event) is ev.ActivityScheduled:
                names[part.run, event.id] = event.name
            elif type(event) in _ENDS:
                ended.add((part.run, getattr(event, "id", "")))
            said.append(_of_event(part.run, event, names))
    lost = [row for row in batch.attempts if row.detail is not None and is_loss(row.detail)]
    said += [f"attempt {row.attempt} of {step_name(row.run, row.step, names)} is lost" for row in lost]
    for row in batch.attempts:
        state = _STATES.get(AttemptState(row.state), "")
        if state == "begins" and (row.detail is not None or row.attempt == 1):
            state = "" if row.detail is None else "lives"  # the first one begins with its step
        if state and row not in lost and (row.run, row.step) not in ended:
            said.append(f"attempt {row.attempt} of {step_name(row.run, row.step, names)} {state}")
    scheduled = {(part.run, event.id) for part in batch.history for event in _scheduled(part.events)}
    again = [task for task in batch.tasks if (task.run, task.step) not in scheduled]
    said += [f"{step_name(task.run, task.step, names)} is in its queue again" for task in again]
    blocks = [wire.decode_block(row.block) for row in [*batch.created, *batch.updated] if row.block is not None]
    said += [f"blocked ({block.kind})" for block in blocks]
    if not any(said) and batch.replies:
        said.append("a message is answered")
    return ", ".join(_counted(each for each in said if each)) or "nothing that can be seen"


def _scheduled(events: bytes) -> list[ev.ActivityScheduled]:
    return [event for event in wire.decode_events(events) if isinstance(event, ev.ActivityScheduled)]


def _of_event(run: int, event: Any, names: Names) -> str:
    kind = type(event)
    if kind in _ENDS:
        return f"{step_name(run, event.id, names)} {_ENDS[kind]}"
    if kind in _WORDS:
        return _WORDS[kind](event)
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).strip()


def step_name(run: int, step: str, names: Names) -> str:
    return f"{names.get((run, step), 'step')} [{step}]"


def is_loss(detail: bytes) -> bool:
    """Whether the attempt of a row was lost with its process."""
    failure = wire.decode_detail(detail).failure
    return failure is not None and failure.code == LOST


def _counted(said: Iterable[str]) -> list[str]:
    """Three of what there is much of, and how many more."""
    kept: list[str] = []
    more: dict[str, int] = {}
    seen: dict[str, int] = {}
    for each in said:
        alike = each.partition(" [")[0] + each.rpartition("]")[2]
        seen[alike] = seen.get(alike, 0) + 1
        if seen[alike] <= 3:
            kept.append(each)
        else:
            more[alike] = more.get(alike, 0) + 1
    return [*kept, *(f"{count} more {alike}" for alike, count in more.items())]
