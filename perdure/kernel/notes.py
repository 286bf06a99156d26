"""One line about a run, or a step of it, as lists show it."""

from collections.abc import Callable, Sequence
from typing import Any

from perdure.kernel import events as ev
from perdure.kernel.family import Link
from perdure.kernel.human import HumanTask
from perdure.kernel.limits import NOTE_CHARS
from perdure.kernel.run import Run
from perdure.kernel.step import Step

MESSAGE = "waits for a message"
"""The note of a run that nothing else moves."""


def note(run: Run) -> str:
    """One line: the step the run is at, why it is blocked, or how it ended."""
    if run.outcome is not None:
        return _OUTCOME_NOTES[type(run.outcome)](run.outcome)
    if run.block is not None:
        return _clip(run.block.message)
    if run.people is not None and run.people.open:
        return _clip(_people_note(list(run.people.open.values())))
    if run.pending:
        step = run.pending[next(reversed(run.pending))]
        text = _step_note(step)
        return text if len(run.pending) == 1 else f"{text} +{len(run.pending) - 1:,}"
    if run.links:
        return _links_note(run.links)
    if run.timers:
        return "timer" if len(run.timers) == 1 else f"{len(run.timers):,} timers"
    return MESSAGE if run.seq else ""


def _people_note(tasks: Sequence[HumanTask]) -> str:
    task = tasks[0]
    who = task.claimed_by or ", ".join(task.assignees)
    text = f'task "{task.title}"' + (f" ({who})" if who else "")
    return text if len(tasks) == 1 else f"{text} +{len(tasks) - 1:,}"


def _links_note(links: dict[str, Link]) -> str:
    last = links[next(reversed(links))]
    text = f"child {last.workflow}" if last.workflow else f"answer of run {last.id}"
    return text if len(links) == 1 else f"{text} +{len(links) - 1:,}"


def _step_note(step: Step) -> str:
    if step.terms is None and not step.rows:
        return step.name  # nearly all
    if step.held is not None:
        by_bug = step.failure is not None and step.failure.is_bug
        return f"{step.name} held by a bug" if by_bug else f"{step.name} held: {held_by(step)}"
    return _attempt_note(step) + _place_note(step)


def held_by(step: Step) -> str:
    return failure_line(step.failure) if step.failure is not None else "it has failed"


def _attempt_note(step: Step) -> str:
    if step.attempt <= 1 and not step.rows:
        return step.name
    most = step.retry.max_attempts
    return f"{step.name} {step.attempt}/{most}" if step.attempt <= most else f"{step.name} ×{step.attempt}"


def _place_note(step: Step) -> str:
    if step.deferred:
        return ", to be completed from outside"
    return f" on queue {step.queue}" if step.queue else ""


def _clip(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= NOTE_CHARS else line[: NOTE_CHARS - 1] + "…"


def _result_note(event: ev.RunCompleted) -> str:
    payload = event.result
    if payload.encoding or payload.ref:
        return ""
    return _clip(payload.data[: 4 * (NOTE_CHARS + 1)].decode("utf-8", "replace"))  # a character has up to 4 bytes


def timeout_line(event: ev.RunTimedOut) -> str:
    """Which limit has run out."""
    return f"longer than its {event.limit}_timeout of {event.limit_ns / 1e9:g} s"


def failure_line(failure: ev.Failure) -> str:
    """The exception in one line, by its bare class name."""
    name = failure.type.rpartition(".")[2]
    return _clip(f"{name}: {failure.message}" if failure.message else name)


_OUTCOME_NOTES: dict[type, Callable[[Any], str]] = {
    ev.RunCompleted: _result_note,
    ev.RunFailed: lambda event: failure_line(event.failure),
    ev.RunCancelled: lambda event: _clip(event.reason),
    ev.RunTerminated: lambda event: _clip(event.reason),
    ev.RunTimedOut: lambda event: timeout_line(event),
    ev.RunContinuedAsNew: lambda event: "",
}
