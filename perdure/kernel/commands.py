"""What a program wants. Each has the id (the path) of the step it is about; ids are unique within a run."""

from typing import TypeAlias

import msgspec

from perdure.kernel.attributes import Attribute
from perdure.kernel.events import Failure, Payload, Terms
from perdure.kernel.policy import RetryPolicy


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


class CompleteRun(msgspec.Struct, frozen=True, gc=False):
    result: Payload


class FailRun(msgspec.Struct, frozen=True):
    failure: Failure


class EndCancelled(msgspec.Struct, frozen=True, gc=False):
    reason: str = ""


Command: TypeAlias = (
    ScheduleActivity
    | CancelActivity
    | StartTimer
    | CancelTimer
    | RecordSideEffect
    | MarkPatch
    | SetAttributes
    | SetMemo
    | CompleteRun
    | FailRun
    | EndCancelled
)
