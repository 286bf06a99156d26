"""An exported run without its values: what may leave the house, to be looked at by somebody else.

What goes: arguments and results, side effects, what was written to streams, the messages of exceptions, log texts, reasons that people gave, and the
names of machines. What stays: ids, names of workflows, steps and exceptions, times, numbers of attempts, and the places in
tracebacks. Without its values a run cannot be replayed: the workflow would go other ways.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from perdure.client.export import ExportedMail, ExportedRun, Wired
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.attributes import Attribute, Kind
from perdure.kernel.project import AttemptRow, RunRow
from perdure.stores.base import MemberRow

GONE = "(redacted)"

_PLACE = re.compile(r'^\s+File "[^"]*", line \d+.*$', re.MULTILINE)


def redacted(run: ExportedRun) -> ExportedRun:
    """The same run, without its values."""
    if run.redacted:
        return run
    return msgspec.structs.replace(
        run,
        redacted=True,
        run=_row(run.run),
        events=[Wired(wire.encode(without_values(each))) for each in wire.decode_history(run.stored().history)],
        attempts=[_attempt(row) for row in run.attempts],
        mail=[ExportedMail(wire.encode(without_values(wire.decode_mail(each.wire)))) for each in run.mail],
        blobs=[],
        chunks=(),
        members=[MemberRow(row.id, GONE, 0, row.build, row.started_at) for row in run.members],
    )


def _row(row: RunRow) -> RunRow:
    """The summary. Its note may quote a result, an exception or a reason."""
    block = None if row.block is None else wire.encode(_block(wire.decode_block(row.block)))
    return msgspec.structs.replace(row, note="", block=block)


def _block(block: ev.Block) -> ev.Block:
    """A divergence names steps only; everything else may quote an exception, and with it a value."""
    message = block.message if block.kind == "divergence" else GONE
    return msgspec.structs.replace(without_values(block), message=message)


def _attempt(row: AttemptRow) -> AttemptRow:
    if row.detail is None:
        return row
    return msgspec.structs.replace(row, detail=wire.encode(without_values(wire.decode_detail(row.detail))))


def without_values(value: Any) -> Any:
    """The value with everything in it replaced that is the user's."""
    replace = _REPLACED.get(type(value))
    if replace is not None:
        return replace(value)
    if isinstance(value, msgspec.Struct):
        changed = {field: without_values(getattr(value, field)) for field in value.__struct_fields__}
        return msgspec.structs.replace(value, **changed)
    if isinstance(value, list | tuple):
        return type(value)(without_values(each) for each in value)
    if isinstance(value, dict):
        return {key: without_values(each) for key, each in value.items()}
    return value


def _payload(payload: ev.Payload) -> ev.Payload:
    size = "a large value" if payload.ref else f"{len(payload.data):,} bytes"
    return ev.Payload(f'"{GONE[:-1]}: {size})"'.encode())


def _attribute(attribute: Attribute) -> Attribute:
    return attribute if attribute.kind == Kind.GONE else Attribute(attribute.name, Kind.TEXT, (GONE,))


def _failure(failure: ev.Failure) -> ev.Failure:
    return msgspec.structs.replace(
        failure,
        message=GONE if failure.message else "",
        traceback="\n".join(_PLACE.findall(failure.traceback)),
        cause=None if failure.cause is None else _failure(failure.cause),
        leaves=tuple(_failure(leaf) for leaf in failure.leaves),
    )


def _log(record: ev.LogRecord) -> ev.LogRecord:
    return msgspec.structs.replace(record, text=GONE)


def _reason(value: Any) -> Any:
    return msgspec.structs.replace(value, reason=GONE if value.reason else "")


def _end_of_child(value: Any) -> Any:
    result = None if getattr(value, "result", None) is None else {"result": _payload(value.result)}
    failure = None if value.failure is None else _failure(value.failure)
    return msgspec.structs.replace(_reason(value), failure=failure, **(result or {}))


def _of_people(event: Any) -> Any:
    """Who was asked, what for, and who has done it."""
    names = ("title", "by")
    changed: dict[str, Any] = {name: GONE for name in names if hasattr(event, name)}
    if hasattr(event, "assignees"):
        changed["assignees"] = tuple(GONE for _ in event.assignees)
    for name in ("data", "result"):
        payload = getattr(event, name, None)
        if payload is not None:
            changed[name] = _payload(payload)
    return msgspec.structs.replace(event, **changed)


_REPLACED: dict[type, Callable[[Any], Any]] = {
    ev.Payload: _payload,
    Attribute: _attribute,
    ev.Failure: _failure,
    ev.LogRecord: _log,
    **dict.fromkeys((ev.CancelRequested, ev.RunCancelled, ev.RunTerminated, msg.Cancel, msg.Terminate), _reason),
    **dict.fromkeys((ev.ChildCancelRequested, ev.ExternalCancelRequested), _reason),
    **dict.fromkeys((ev.ChildFailed, msg.ChildEnded), _end_of_child),
    **dict.fromkeys((ev.TaskOpened, ev.TaskClaimed, ev.TaskReleased, ev.TaskCompleted), _of_people),
    **dict.fromkeys((msg.ClaimTask, msg.ReleaseTask, msg.CompleteTask), _of_people),
}
