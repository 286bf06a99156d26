"""The open human tasks of runs as rows: part of `project`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.human import HumanTask
from perdure.kernel.run import Run


class HumanTaskRow(msgspec.Struct):
    """One that is open; at most one per step. `claimed_by` "" is nobody. `remind_at`: when the next reminder is due;
    `overdue`: it was told to be so. `body` is an encoded `HumanBody`.
    """

    run: int
    step: str
    title: str
    assignees: tuple[str, ...]
    claimed_by: str
    opened_at: int
    due_at: int | None
    remind_at: int | None
    expires_at: int | None
    reminders: int
    overdue: bool
    body: bytes

    @property
    def people(self) -> list[str]:
        """Those it is found by: its assignees, and who has claimed it."""
        return list(dict.fromkeys([*self.assignees, *([self.claimed_by] if self.claimed_by else [])]))


class HumanBody(msgspec.Struct, frozen=True, array_like=True):
    """What is asked for, and what is shown."""

    form: dict[str, Any]
    data: ev.Payload | None = None


HUMAN_EVENTS = frozenset(
    {ev.TaskOpened, ev.TaskClaimed, ev.TaskReleased, ev.TaskCompleted}
    | {ev.TaskReminded, ev.TaskExpired, ev.TaskWithdrawn}
)
_body = msgspec.msgpack.Decoder(HumanBody)


def rows_of(run: Run, events: Sequence[ev.Event]) -> tuple[list[HumanTaskRow], list[tuple[int, str]]]:
    """Of the tasks that these events were about those that are open, and the steps of the others."""
    rows: list[HumanTaskRow] = []
    gone: list[tuple[int, str]] = []
    for id in dict.fromkeys(event.id for event in events if type(event) in HUMAN_EVENTS):  # type: ignore[union-attr]
        task = run.human_task(id)
        if task is None:
            gone.append((run.key, id))
        else:
            rows.append(row_of(run.key, task))
    return rows, gone


def fold(tasks: dict[str, HumanTask], event: ev.HistoryEvent) -> None:
    """Keep what a history tells of tasks that are open, by step."""
    if type(event) not in HUMAN_EVENTS:
        return
    if isinstance(event, ev.TaskOpened):
        tasks[event.id] = HumanTask(event)
        return
    id: str = event.id  # type: ignore[union-attr]
    match event:
        case _ if id not in tasks:
            pass
        case ev.TaskClaimed() | ev.TaskReleased():
            tasks[id].claim(event)
        case ev.TaskReminded():
            tasks[id].remind(event)
        case _:
            del tasks[id]


def row_of(key: int, task: HumanTask) -> HumanTaskRow:
    return HumanTaskRow(
        key,
        task.id,
        task.title,
        task.assignees,
        task.claimed_by,
        task.opened_at,
        task.due_at,
        task.remind_at,
        task.expires_at,
        task.reminders,
        task.overdue,
        wire.encode(HumanBody(task.form, task.data)),
    )


def decode_body(body: bytes) -> HumanBody:
    return _body.decode(body)
