"""What stands beside the timeline: the step that is looked at with its attempts, or the run's own values."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from perdure.client.description import StepView
from perdure.durations import took
from perdure.kernel import events as ev
from perdure.web import addresses
from perdure.web.markup import when
from perdure.web.reasons import chain
from perdure.web.tags import tags

if TYPE_CHECKING:
    from perdure.web.runpage import Subject


class Fact(NamedTuple):
    label: str
    value: Markup | str


FACTS: tuple[tuple[str, Callable[[StepView], Markup | str]], ...] = (
    ("Scheduled", lambda step: when(step.scheduled_at)),
    ("Ended", lambda step: when(step.ended_at)),
    ("Took", lambda step: _took(step)),
    ("Due", lambda step: when(step.due_at)),
    ("For", lambda step: ", ".join(step.task.assignees) or "anybody" if step.task is not None else ""),
    ("Claimed by", lambda step: step.task.claimed_by or "" if step.task is not None else ""),
    ("Completed by", lambda step: _completed_by(step)),
    ("Due by", lambda step: when(step.task.due_at) if step.task is not None else ""),
    ("Reminders", lambda step: f"{step.task.reminders:,}" if step.task is not None and step.task.reminders else ""),
    ("Next reminder", lambda step: when(step.task.next_reminder_at) if step.task is not None else ""),
    ("Expires", lambda step: when(step.task.expires_at) if step.task is not None else ""),
    ("Next attempt", lambda step: when(step.retry_at)),
    ("Attempts", lambda step: _attempts(step)),
    ("Queue", lambda step: step.queue),
    ("Undoes another step", lambda step: "yes" if step.compensation else ""),
    ("Step", lambda step: Markup('<span class="mono">{}</span>').format(step.id)),
)
"""What is said of every step; empty ones are left out. A new fact is one line here."""


CHILDREN = 12
"""So many are told beside the timeline; each has a row in that."""


def link(id: str, run_id: str) -> Markup:
    """The way to another run."""
    return Markup('<a class="link mono" href="{}">{}</a>').format(addresses.run_path(id, run_id), id)


def _took(step: StepView) -> str:
    return took((step.ended_at - step.scheduled_at).total_seconds()) if step.ended_at is not None else ""


def _completed_by(step: StepView) -> str:
    task = step.task
    if task is None or task.completed_by is None:
        return ""
    return f"{task.completed_by} (by force)" if task.forced else task.completed_by


def _form(step: StepView) -> list[tuple[str, str]]:
    """What a human task that is open asks for: names and words."""
    if step.task is None or step.ended_at is not None:
        return []
    from perdure.payload.forms import fields_of, words_in

    fields = fields_of(step.task.form)
    if not fields:
        return [("answer", words_in(step.task.form))]
    return [(each.name, f"{each.expected}, required" if each.required else each.expected) for each in fields]


def _attempts(step: StepView) -> str:
    if step.kind != "activity":
        return ""
    most = f" of at most {step.max_attempts:,}" if step.max_attempts else " · no limit"
    return f"{step.attempts_total:,}{most}"


def drawn(about: "Subject") -> Markup:
    if about.step is None:
        return _of_run(about)
    return _of_step(about, about.step)


def _of_run(about: "Subject") -> Markup:
    run = about.run
    return about.place.draw(
        "_inspect_run.html",
        about=about,
        run=run,
        version=about.version,
        missing=about.asked.step,
        input=about.payload(run.input, _run_input),
        result=about.payload(run.result, _run_result),
        tags=tags(run.attributes),
        published=list(run.published.items()),
        children=run.children[:CHILDREN],
        more_children=max(len(run.children) - CHILDREN, 0),
    )


def _run_input(event: ev.HistoryEvent) -> ev.Payload | None:
    return event.input if isinstance(event, ev.RunStarted) else None


def _run_result(event: ev.HistoryEvent) -> ev.Payload | None:
    return event.result if isinstance(event, ev.RunCompleted) else None


def _of_step(about: "Subject", step: StepView) -> Markup:
    attempt = about.attempt
    error = attempt.error if attempt is not None and attempt.error is not None else None
    if error is None and (attempt is None or attempt.state != "completed"):
        error = step.error
    facts = [Fact("Run", link(child.id, child.run_id)) for child in about.run.children if child.step == step.id]
    facts += [Fact(label, value(step)) for label, value in FACTS]
    return about.place.draw(
        "_inspect_step.html",
        about=about,
        step=step,
        version=about.version,
        facts=[fact for fact in facts if fact.value],
        form=_form(step),
        attempt=attempt,
        errors=chain(error),
        input=about.payload(step.input, lambda event: _step_input(event, step.id)),
        result=about.payload(step.result, lambda event: _step_result(event, step.id)),
    )


def _step_input(event: ev.HistoryEvent, id: str) -> ev.Payload | None:
    if isinstance(event, ev.TaskOpened) and event.id == id:
        return event.data
    return event.input if isinstance(event, ev.ActivityScheduled | ev.ChildScheduled) and event.id == id else None


def _step_result(event: ev.HistoryEvent, id: str) -> ev.Payload | None:
    if isinstance(event, ev.ActivityCompleted | ev.ChildCompleted | ev.TaskCompleted) and event.id == id:
        return event.result
    return event.value if isinstance(event, ev.SideEffectRecorded) and event.id == id else None


def is_nothing(value: Any) -> bool:
    """Whether there is nothing to show."""
    return value is None or value == [] or value == {}
