"""Exceptions as data, and data as exceptions: what is written when code fails, and what is raised where it is read.

Never a pickle. What crosses a process is the class's name, the message, the formatted traceback and the chain of causes.
"""

import traceback
from collections.abc import Iterator

from perdure.durations import duration_ns
from perdure.errors import (
    ActivityFailed,
    ActivityTimedOut,
    ChildCancelled,
    ChildFailed,
    ChildrenTooDeep,
    ChildTerminated,
    ChildTimedOut,
    CircularChild,
    InvalidArguments,
    NonRetryable,
    OutcomeUnknown,
    PerdureError,
    RemoteError,
    RetryAfter,
    RunClosed,
    RunExists,
    RunNotFound,
    UnknownMessage,
    is_bug,
)
from perdure.kernel.events import Failure
from perdure.kernel.limits import END_OF_TIME, FAILURE_CAUSES, FAILURE_LEAVES, FAILURE_MESSAGE_CHARS, TRACEBACK_CHARS

_OURS = __file__.rpartition("failures.py")[0]
_CUT = "\n... {} characters ...\n"


def failure_of(error: BaseException) -> Failure:
    """The exception as data, with its causes; texts are cut at their limits. Never raises."""
    try:
        return _failure(error, FAILURE_CAUSES)
    except Exception as broken:  # noqa: BLE001  whoever asks has to go on, whatever the user's classes are like
        return Failure(type_name(type(error)), f"(what it says cannot be told: {type_name(type(broken))})")


_LIMITS = {
    "timeout": "start-to-close",
    "heartbeat": "heartbeat",
    "schedule-to-start": "schedule-to-start",
    "schedule-to-close": "schedule-to-close",
}


def activity_error(name: str, attempts: int, failure: Failure, reason: str, details: object = None) -> ActivityFailed:
    """What a workflow sees where it awaits an activity that has failed for good; `reason` as in `ev.ActivityFailed`."""
    if reason in _LIMITS:
        error: ActivityFailed = ActivityTimedOut(name, attempts, failure.type, failure.message)
        error.kind, error.heartbeat_details = _LIMITS[reason], details  # type: ignore[attr-defined]
    else:
        kind = OutcomeUnknown if reason == "unknown" else ActivityFailed
        error = kind(name, attempts, failure.type, failure.message)
        if reason == "no-time":
            error.add_note("The next attempt would have begun after the end of schedule_to_close.")
    error.__cause__ = remote_error(failure)
    return error


def child_error(name: str, id: str, how: str, reason: str, failure: Failure | None) -> ChildFailed:
    """What a workflow sees where it awaits a child that has ended without a result; `how` as in `ev.ChildFailed`."""
    kind = _CHILD_ENDS.get(how, ChildFailed)
    if failure is None:
        return kind(name, id, how, reason)
    error = kind(name, id, how, failure.message, failure.type)
    error.__cause__ = remote_error(failure)
    return error


_CHILD_ENDS: dict[str, type[ChildFailed]] = {
    "cancelled": ChildCancelled,
    "terminated": ChildTerminated,
    "timed out": ChildTimedOut,
}


def refused(code: str, message: str) -> PerdureError:
    """The error of a code, of those that tell why something was not taken."""
    kinds: tuple[type[PerdureError], ...] = (RunExists, CircularChild, ChildrenTooDeep, RunNotFound, RunClosed)
    kinds += (UnknownMessage, InvalidArguments)
    return next((kind for kind in kinds if kind.code == code), PerdureError)(message)


def remote_error(failure: Failure) -> RemoteError:
    """A failure as an exception, with its causes; Python prints the traceback it had where it was raised."""
    error = RemoteError(failure.type, failure.message, failure.traceback)
    if failure.traceback:
        error.add_note(f"Raised elsewhere:\n{failure.traceback.rstrip()}")
    for leaf in failure.leaves:
        error.add_note(f"One of the group: {leaf.type.rpartition('.')[2]}: {leaf.message}")
    if failure.cause is not None:
        error.__cause__ = remote_error(failure.cause)
    return error


def type_name(kind: type[BaseException]) -> str:
    """`module.qualname`, and without the module for builtins. A script is called `__main__` in child processes, too."""
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _failure(error: BaseException, depth: int) -> Failure:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if getattr(cause, "is_signal", False):
        cause = None  # one of the engine's own, which means nothing to a reader
    if isinstance(error, RemoteError):
        type, message, trace = error.type, error.message, error.remote_traceback
    else:
        type, message, trace = type_name(error.__class__), text_of(error), _traceback(error)
    retry_after_ns, bad_delay = _retry_after(error)
    return Failure(
        type=type,
        message=_cut(bad_delay or message, FAILURE_MESSAGE_CHARS),
        traceback=_cut(trace, TRACEBACK_CHARS),
        cause=None if cause is None or depth <= 1 or cause is error else _failure(cause, depth - 1),
        non_retryable=isinstance(error, NonRetryable),
        is_bug=is_bug(error) or bad_delay is not None,
        retry_after_ns=retry_after_ns,
        code=_code(error),
        leaves=tuple(_failure(leaf, 3) for leaf in _leaves(error)) if depth > 1 else (),
    )


def _code(error: BaseException) -> str:
    """That of our class: what a class derived from it calls `code` may be anything, a number of a card's issuer, say."""
    ours = (kind for kind in type(error).__mro__ if kind.__module__ == PerdureError.__module__)
    return next((kind.code for kind in ours if issubclass(kind, PerdureError)), "")


def _retry_after(error: BaseException) -> tuple[int | None, str | None]:
    """The delay that was asked for; or why it is none, which is a bug of whoever asked."""
    if not isinstance(error, RetryAfter):
        return None, None
    try:
        return min(duration_ns(error.delay), END_OF_TIME), None
    except PerdureError as wrong:
        return None, f"RetryAfter: {wrong}"


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return []
    return [leaf for leaf, _ in zip(_flat(error), range(FAILURE_LEAVES), strict=False)]


def _flat(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _flat(inner)
        else:
            yield inner


def text_of(error: BaseException) -> str:
    """What it says."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001  the user's __str__ may raise anything
        return f"(its text cannot be made: {type_name(broken.__class__)})"


def _traceback(error: BaseException) -> str:
    """Formatted, without the frames of the engine unless there are no others."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    stack = "".join(traceback.StackSummary.from_list(theirs or frames).format())
    try:
        last = "".join(traceback.format_exception_only(error))
    except Exception:  # noqa: BLE001  the same: its text may be anything
        last = f"{type_name(error.__class__)}\n"
    return f"Traceback (most recent call last):\n{stack}{last}" if stack else last


def _cut(text: str, limit: int) -> str:
    """The text if it is short enough, else its beginning and its end. Lone surrogates, which no file takes, are shown."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit:
        return text
    mark = _CUT.format(f"{len(text) - limit:,}")
    tail = (limit - len(mark)) // 2
    return text[: limit - len(mark) - tail] + mark + text[-tail:]
