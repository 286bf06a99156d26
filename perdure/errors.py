"""The whole family of errors. Each has a stable `code`, and a message that says what was expected, what was found
and what to do next.

    PerdureError
    ├── DefinitionError              a workflow, activity, option or engine that is put together wrongly
    ├── UnknownName                  no workflow, activity, message or run of that name here
    │   ├── UnknownWorkflow
    │   ├── UnknownActivity
    │   ├── UnknownMessage           the workflow hears no signal, query or update of that name
    │   └── RunNotFound
    ├── InvalidArguments             arguments that do not fit the signature (also a TypeError)
    ├── PayloadError                 a value that cannot become bytes, or bytes that cannot become a value
    │   ├── PayloadTooLarge
    │   ├── PayloadNotEncodable
    │   └── PayloadNotDecodable
    ├── RunExists                    the id belongs to a run that the start does not attach to
    │   └── CircularChild            a child was to have the id of a run that it descends from
    ├── ChildrenTooDeep              a child would have too many ancestors
    ├── ConnectionUnfit              what was to happen in the caller's transaction cannot, on that connection
    ├── RunClosed                    the run has ended and can take no more messages
    ├── QueryFailed                  what a query's method has raised (its cause is the failure)
    ├── UpdateRejected               the validator has rejected the update, which left no trace (its cause says why)
    ├── UpdateFailed                 what an update's method has raised (its cause is the failure)
    ├── RunPinned                    the run goes on only with the build that it is pinned to
    ├── RunDidNotComplete            what `result()` raises for a run without a result
    │   ├── RunFailed                (its cause is the failure)
    │   ├── RunCancelled
    │   ├── RunTerminated
    │   ├── RunTimedOut              it took longer than it may
    │   └── RunBlocked               waits for mended code or an operator; not an end
    ├── ActivityFailed               raised where a workflow awaits an activity (its cause is the failure)
    │   ├── ActivityTimedOut
    │   └── OutcomeUnknown           it may be attempted once, and whether it took effect is not known
    ├── ChildFailed                  raised where a workflow awaits a child without a result (its cause is the failure)
    │   ├── ChildCancelled
    │   ├── ChildTerminated
    │   └── ChildTimedOut
    ├── TokenRefused                 a token of an attempt that is none, or has been used
    ├── TaskError                    what cannot be done with a human task
    │   ├── TaskNotFound
    │   ├── TaskClosed               it was completed, or nobody waits for it any more
    │   ├── TaskClaimed              somebody else has it
    │   ├── TaskNotAssigned          it is for others
    │   └── AnswerMisfit             the answer does not fit its form
    ├── TaskExpired                  raised where a workflow awaits a human task whose timeout ran out (also a TimeoutError)
    ├── RemoteError                  an exception that was data in between: type, message, traceback, cause
    ├── StreamError                  a stream that cannot be written: final for the attempt that tries it
    │   ├── StreamClosed
    │   └── StreamFull               as much as a stream may hold, or as many as a run may have
    ├── NonRetryable                 raise it in an activity: no further attempt
    ├── RetryAfter                   raise it in an activity: the next attempt not before so long
    ├── AttemptLost                  the process that ran an attempt is gone
    ├── ActivityCrashed              an activity with runs_in="process" has taken its own process down
    ├── ProcessNotStarted            no process could be started for it
    ├── NotDeterministic             a call that workflow code must not make (bug)
    ├── StoreError                   the database refuses
    │   ├── StoreUnreachable
    │   │   └── StoreNotFound
    │   ├── StoreCorrupt
    │   ├── StoreReadOnly
    │   ├── StoreFull
    │   ├── SchemaTooNew
    │   └── SchemaTooOld
    ├── ExportUnreadable             what should be an exported run is none, or is damaged
    ├── ReplayFailed                 the code at hand does not do what recorded histories have
    ├── CrashTestFailed              a workflow does not bear that its engine dies (also an AssertionError)
    ├── EngineNotRunning             closed, not yet entered, stopped by a fault, or no engine owns the database
    └── WaitedTooLong                a `timeout` of the caller's own ran out (also a TimeoutError)
"""

from collections.abc import Iterator
from typing import Any, ClassVar


class PerdureError(Exception):
    """Base of all errors Perdure raises."""

    code: ClassVar[str] = "perdure"


class DefinitionError(PerdureError):
    code = "definition"


class UnknownName(PerdureError):
    code = "unknown-name"


class UnknownWorkflow(UnknownName):
    code = "unknown-workflow"


class UnknownActivity(UnknownName):
    code = "unknown-activity"


class UnknownMessage(UnknownName):
    code = "unknown-message"


class RunNotFound(UnknownName):
    code = "run-not-found"


class InvalidArguments(PerdureError, TypeError):
    code = "invalid-arguments"


class PayloadError(PerdureError):
    code = "payload"


class PayloadTooLarge(PayloadError):
    code = "payload-too-large"


class PayloadNotEncodable(PayloadError, TypeError):
    code = "payload-not-encodable"


class PayloadNotDecodable(PayloadError):
    """`hint` is what to do, if it is not the type that has to be mended."""

    hint: str = ""
    code = "payload-not-decodable"


class RunExists(PerdureError):
    code = "run-exists"


class CircularChild(RunExists):
    code = "circular-child"


class ChildrenTooDeep(PerdureError):
    code = "children-too-deep"


class ConnectionUnfit(PerdureError):
    code = "connection-unfit"


class RunClosed(PerdureError):
    code = "run-closed"


class QueryFailed(PerdureError):
    code = "query-failed"


class UpdateRejected(PerdureError):
    code = "update-rejected"


class UpdateFailed(PerdureError):
    code = "update-failed"


class RunPinned(PerdureError):
    code = "run-pinned"


class RunDidNotComplete(PerdureError):
    """`id` is the run's; the cause, if any, is what ended it."""

    code = "run-did-not-complete"

    def __init__(self, message: str, id: str = "") -> None:
        super().__init__(message)
        self.id = id


class RunFailed(RunDidNotComplete):
    code = "run-failed"


class RunCancelled(RunDidNotComplete):
    code = "run-cancelled"


class RunTerminated(RunDidNotComplete):
    code = "run-terminated"


class RunTimedOut(RunDidNotComplete):
    code = "run-timed-out"


class RunBlocked(RunDidNotComplete):
    code = "run-blocked"


class RemoteError(PerdureError):
    """An exception that crossed a process or the store as data.

    `type` is its class name, `remote_traceback` the formatted traceback where it was raised; `__cause__` goes on.
    """

    code = "remote"

    def __init__(self, type: str, message: str, remote_traceback: str = "") -> None:
        super().__init__(f"{type.rpartition('.')[2]}: {message}" if message else type.rpartition(".")[2])
        self.type = type
        self.message = message
        self.remote_traceback = remote_traceback


class ActivityFailed(PerdureError):
    """An activity has failed for good. `type` and `message` are those of the exception its last attempt raised.

    `activity` is its name, `attempts` how many were made; `__cause__` is the RemoteError with the traceback.
    """

    code = "activity-failed"

    def __init__(self, activity: str, attempts: int, type: str, message: str) -> None:
        name = type.rpartition(".")[2]
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        super().__init__(f"activity {activity} failed after {tries}: {name}: {message}")
        self.activity = activity
        self.attempts = attempts
        self.type = type
        self.message = message

    def is_a(self, exception: type[BaseException]) -> bool:
        """Whether the activity raised exactly this class (compared by name: the exception itself was data).

        The module of a script is `__main__` in one process and has its own name in the next: it stands for any.
        """
        return _is_named(self.type, exception)


def _is_named(type: str, exception: "type[BaseException]") -> bool:
    module, name = exception.__module__, exception.__qualname__
    if type in (f"{module}.{name}", name, f"__main__.{name}"):
        return True
    return module == "__main__" and type.endswith(f".{name}")


class ActivityTimedOut(ActivityFailed):
    """`kind` says which limit: "start-to-close", "heartbeat", "schedule-to-start" or "schedule-to-close".

    `heartbeat_details` are those of the latest heartbeat of any attempt, as what their JSON says; None without one.
    """

    code = "activity-timed-out"
    kind: str = "start-to-close"
    heartbeat_details: object = None


class OutcomeUnknown(ActivityFailed):
    """Nobody knows whether an `at_most_once` activity took effect: its process died, or its time ran out."""

    code = "outcome-unknown"


class ChildFailed(PerdureError):
    """A child has ended without a result. `type` and `message` are those of the exception that it failed with, if it did;
    else `message` is what was given with its end.

    `workflow` is its name, `id` that of its run; `__cause__` is the RemoteError with the traceback.
    """

    code = "child-failed"

    def __init__(self, workflow: str, id: str, how: str, message: str = "", type: str = "") -> None:
        name = f"{type.rpartition('.')[2]}: {message}" if type and message else type.rpartition(".")[2] or message
        super().__init__(f"child {workflow} ({id}) {_HOW.get(how, how)}{f': {name}' if name else ''}")
        self.workflow = workflow
        self.id = id
        self.type = type
        self.message = message

    def is_a(self, exception: "type[BaseException]") -> bool:
        """Whether the child failed with exactly this class, as `ActivityFailed.is_a` says of an activity."""
        return _is_named(self.type, exception)


_HOW = {"cancelled": "was cancelled", "terminated": "was terminated"}


class ChildCancelled(ChildFailed):
    code = "child-cancelled"


class ChildTerminated(ChildFailed):
    code = "child-terminated"


class ChildTimedOut(ChildFailed):
    code = "child-timed-out"


class TokenRefused(PerdureError):
    code = "token-refused"


class TaskError(PerdureError):
    code = "task"


class TaskNotFound(TaskError):
    code = "task-not-found"


class TaskClosed(TaskError):
    code = "task-closed"


class TaskClaimed(TaskError):
    code = "task-claimed"


class TaskNotAssigned(TaskError):
    code = "task-not-assigned"


class AnswerMisfit(TaskError):
    """`wrong` says it field by field, if the published form tells: each has `field`, `expected` and `found`."""

    code = "answer-misfit"
    wrong: "tuple[Any, ...]" = ()


class TaskExpired(PerdureError, TimeoutError):
    code = "task-expired"


class NonRetryable(PerdureError):
    """Raised in an activity: this failure is final, whatever the retry policy says."""

    code = "non-retryable"


class StreamError(PerdureError):
    code = "stream"


class StreamClosed(StreamError, NonRetryable):
    code = "stream-closed"


class StreamFull(StreamError, NonRetryable):
    code = "stream-full"


class RetryAfter(PerdureError):
    """Raised in an activity: try again, but not before `seconds` (or a text like "5m") have passed."""

    code = "retry-after"

    def __init__(self, delay: "float | str", message: str = "") -> None:
        super().__init__(message or f"retry after {delay}")
        self.delay = delay


class AttemptLost(PerdureError):
    code = "attempt-lost"


class ActivityCrashed(PerdureError):
    """What an attempt failed with whose process has died, by a fault in C, a signal, or `os._exit`."""

    code = "activity-crashed"


class ProcessNotStarted(PerdureError):
    code = "process-not-started"


class NotDeterministic(PerdureError):
    code = "not-deterministic"


class StoreError(PerdureError):
    code = "store"


class StoreUnreachable(StoreError):
    code = "store-unreachable"
    _lasts = False
    """Whether it stays so until somebody does something about it: the database answers, and refuses."""
    _away = False
    """Whether it is the server that does not answer, or has no room for one more, which passes by itself."""
    _unsent = False
    """Whether it is certain that nothing was asked of it: there was no connection to begin with."""


class StoreNotFound(StoreUnreachable):
    code = "store-not-found"


class StoreCorrupt(StoreError):
    code = "store-corrupt"


class StoreReadOnly(StoreError):
    code = "store-read-only"


class StoreFull(StoreError):
    code = "store-full"


class SchemaTooNew(StoreError):
    code = "schema-too-new"


class SchemaTooOld(StoreError):
    code = "schema-too-old"


class ExportUnreadable(PerdureError):
    code = "export-unreadable"


class ReplayFailed(PerdureError):
    """`report` says what became of each history."""

    code = "replay-failed"

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class CrashTestFailed(PerdureError, AssertionError):
    """`report` says at which crash points, and what is wrong."""

    code = "crash-test-failed"

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class EngineNotRunning(PerdureError):
    code = "engine-not-running"
    _unowned = False
    """Whether it is only that nobody owns the database now."""


class WaitedTooLong(PerdureError, TimeoutError):
    code = "waited-too-long"


class DeterminismWarning(UserWarning):
    """Workflow code that replay may not be able to repeat: an engine warns of it when it is given its workflows."""


BUGS: tuple[type[BaseException], ...] = (
    NameError,
    TypeError,
    AttributeError,
    ImportError,
    SyntaxError,
    NotImplementedError,
    RecursionError,
    AssertionError,
    NotDeterministic,
    PayloadNotDecodable,
    PayloadNotEncodable,
    PayloadTooLarge,
    UnknownActivity,
    DefinitionError,
)
"""Exceptions that mean "the code is wrong": they block a run and hold an attempt (design, promise 7).

UnboundLocalError is a NameError, IndentationError a SyntaxError, ModuleNotFoundError an ImportError. KeyError,
ValueError and IndexError are not here: data cause them as often as code does.
"""


def is_bug(error: BaseException) -> bool:
    """Whether the exception means that the code is wrong; of a group, whether every leaf does."""
    return all(issubclass(type(part), BUGS) for part in parts_of(error) if not is_group(part))


def is_group(error: BaseException) -> bool:
    return issubclass(type(error), BaseExceptionGroup)  # not isinstance(), which asks the exception what its class is


def parts_of(error: BaseException) -> Iterator[BaseException]:
    """An exception and, of a group, all that is in it, each once: groups may be nested deeper than functions may call each other,
    and one may be in many."""
    waiting, seen = [error], {id(error)}
    while waiting:
        part = waiting.pop()
        yield part
        if is_group(part):
            inner: tuple[BaseException, ...] = BaseExceptionGroup.__dict__["exceptions"].__get__(part)
            new = {id(each): each for each in reversed(inner) if id(each) not in seen}
            seen.update(new)
            waiting += new.values()
