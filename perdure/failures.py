"""Exceptions as data, and data as exceptions: what is written when code fails, and what is raised where it is read.

Never a pickle. What crosses a process is the class's name, the message, the formatted traceback and the chain of causes.
"""

import traceback
from collections.abc import Iterator
from itertools import islice

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
    is_group,
    parts_of,
)
from perdure.kernel.events import Failure
from perdure.kernel.limits import END_OF_TIME, FAILURE_CAUSES, FAILURE_LEAVES, FAILURE_MESSAGE_CHARS, TRACEBACK_CHARS

_OURS = __file__.rpartition("failures.py")[0]
_CUT = "\n... {} characters ...\n"
FRAMES = 1_000
"""Of a traceback, from its beginning; it is cut to its limit afterwards."""


def failure_of(error: BaseException) -> Failure:
    """The exception as data, with its causes; texts are cut at their limits. Never raises: whoever asks has to go on, whatever
    the user's classes are like."""
    try:
        return _failure(error, FAILURE_CAUSES, set())
    except BaseException as broken:  # noqa: BLE001  SystemExit, say, which would end the thread that asks
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
    # Not `kind.__module__`: a metaclass may make anything of that.
    name = type.__dict__["__qualname__"].__get__(kind)
    module = type.__dict__["__module__"].__get__(kind)
    if module == "__mp_main__":
        module = "__main__"
    return _legible(name if module == "builtins" or not isinstance(module, str) else f"{module}.{name}")


def _failure(error: BaseException, depth: int, told: set[int]) -> Failure:
    """`told` are those that are part of it already: any may be the cause of any, and of many."""
    kind = type(error)  # not what it says its class is
    told.add(id(error))
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if getattr(cause, "is_signal", False):
        cause = None  # one of the engine's own, which means nothing to a reader
    if issubclass(kind, RemoteError):
        type_, message, trace = error.type, error.message, error.remote_traceback  # type: ignore[attr-defined]
    else:
        type_, message, trace = type_name(kind), text_of(error), _traceback(error)
    retry_after_ns, bad_delay = _retry_after(error)
    return Failure(
        type=type_,
        message=_cut(bad_delay or message, FAILURE_MESSAGE_CHARS),
        traceback=_cut(trace, TRACEBACK_CHARS),
        cause=None if cause is None or depth <= 1 or _is_told(cause, told) else _failure(cause, depth - 1, told),
        non_retryable=issubclass(kind, NonRetryable),
        is_bug=is_bug(error) or bad_delay is not None,
        retry_after_ns=retry_after_ns,
        code=_code(error),
        leaves=tuple(_failure(leaf, 3, told) for leaf in _leaves(error) if not _is_told(leaf, told))
        if depth > 1
        else (),
    )


def _is_told(error: BaseException, told: set[int]) -> bool:
    return id(error) in told or len(told) >= FAILURE_CAUSES + 3 * FAILURE_LEAVES


def _code(error: BaseException) -> str:
    """That of our class: what a class derived from it calls `code` may be anything, a number of a card's issuer, say."""
    if not issubclass(type(error), PerdureError):
        return ""
    ours = (kind for kind in type(error).__mro__ if kind.__module__ == PerdureError.__module__)
    return next((kind.code for kind in ours if issubclass(kind, PerdureError)), "")


def _retry_after(error: BaseException) -> tuple[int | None, str | None]:
    """The delay that was asked for; or why it is none, which is a bug of whoever asked."""
    if not issubclass(type(error), RetryAfter):
        return None, None
    assert isinstance(error, RetryAfter)
    try:
        return min(duration_ns(error.delay), END_OF_TIME), None
    except PerdureError as wrong:
        return None, f"RetryAfter: {wrong}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The first ones, if it is a group."""
    if not is_group(error):
        return iter(())
    return islice((part for part in parts_of(error) if not is_group(part)), FAILURE_LEAVES)


def text_of(error: BaseException) -> str:
    """What it says; never raises."""
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001  the user's __str__ may raise anything
        return f"(its text cannot be made: {type_name(type(broken))})"


def _traceback(error: BaseException) -> str:
    """Formatted, without the frames of the engine unless there are no others."""
    frames = traceback.extract_tb(error.__traceback__, FRAMES)
    theirs = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    stack = "".join(traceback.StackSummary.from_list(theirs or frames).format())
    return f"Traceback (most recent call last):\n{stack}{_last_lines(error)}" if stack else _last_lines(error)


def _last_lines(error: BaseException) -> str:
    """What a traceback ends with."""
    plain = f"{type_name(type(error))}: {text_of(error)}\n"
    try:
        return "".join(traceback.format_exception_only(error)) if _is_small(error) else plain
    except BaseException:  # noqa: BLE001  the same: its text may be anything
        return plain


def _is_small(error: BaseException | None) -> bool:
    """Whether Python may look at it, which walks through all groups and causes only to say what the outermost one is."""
    chain = 0
    while error is not None and not is_group(error) and chain < FAILURE_CAUSES:
        error, chain = error.__cause__ or error.__context__, chain + 1
    return error is None


def _cut(text: str, limit: int) -> str:
    """The text if it is short enough, else its beginning and its end."""
    text = _shortened(text, limit)
    return text if text.isascii() else _shortened(_legible(text), limit)


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    mark = _CUT.format(f"{len(text) - limit:,}")
    tail = (limit - len(mark)) // 2
    return text[: limit - len(mark) - tail] + mark + text[-tail:]


def _legible(text: str) -> str:
    """Lone surrogates, which no file takes, are shown."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
