"""A human task as people want to see it: in lists, by itself, and as a step of its run. Field names are stable API."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from perdure.client.moments import moment
from perdure.kernel import events as ev
from perdure.kernel.human import HumanTask
from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.project import RunRow


class TaskSummary(msgspec.Struct, frozen=True):
    """`id` is what it is claimed and completed by. `state`: open or claimed, or of one that has ended completed, expired
    or cancelled. `claimed_by` None is nobody."""

    id: str
    title: str
    state: str
    run: str
    run_id: str
    workflow: str
    assignees: list[str]
    claimed_by: str | None
    opened_at: datetime
    due_at: datetime | None = None
    overdue: bool = False
    reminders: int = 0
    next_reminder_at: datetime | None = None
    expires_at: datetime | None = None


class TaskDetails(TaskSummary, frozen=True):
    """`form` is the JSON schema of the answer, `data` what is shown with it. Of one that has ended `closed_at` says when,
    of one that is completed `completed_by` and `answer` who gave which answer; `forced`: although it was for others."""

    form: dict[str, Any] = {}
    data: Any = None
    closed_at: datetime | None = None
    completed_by: str | None = None
    answer: Any = None
    forced: bool = False


class HumanView(msgspec.Struct, frozen=True):
    """What there is to say of a step that is a human task, beside what all steps have."""

    assignees: list[str]
    form: dict[str, Any]
    claimed_by: str | None = None
    due_at: datetime | None = None
    overdue: bool = False
    reminders: int = 0
    next_reminder_at: datetime | None = None
    expires_at: datetime | None = None
    completed_by: str | None = None
    forced: bool = False


def summary_fields(row: HumanTaskRow, run: RunRow, now: int) -> dict[str, Any]:
    """What a row says; `now` in nanoseconds since the epoch."""
    return {
        "id": f"{run.id}/{row.step}",
        "title": row.title,
        "state": "claimed" if row.claimed_by else "open",
        "run": run.id,
        "run_id": run.run_id.hex(),
        "workflow": run.workflow,
        "assignees": list(row.assignees),
        "claimed_by": row.claimed_by or None,
        "opened_at": moment(row.opened_at),
        "due_at": _moment(row.due_at),
        "overdue": row.due_at is not None and row.due_at <= now,
        "reminders": row.reminders,
        "next_reminder_at": _moment(row.remind_at),
        "expires_at": _moment(row.expires_at),
    }


def summaries_of(rows: Iterable[HumanTaskRow], runs: Mapping[int, RunRow], now: int) -> list[TaskSummary]:
    return [TaskSummary(**summary_fields(row, runs[row.run], now)) for row in rows if row.run in runs]


def _moment(at: int | None) -> datetime | None:
    return None if at is None else moment(at)


HUMAN = (
    ev.TaskOpened,
    ev.TaskClaimed,
    ev.TaskReleased,
    ev.TaskCompleted,
    ev.TaskReminded,
    ev.TaskExpired,
    ev.TaskWithdrawn,
)
ENDS: dict[type, str] = {ev.TaskCompleted: "completed", ev.TaskExpired: "expired", ev.TaskWithdrawn: "cancelled"}
"""The state of a task after the event that closed it."""


class Tale:
    """What a history tells of one task, event by event."""

    __slots__ = ("end", "opened", "task")

    def __init__(self, opened: ev.TaskOpened) -> None:
        self.opened = opened
        self.task = HumanTask(opened)
        self.end: ev.TaskCompleted | ev.TaskExpired | ev.TaskWithdrawn | None = None

    def tell(self, event: Any) -> None:
        match event:
            case ev.TaskClaimed() | ev.TaskReleased():
                self.task.claim(event)
            case ev.TaskReminded():
                self.task.remind(event)
            case ev.TaskCompleted() | ev.TaskExpired() | ev.TaskWithdrawn():
                self.end = event

    def view(self, now: int | None) -> HumanView:
        """`now`: of a task that is open; None of one that is closed, by its own end or that of its run."""
        task, end = self.task, self.end
        completed = end if isinstance(end, ev.TaskCompleted) else None
        until = end.at if end is not None else now
        return HumanView(
            assignees=list(task.assignees),
            form=task.form,
            claimed_by=task.claimed_by or None,
            due_at=_moment(task.due_at),
            overdue=task.overdue or (until is not None and task.due_at is not None and task.due_at <= until),
            reminders=task.reminders,
            next_reminder_at=None if end is not None or now is None else _moment(task.remind_at),
            expires_at=_moment(task.expires_at),
            completed_by=None if completed is None else completed.by,
            forced=completed is not None and completed.forced,
        )


def tales(history: Iterable[ev.HistoryEvent]) -> dict[str, Tale]:
    """Those of all tasks of a history, by step."""
    found: dict[str, Tale] = {}
    for event in history:
        if isinstance(event, ev.TaskOpened):
            found[event.id] = Tale(event)
        elif isinstance(event, HUMAN) and event.id in found:
            found[event.id].tell(event)
    return found
