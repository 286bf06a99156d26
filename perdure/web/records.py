"""Events and log records of a run, a page at a time."""

from typing import Any, NamedTuple

from perdure.client.description import LogView, RunDescription, history_entries
from perdure.kernel import wire
from perdure.kernel.events import ActivityScheduled, UpdateAccepted
from perdure.payload import Coder
from perdure.stores.base import Stored
from perdure.web.markup import flat

EVENTS = 100
LOGS = 200
"""Events, and records, on a page."""

_NAMED = ("name", "patch", "workflow", "reason")
_SILENT = {"seq", "at", "type", "id", "run_id", "build", "retry", "claimed_by", "member", "started_at", *_NAMED}
"""What is not worth a word in the line of an event; it is among its fields."""


_STEPLESS = {
    "Published",
    "AttributesSet",
    "MemoSet",
    "StreamWritten",
    "UpdateAccepted",
    "UpdateCompleted",
    "UpdateFailed",
}
"""Events that have an id which is not that of a step."""


class Event(NamedTuple):
    """`name` is what it is about, `values` the rest of it in a line, `fields` all of it."""

    seq: int
    at: str
    type: str
    step: str
    name: str
    values: str
    fields: dict[str, Any]


class Page(NamedTuple):
    """Numbers of the first and the last that are shown, and of all; where the pages before and after begin."""

    first: int
    last: int
    total: int
    before: int | None
    after: int | None


def paged(first: int, total: int, size: int) -> Page:
    """The page that begins with the `first`, counted from 1."""
    first = max(min(first, total), 1)
    last = min(first + size - 1, total)
    return Page(first, last, total, max(first - size, 1) if first > 1 else None, last + 1 if last < total else None)


def events(stored: Stored, blob: Any, coder: Coder, page: Page) -> list[Event]:
    names = {
        event.id: event.name
        for event in wire.decode_history(stored.history)
        if isinstance(event, ActivityScheduled | UpdateAccepted)
    }
    return [_event(entry, names) for entry in history_entries(stored, blob, coder, first=page.first, limit=EVENTS)]


def _event(entry: dict[str, Any], known: dict[str, str]) -> Event:
    names = [str(entry[field]) for field in _NAMED if entry.get(field)]
    if not names and entry.get("id") in known:
        names = [known[entry["id"]]]
    values = {field: value for field, value in entry.items() if _says_something(field, value)}
    text = "  ".join(f"{field}={flat(value, 80)}" for field, value in values.items())
    step = "" if entry["type"] in _STEPLESS else entry.get("id") or ""
    return Event(entry["seq"], entry["at"], entry["type"], step, " ".join(names), text, entry)


def _says_something(field: str, value: Any) -> bool:
    if field in _SILENT or (field == "attempt" and value == 1) or (field == "spoken" and value == 0):
        return False
    return value is not None and value != "" and value != {}


class Record(NamedTuple):
    """What an attempt logged."""

    step_id: str
    step: str
    attempt: int
    record: LogView


def logs(run: RunDescription) -> list[Record]:
    """All that the attempts have logged, in order of time."""
    records = [
        Record(step.id, step.name, attempt.number, record)
        for step in run.steps
        for attempt in step.attempts
        for record in attempt.logs
    ]
    return sorted(records, key=_time)


def _time(record: Record) -> Any:
    return record.record.at


def dropped(run: RunDescription) -> int:
    """Records that were not kept."""
    return sum(attempt.logs_dropped for step in run.steps for attempt in step.attempts)
