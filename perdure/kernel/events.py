"""What happened to a run.

Each event is a small immutable struct with a stable integer tag (never reused) and `at`, the time it was
decided, in nanoseconds since the epoch. Fields are encoded by position: new ones go to the end, with a default.

    history event        shown to the program?   caused by
    RunStarted           yes                     Start
    ActivityScheduled    no, matched             ScheduleActivity
    ActivityCompleted    yes                     AttemptEnded with a result
    ActivityFailed       yes                     AttemptEnded with a failure the policy does not retry
    ActivityCancelled    no, matched             CancelActivity
    TimerStarted         no, matched             StartTimer
    TimerFired           yes                     Wake
    TimerCancelled       no, matched             CancelTimer
    SideEffectRecorded   no, looked up           RecordSideEffect
    PatchMarked          no, looked up           MarkPatch
    AttributesSet        no, matched             SetAttributes
    MemoSet              no, matched             SetMemo
    ChildScheduled       no, matched             StartChild
    ChildStarted         yes                     ChildAnswered, if the program waits for that
    ChildStartFailed     yes                     ChildAnswered: there is no such child
    ChildCompleted       yes                     ChildEnded with a result
    ChildFailed          yes                     ChildEnded in any other way
    ChildCancelRequested no, matched             CancelChild
    ExternalCancelRequested  no, matched         CancelExternal
    ExternalSignalSent   no, matched             SignalExternal
    ExternalAnswered     yes                     ExternalReplied
    StreamWritten        no, matched             WriteStream
    RunMoved             no                      Move
    TaskOpened           no, matched             OpenTask
    TaskClaimed          no                      ClaimTask
    TaskReleased         no                      ReleaseTask
    TaskCompleted        yes                     CompleteTask
    TaskReminded         yes                     Wake
    TaskExpired          yes                     Wake
    TaskWithdrawn        no, matched             WithdrawTask
    CancelRequested      yes                     Cancel
    SignalReceived       yes                     Signal
    UpdateAccepted       yes                     Update
    UpdateCompleted      no, matched             CompleteUpdate
    UpdateFailed         no, matched             FailUpdate
    Published            no, matched             Publish
    RunCompleted         no, matched             CompleteRun
    RunFailed            no, matched             FailRun
    RunCancelled         no, matched             EndCancelled
    RunContinuedAsNew    no, matched             ContinueAsNew
    RunTerminated        no                      Terminate
    RunTimedOut          no                      Wake

    status event         projected into          caused by
    AttemptStarted       attempts                a slot granted later than the schedule, a task with a time limit taken
    AttemptSucceeded     attempts                AttemptEnded that has logs or an earlier row
    AttemptFailed        attempts                AttemptEnded with a failure, Takeover (the attempt is lost)
    AttemptReleased      attempts, tasks         Wake, Retry, or new code: the next attempt is due now
    AttemptBeat          attempts                Heartbeat
    AttemptDeferred      attempts                AttemptEnded, to be completed from outside
    RunBlocked           run row                 Block
    RunReleased          run row                 Retry, or new code
    RunReacted           run row                 a released run whose answer is recorded at last
    RunStruck            run row                 Strike
    ChunksMade           chunks                  WriteStream: what the history only counts
"""

from typing import Any, TypeAlias

import msgspec

from perdure.kernel.attributes import Attribute
from perdure.kernel.family import (
    ChildCancelRequested,
    ChildCompleted,
    ChildFailed,
    ChildScheduled,
    ChildStarted,
    ChildStartFailed,
    ExternalAnswered,
    ExternalCancelRequested,
    ExternalSignalSent,
    RunContinuedAsNew,
)
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.terms import RunTerms
from perdure.kernel.values import Failure, Payload


class LogRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One `logging` record of an attempt: time in nanoseconds, level number, logger and text."""

    at: int
    level: int
    logger: str
    text: str


class Logs(msgspec.Struct, frozen=True, array_like=True):
    """Log records of an attempt; `dropped` counts those beyond the bound."""

    records: tuple[LogRecord, ...] = ()
    dropped: int = 0


class Terms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an activity was scheduled under, beyond what most are. Times in nanoseconds, None is no limit.

    `queue`: whose workers make the attempts; "" is the owner itself. `compensates`: it undoes another step.
    """

    queue: str = ""
    schedule_to_close_ns: int | None = None
    schedule_to_start_ns: int | None = None
    heartbeat_ns: int | None = None
    compensates: bool = False


class RunStarted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """`spoken`: so many signals and updates were there when it began. They are the next events, and the program is shown all
    of them as one: a run that ends without having waited has heard them."""

    at: int
    workflow: str
    input: Payload
    run_id: bytes
    build: str
    terms: RunTerms | None = None
    memo: Payload | None = None
    spoken: int = 0


class ActivityScheduled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """`claimed_by` is the member that was granted a slot for attempt 1 in the same transaction, or 0.

    `timeout_ns` is start to close of one attempt.
    """

    at: int
    id: str
    name: str
    input: Payload
    timeout_ns: int | None = None
    retry: RetryPolicy | None = None
    claimed_by: int = 0
    terms: Terms | None = None


class ActivityCompleted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    at: int
    id: str
    result: Payload
    started_at: int
    attempt: int = 1
    member: int = 0


class ActivityFailed(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """`reason`: "failed" (non-retryable), "exhausted" (the policy is used up), "no-time" (the next attempt would begin too
    late), "unknown" (at most once, and whether it took effect is not known), or what ran out: "timeout" (start to close),
    "heartbeat", "schedule-to-close", "schedule-to-start". `details`: of the last heartbeat.
    """

    at: int
    id: str
    failure: Failure
    started_at: int
    attempt: int = 1
    member: int = 0
    reason: str = "failed"
    details: Payload | None = None


class ActivityCancelled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=5):
    at: int
    id: str


class TimerStarted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=6):
    at: int
    id: str
    due_at: int


class TimerFired(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    at: int
    id: str


class TimerCancelled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=8):
    at: int
    id: str


class SideEffectRecorded(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=9):
    at: int
    id: str
    value: Payload


class PatchMarked(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=10):
    """The run goes the new way after a change. `deprecated`: the code had no old way any more when it went, so that code
    which does not ask about the change at all fits, too."""

    at: int
    id: str
    patch: str
    deprecated: bool = False


class CancelRequested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=11):
    at: int
    reason: str = ""


class RunCompleted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=12):
    at: int
    result: Payload


class RunFailed(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """`continued_as`: the number of the run that makes the next attempt, queued in the same commit; None without one."""

    at: int
    failure: Failure
    continued_as: bytes | None = None


class RunCancelled(msgspec.Struct, frozen=True, array_like=True, tag=14):
    at: int
    reason: str = ""


class RunTerminated(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=15):
    at: int
    reason: str = ""


class AttributesSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=17):
    """What has changed of the run's searchable attributes."""

    at: int
    id: str
    attributes: tuple[Attribute, ...]


class MemoSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=18):
    """What has changed of the run's memo, a JSON object: null removes a name."""

    at: int
    id: str
    memo: Payload


class StreamWritten(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=40):
    """The workflow has written so many chunks, of so many bytes before any codec, to a stream of its run; `closes`: and has
    closed it then. The chunks themselves are no part of the history.
    """

    at: int
    id: str
    stream: str
    count: int
    size_bytes: int
    closes: bool = False


class TaskOpened(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """People are asked. `form` is the JSON schema of what they answer, `data` what they are shown; no `assignees` is
    anybody. `remind_ns`: how often they are reminded. `expires_at`: when nobody waits for the answer any more.
    """

    at: int
    id: str
    title: str
    form: dict[str, Any]
    data: Payload | None = None
    assignees: tuple[str, ...] = ()
    due_at: int | None = None
    remind_ns: int | None = None
    expires_at: int | None = None


class TaskClaimed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=35):
    """`forced`: it was somebody else's to take, or already taken."""

    at: int
    id: str
    by: str
    forced: bool = False


class TaskReleased(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=36):
    at: int
    id: str
    by: str
    forced: bool = False


class TaskCompleted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=37):
    at: int
    id: str
    by: str
    result: Payload
    request_id: str = ""
    forced: bool = False


class TaskReminded(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=38):
    """`kind`: "reminder", or "overdue" once when its due time has passed."""

    at: int
    id: str
    kind: str


class TaskWithdrawn(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=39):
    at: int
    id: str


class TaskExpired(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=50):
    at: int
    id: str


class RunTimedOut(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=16):
    """It took longer than it may: `limit` is "run" or "execution", that of the whole chain. `continued_as` as in RunFailed."""

    at: int
    limit: str
    limit_ns: int
    continued_as: bytes | None = None


class SignalReceived(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=19):
    """A message that expects no answer. `request_id`: of two with the same one the second is not taken."""

    at: int
    name: str
    input: Payload
    request_id: str = ""


class UpdateAccepted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=20):
    """A message whose handler gives an answer: UpdateCompleted or UpdateFailed of the same id, which is its sender's."""

    at: int
    id: str
    name: str
    input: Payload


class UpdateCompleted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=21):
    at: int
    id: str
    result: Payload


class UpdateFailed(msgspec.Struct, frozen=True, array_like=True, tag=22):
    at: int
    id: str
    failure: Failure


class Published(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=23):
    """The run shows a value under a name, in the place of an earlier one, to anybody who has no code."""

    at: int
    id: str
    name: str
    value: Payload


class RunMoved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=45):
    """The run was pinned to a build of the code, and is to another one from here on."""

    at: int
    build: str


class AttemptStarted(msgspec.Struct, frozen=True, gc=False):
    at: int
    id: str
    attempt: int
    member: int


class AttemptSucceeded(msgspec.Struct, frozen=True):
    at: int
    id: str
    attempt: int
    member: int
    started_at: int
    logs: Logs


class AttemptFailed(msgspec.Struct, frozen=True):
    """`retry_at` None with `held` false: the activity has failed for good (ActivityFailed follows)."""

    at: int
    id: str
    attempt: int
    member: int
    started_at: int
    failure: Failure
    logs: Logs
    retry_at: int | None = None
    held: bool = False
    build: str = ""
    details: Payload | None = None


class AttemptReleased(msgspec.Struct, frozen=True, gc=False):
    """The attempt after this one is due: it wants a slot, or goes into its queue."""

    at: int
    id: str
    attempt: int


class AttemptBeat(msgspec.Struct, frozen=True, gc=False):
    """An attempt lives. `due_at`: when it is taken for dead unless it is heard of again; None if it is watched elsewhere."""

    at: int
    id: str
    attempt: int
    member: int
    details: Payload | None
    due_at: int | None = None


class AttemptDeferred(msgspec.Struct, frozen=True):
    """The function has returned; the result comes later, from whoever has the attempt's token.

    `due_at`: when that is too late; None without a time limit.
    """

    at: int
    id: str
    attempt: int
    member: int
    started_at: int
    logs: Logs
    details: Payload | None = None
    due_at: int | None = None


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Why a run cannot go on with the code at hand, in words a person can act on.

    `kind`: "bug", "divergence", "stuck" (the watchdog interrupted it), "undecodable", "unknown-activity",
    "unknown-workflow", "refused" (the store would not take its turn), "pinned" (it waits for the build it is pinned to),
    "imported" (it has come from elsewhere, and nobody has said that it is to go on here), "quarantined", and "held" in the row of a run whose compensation is held. `recorded`, `produced` and `source` (file:line)
    are set for a divergence; `hint` is the next step. `open_tail`: the history's last delivered event stands there
    without the program's answer, which was discarded. `begin_at`: the run has not begun, and had to wait until then.
    """

    kind: str
    build: str
    message: str
    hint: str = ""
    failure: Failure | None = None
    recorded: str = ""
    produced: str = ""
    source: str = ""
    at: int = 0
    open_tail: bool = False
    begin_at: int | None = None


class RunBlocked(msgspec.Struct, frozen=True):
    at: int
    block: Block


class RunReleased(msgspec.Struct, frozen=True, gc=False):
    at: int


class RunReacted(msgspec.Struct, frozen=True, gc=False):
    """The program's answer to the event it was blocked at is recorded now."""

    at: int


class RunStruck(msgspec.Struct, frozen=True, gc=False):
    at: int


class ChunksMade(msgspec.Struct, frozen=True):
    """What the workflow has written, told beside its StreamWritten of the same commit."""

    at: int
    stream: str
    chunks: list[Payload]
    closes: bool = False


HistoryEvent: TypeAlias = (
    RunStarted
    | ActivityScheduled
    | ActivityCompleted
    | ActivityFailed
    | ActivityCancelled
    | TimerStarted
    | TimerFired
    | TimerCancelled
    | SideEffectRecorded
    | PatchMarked
    | CancelRequested
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunTerminated
    | RunTimedOut
    | AttributesSet
    | MemoSet
    | ChildScheduled
    | ChildStarted
    | ChildStartFailed
    | ChildCompleted
    | ChildFailed
    | ChildCancelRequested
    | ExternalCancelRequested
    | ExternalSignalSent
    | ExternalAnswered
    | RunContinuedAsNew
    | StreamWritten
    | SignalReceived
    | UpdateAccepted
    | UpdateCompleted
    | UpdateFailed
    | Published
    | RunMoved
    | TaskOpened
    | TaskClaimed
    | TaskReleased
    | TaskCompleted
    | TaskReminded
    | TaskWithdrawn
    | TaskExpired
)
StatusEvent: TypeAlias = (
    AttemptStarted
    | AttemptSucceeded
    | AttemptFailed
    | AttemptReleased
    | AttemptBeat
    | AttemptDeferred
    | RunBlocked
    | RunReleased
    | RunReacted
    | RunStruck
    | ChunksMade
)
Event: TypeAlias = HistoryEvent | StatusEvent

DELIVERED: frozenset[type] = frozenset(
    {RunStarted, ActivityCompleted, ActivityFailed, TimerFired, CancelRequested, SignalReceived, UpdateAccepted}
    | {ChildStarted, ChildStartFailed, ChildCompleted, ChildFailed, ExternalAnswered}
    | {TaskCompleted, TaskReminded, TaskExpired}
)
"""Events a program is shown."""

MATCHED: frozenset[type] = frozenset(
    {ActivityScheduled, ActivityCancelled, TimerStarted, TimerCancelled, SideEffectRecorded, PatchMarked}
    | {AttributesSet, MemoSet, StreamWritten}
    | {UpdateCompleted, UpdateFailed, Published}
    | {ChildScheduled, ChildCancelRequested, ExternalCancelRequested, ExternalSignalSent}
    | {TaskOpened, TaskWithdrawn}
    | {RunCompleted, RunFailed, RunCancelled, RunContinuedAsNew}
)
"""Events that record a command; on replay the program must issue the same."""

NOTED: frozenset[type] = frozenset({RunMoved, TaskClaimed, TaskReleased})
"""Events that concern the run, or people, and no program: it is not shown them, and has not caused them."""

IMPOSED: frozenset[type] = frozenset({RunTerminated, RunTimedOut})
"""Ends that come from outside: the program is neither asked nor told."""

TERMINAL: frozenset[type] = frozenset({RunCompleted, RunFailed, RunCancelled, RunContinuedAsNew}) | IMPOSED

STATUS: frozenset[type] = frozenset(
    {AttemptStarted, AttemptSucceeded, AttemptFailed, AttemptReleased, AttemptBeat, AttemptDeferred}
    | {RunBlocked, RunReleased, RunReacted, RunStruck, ChunksMade}
)
"""Events that are projected but not kept in the history."""
