"""What a program wants. Each has the id (the path) of the step it is about; ids are unique within a run."""

from typing import Any, TypeAlias

import msgspec

from perdure.kernel.attributes import Attribute
from perdure.kernel.events import Terms
from perdure.kernel.family import ChildTerms, Left
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.terms import RunTerms
from perdure.kernel.values import Failure, Payload


class ScheduleActivity(msgspec.Struct, frozen=True, gc=False):
    """`timeout_ns` is start-to-close; None is no limit. `retry` None is the default policy, `terms` the usual ones."""

    id: str
    name: str
    input: Payload
    timeout_ns: int | None = None
    retry: RetryPolicy | None = None
    terms: Terms | None = None


class CancelActivity(msgspec.Struct, frozen=True, gc=False):
    id: str


class StartTimer(msgspec.Struct, frozen=True, gc=False):
    """The duration counts from the moment the command is recorded."""

    id: str
    duration_ns: int


class CancelTimer(msgspec.Struct, frozen=True, gc=False):
    id: str


class RecordSideEffect(msgspec.Struct, frozen=True, gc=False):
    id: str
    value: Payload


class MarkPatch(msgspec.Struct, frozen=True, gc=False):
    id: str
    patch: str
    deprecated: bool = False


class SetAttributes(msgspec.Struct, frozen=True, gc=False):
    id: str
    attributes: tuple[Attribute, ...]


class SetMemo(msgspec.Struct, frozen=True, gc=False):
    id: str
    memo: Payload


class StartChild(msgspec.Struct, frozen=True, gc=False):
    """`child_id` is the child's id, `run_id` its number. `aliases` are names that the workflow had before."""

    id: str
    workflow: str
    input: Payload
    child_id: str
    run_id: bytes
    terms: ChildTerms | None = None
    memo: Payload | None = None
    aliases: tuple[str, ...] = ()


class CancelChild(msgspec.Struct, frozen=True, gc=False):
    id: str
    reason: str = ""


class CancelExternal(msgspec.Struct, frozen=True, gc=False):
    """`target` is the id of a run, `run_id` its number, or empty for the newest of the id."""

    id: str
    target: str
    run_id: bytes = b""
    reason: str = ""


class WriteStream(msgspec.Struct, frozen=True):
    """`chunks` may grow until the command is given: a task's writes of one turn, one after the other, are one command."""

    id: str
    stream: str
    chunks: list[Payload]
    closes: bool = False


class CompleteUpdate(msgspec.Struct, frozen=True, gc=False):
    id: str
    result: Payload


class FailUpdate(msgspec.Struct, frozen=True):
    id: str
    failure: Failure


class Publish(msgspec.Struct, frozen=True, gc=False):
    id: str
    name: str
    value: Payload


class OpenTask(msgspec.Struct, frozen=True):
    """Ask people. Durations count from the moment the command is recorded; the rest as in `TaskOpened`."""

    id: str
    title: str
    form: dict[str, Any]
    data: Payload | None = None
    assignees: tuple[str, ...] = ()
    due_ns: int | None = None
    remind_ns: int | None = None
    timeout_ns: int | None = None


class WithdrawTask(msgspec.Struct, frozen=True, gc=False):
    id: str


class SignalExternal(msgspec.Struct, frozen=True, gc=False):
    """The same of a signal, `name` with the arguments `input`."""

    id: str
    target: str
    name: str
    input: Payload
    run_id: bytes = b""


class CompleteRun(msgspec.Struct, frozen=True, gc=False):
    result: Payload


class FailRun(msgspec.Struct, frozen=True):
    failure: Failure


class EndCancelled(msgspec.Struct, frozen=True, gc=False):
    reason: str = ""


class ContinueAsNew(msgspec.Struct, frozen=True, gc=False):
    """The fields are those of `ev.RunContinuedAsNew`."""

    workflow: str
    input: Payload
    terms: RunTerms | None = None
    chosen: tuple[str, ...] = ()
    memo: Payload | None = None
    left: tuple[Left, ...] = ()


Command: TypeAlias = (
    ScheduleActivity
    | CancelActivity
    | StartTimer
    | CancelTimer
    | RecordSideEffect
    | MarkPatch
    | SetAttributes
    | SetMemo
    | StartChild
    | CancelChild
    | CancelExternal
    | SignalExternal
    | WriteStream
    | CompleteUpdate
    | FailUpdate
    | Publish
    | OpenTask
    | WithdrawTask
    | CompleteRun
    | FailRun
    | EndCancelled
    | ContinueAsNew
)
