"""Durable workflows for Python: write ordinary async code, kill it at will, it goes on where it stood.

A map of the house (docs/architecture.md has the plan):

    author       @workflow, @activity, Retry, saga, sleep, patched   perdure.workflows, perdure.activities
                 start_child, external, continue_as_new
    write        stream, for output while a run goes on              perdure.streams
    run          Engine; Worker, for activities of a queue           perdure.engine, perdure.worker
    ask people   task; TaskNotice, TaskOutcome; engine.tasks         perdure.tasks
    look, steer  Client, Handle                                      perdure.client
    errors       a family, drawn as a tree                           perdure.errors
    inside       kernel (what may happen), languages (ways to write programs), stores (where history sleeps),
                 runtime (what makes it move), cli (the command `perdure`)

Names are resolved when they are first asked for, so that `import perdure` costs next to nothing.
"""

from importlib import import_module as _import
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from perdure import errors
    from perdure.activities import ActivityInfo, activity
    from perdure.attributes import Between
    from perdure.calls import Call
    from perdure.client.client import Client
    from perdure.client.description import RunDescription
    from perdure.client.handle import Handle
    from perdure.client.streams import StreamChunk
    from perdure.client.summary import RunSummary
    from perdure.engine import Engine
    from perdure.errors import (
        ActivityFailed,
        ActivityTimedOut,
        ChildFailed,
        DefinitionError,
        DeterminismWarning,
        EngineNotRunning,
        InvalidArguments,
        NonRetryable,
        NotDeterministic,
        OutcomeUnknown,
        PayloadError,
        PerdureError,
        RemoteError,
        RetryAfter,
        RunBlocked,
        RunCancelled,
        RunClosed,
        RunDidNotComplete,
        RunExists,
        RunFailed,
        RunNotFound,
        RunTerminated,
        RunTimedOut,
        StoreError,
        StreamClosed,
        StreamFull,
        TokenRefused,
        UnknownActivity,
        UnknownWorkflow,
        WaitedTooLong,
    )
    from perdure.options import Retry
    from perdure.payload import PayloadCodec
    from perdure.streams import stream
    from perdure.tasks import task
    from perdure.worker import Worker
    from perdure.workflows import (
        ChildHandle,
        WorkflowInfo,
        channel,
        continue_as_new,
        deprecate_patch,
        external,
        patched,
        publish,
        saga,
        sleep,
        start_child,
        wait_until,
        workflow,
    )

_PLACES = {
    "perdure.attributes": ("Between",),
    "perdure.activities": ("ActivityInfo", "activity"),
    "perdure.calls": ("Call",),
    "perdure.client.client": ("Client",),
    "perdure.client.description": ("RunDescription",),
    "perdure.client.handle": ("Handle",),
    "perdure.client.streams": ("StreamChunk",),
    "perdure.client.summary": ("RunSummary",),
    "perdure.engine": ("Engine",),
    "perdure.errors": (
        "ActivityFailed",
        "ActivityTimedOut",
        "ChildFailed",
        "DefinitionError",
        "DeterminismWarning",
        "EngineNotRunning",
        "InvalidArguments",
        "NonRetryable",
        "NotDeterministic",
        "OutcomeUnknown",
        "PayloadError",
        "PerdureError",
        "RemoteError",
        "RetryAfter",
        "RunBlocked",
        "RunCancelled",
        "RunClosed",
        "RunDidNotComplete",
        "RunExists",
        "RunFailed",
        "RunNotFound",
        "RunTerminated",
        "RunTimedOut",
        "StoreError",
        "StreamClosed",
        "StreamFull",
        "TokenRefused",
        "UnknownActivity",
        "UnknownWorkflow",
        "WaitedTooLong",
    ),
    "perdure.options": ("Retry",),
    "perdure.payload": ("PayloadCodec",),
    "perdure.streams": ("stream",),
    "perdure.tasks": ("task",),
    "perdure.worker": ("Worker",),
    "perdure.workflows": (
        "ChildHandle",
        "WorkflowInfo",
        "channel",
        "continue_as_new",
        "deprecate_patch",
        "external",
        "patched",
        "publish",
        "saga",
        "sleep",
        "start_child",
        "wait_until",
        "workflow",
    ),
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "ActivityFailed",
    "ActivityInfo",
    "ActivityTimedOut",
    "Between",
    "Call",
    "ChildFailed",
    "ChildHandle",
    "Client",
    "DefinitionError",
    "DeterminismWarning",
    "Engine",
    "EngineNotRunning",
    "Handle",
    "InvalidArguments",
    "NonRetryable",
    "NotDeterministic",
    "OutcomeUnknown",
    "PayloadCodec",
    "PayloadError",
    "PerdureError",
    "RemoteError",
    "Retry",
    "RetryAfter",
    "RunBlocked",
    "RunCancelled",
    "RunClosed",
    "RunDescription",
    "RunDidNotComplete",
    "RunExists",
    "RunFailed",
    "RunNotFound",
    "RunSummary",
    "RunTerminated",
    "RunTimedOut",
    "StoreError",
    "StreamChunk",
    "StreamClosed",
    "StreamFull",
    "TokenRefused",
    "UnknownActivity",
    "UnknownWorkflow",
    "WaitedTooLong",
    "Worker",
    "WorkflowInfo",
    "__version__",
    "activity",
    "channel",
    "continue_as_new",
    "deprecate_patch",
    "errors",
    "external",
    "patched",
    "publish",
    "saga",
    "sleep",
    "start_child",
    "stream",
    "task",
    "wait_until",
    "workflow",
]


def __getattr__(name: str) -> object:
    if name == "errors":
        return _import("perdure.errors")
    if name not in _PLACE:
        raise AttributeError(f"module 'perdure' has no attribute {name!r}")
    value = globals()[name] = getattr(_import(_PLACE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
