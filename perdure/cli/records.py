"""Events and logs of a run, one line each."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from perdure.cli.lines import clean, clip, compact, width
from perdure.cli.options import Settings
from perdure.cli.times import shown, took
from perdure.cli.tokens import Line, Style
from perdure.client.description import RunDescription, history_entries

_EVENT_STYLES: dict[str, Style] = {
    "ActivityCompleted": "completed",
    "RunCompleted": "completed",
    "ActivityFailed": "failed",
    "RunFailed": "failed",
    "TimerStarted": "waiting",
    "TimerFired": "waiting",
    "SignalReceived": "waiting",
    "UpdateAccepted": "waiting",
    "UpdateCompleted": "completed",
    "UpdateFailed": "failed",
    "ChildScheduled": "running",
    "ChildCompleted": "completed",
    "ChildFailed": "failed",
    "ChildStartFailed": "failed",
    "RunContinuedAsNew": "completed",
    "TaskOpened": "waiting",
    "TaskReminded": "waiting",
    "TaskCompleted": "completed",
    "TaskExpired": "failed",
    "TaskWithdrawn": "cancelled",
    "CancelRequested": "cancelled",
    "ActivityCancelled": "cancelled",
    "TimerCancelled": "cancelled",
    "RunCancelled": "cancelled",
    "RunTerminated": "terminated",
    "RunTimedOut": "failed",
}
_LEVEL_STYLES: dict[str, Style] = {"DEBUG": "dim", "WARNING": "retrying", "ERROR": "failed", "CRITICAL": "failed.bold"}
_NAMED = ("id", "name", "patch", "workflow", "title", "by", "reason")
_SILENT = (
    "seq",
    "at",
    "type",
    "run_id",
    "build",
    "retry",
    "timeout_ns",
    "claimed_by",
    "member",
    "started_at",
    "form",
    "remind_ns",
    "expires_at",
)


def event_lines(
    settings: Settings, stored: Any, blob: Callable[[bytes], bytes | None], zero: datetime | None, whole: bool = False
) -> list[Line]:
    """The history: number, moment, what happened, to which step, with which values, cut to one line or `whole`."""
    entries = history_entries(stored, blob)
    name_answers(entries)
    digits = len(str(len(entries)))
    return [_event_line(settings, entry, zero, digits, whole) for entry in entries]


def name_answers(entries: Iterable[dict[str, Any]]) -> None:
    """Give the answers to updates the names of these; in the history they have their ids."""
    names: dict[str, str] = {}
    for entry in entries:
        if entry["type"] == "UpdateAccepted":
            names[entry["id"]] = entry["name"]
        elif entry["type"] in ("UpdateCompleted", "UpdateFailed"):
            entry["name"] = names.get(entry["id"], "")


def _event_line(settings: Settings, entry: dict[str, Any], zero: datetime | None, digits: int, whole: bool) -> Line:
    kind = entry["type"]
    names = "".join(f" {clean(str(entry[field]))}" for field in _NAMED if entry.get(field))
    head = f"{entry['seq']:>{digits}}  {_moment(settings, entry['at'], zero):>8}  "
    values = "  ".join(
        f"{field}={_moment(settings, value, zero)}" if field == "due_at" else _value(field, value)
        for field, value in entry.items()
        if _worth(field, value)
    )
    room = max(settings.width - len(head) - 19 - width(names) - 2, 10)
    pieces: Line = [(head, "dim"), (f"{kind:<19}", _EVENT_STYLES.get(kind, "")), (names, "")]
    return [*pieces, (f"{'  ' if names else ' '}{values if whole else clip(values, room)}", "dim")]


def _worth(field: str, value: Any) -> bool:
    if field == "attempt":
        return bool(value != 1)
    if field in ("forced", "assignees", "request_id", "spoken"):
        return bool(value)
    return field not in _SILENT and field not in _NAMED and value is not None


def _value(field: str, value: Any) -> str:
    if field == "failure":
        return clean(f"{value['type'].rpartition('.')[2]}: {value['message']}")
    if field == "terms":
        value = {term: given for term, given in value.items() if given not in ("", None, False)}
    return f"{field}={compact(value)}"


def _moment(settings: Settings, at: str, zero: datetime | None) -> str:
    moment = datetime.fromisoformat(at)
    if settings.time or zero is None:
        return shown(moment, moment, settings.time or "iso", settings.utc)
    return "+" + took(max((moment - zero).total_seconds(), 0))


def log_records(run: RunDescription) -> list[dict[str, Any]]:
    """Everything the attempts logged, in order of time, as JSON."""
    records = [
        {
            "at": record.at.isoformat().replace("+00:00", "Z"),
            "level": record.level,
            "step": step.name,
            "step_id": step.id,
            "attempt": attempt.number,
            "logger": record.logger,
            "text": record.text,
        }
        for step in run.steps
        for attempt in step.attempts
        for record in attempt.logs
    ]
    return sorted(records, key=lambda record: str(record["at"]))


def log_lines(settings: Settings, run: RunDescription) -> list[Line]:
    """Everything the attempts logged, one line per record and more for those that have more."""
    lines: list[Line] = []
    for record in log_records(run):
        lines += _log_line(settings, record, run.started_at)
    dropped = sum(attempt.logs_dropped for step in run.steps for attempt in step.attempts)
    if dropped:
        lines.append([(f"{dropped:,} more records were not kept: the bound of an attempt is reached", "dim")])
    if not lines:
        lines.append([("nothing was logged in the attempts that are kept", "dim")])
    return lines


def _log_line(settings: Settings, record: dict[str, Any], zero: datetime | None) -> list[Line]:
    first, *more = str(record["text"]).splitlines() or [""]
    level = str(record["level"])
    head = f"{_moment(settings, str(record['at']), zero):>8}  "
    where = f"  {clean(str(record['step']))}" + (f" ×{record['attempt']}" if record["attempt"] != 1 else "")
    lines: list[Line] = [
        [(head, "dim"), (f"{level:<8}", _LEVEL_STYLES.get(level, "")), (where, "bold"), (f"  {clean(first)}", "")]
    ]
    lines += [[(" " * (len(head) + 10 + width(where)) + clean(text), "")] for text in more]
    return lines
