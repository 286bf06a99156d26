"""What arrives in a run's mailbox. Those with a tag can sleep in the store as mail; the rest never leave the process."""

from typing import TypeAlias

import msgspec

from perdure.kernel.events import Block, Logs
from perdure.kernel.terms import RunTerms
from perdure.kernel.values import Failure, Payload


class Signal(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=9):
    """Something the run's code should know. `request_id`, if there is one, is the sender's: it is taken once."""

    name: str
    input: Payload
    request_id: str = ""


class Update(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=10):
    """Something the run's code should do and answer. `id` is the sender's: one that is known already is not taken again."""

    id: str
    name: str
    input: Payload


class Start(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """Begin the run. `refuse_by_reply` false: bad input fails the run instead of answering a waiting client.

    `id_conflict` and `id_reuse` are policies of `ids`: what to do if the id has a run. `chosen` names the terms that the
    starter chose, be it None: of the others the workflow's own hold. `first` is heard as soon as the run has begun: without it
    the run does not begin. `further` messages were there when its owner let it begin, and are heard after that.
    """

    workflow: str
    input: Payload
    run_id: bytes
    build: str = ""
    refuse_by_reply: bool = False
    terms: RunTerms | None = None
    id_conflict: str = ""
    id_reuse: str = ""
    chosen: tuple[str, ...] = ()
    memo: Payload | None = None
    first: Signal | Update | None = None
    further: tuple[Signal | Update, ...] = ()

    @property
    def spoken(self) -> "tuple[Signal | Update, ...]":
        """All that the run hears as it begins."""
        return self.further if self.first is None else (self.first, *self.further)


class AttemptEnded(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """An attempt came to its end: `result`, or `failure`. `timed_out`: the engine ended it, not the code.

    `details` are those of its last heartbeat. `silent`: what ran out was the time between two heartbeats.
    `deferred`: the function has returned, and somebody else brings the result.
    """

    id: str
    attempt: int
    member: int
    started_at: int
    result: Payload | None = None
    failure: Failure | None = None
    logs: Logs | None = None
    timed_out: bool = False
    build: str = ""
    details: Payload | None = None
    silent: bool = False
    deferred: bool = False


class Cancel(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    reason: str = ""


class Terminate(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=4):
    reason: str = ""


class Retry(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=5):
    """An operator's wish: release the block, start held and waiting attempts now."""


class Complete(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Somebody outside has the attempt's token and brings its `result`, or its `failure`."""

    id: str
    attempt: int
    result: Payload | None = None
    failure: Failure | None = None


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """An attempt lives. `member` 0: it is told by somebody outside, who has the attempt's token."""

    id: str
    attempt: int
    member: int = 0
    details: Payload | None = None


class TaskTaken(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=8):
    """A worker has taken the task of an attempt that has to begin in time."""

    id: str
    attempt: int
    member: int


class ChildAnswered(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=12):
    """What has become of the start of a child: with a `code`, that of an error in `errors`, there is none."""

    id: str
    code: str = ""
    message: str = ""


class ChildEnded(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """A child has come to its end: `result`, or why there is none, as in `ev.ChildFailed`."""

    id: str
    result: Payload | None = None
    how: str = ""
    reason: str = ""
    failure: Failure | None = None


class ExternalReplied(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=14):
    """What has become of something that was asked of another run; `code` as above."""

    id: str
    code: str = ""
    message: str = ""


class Query(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=11):
    """A question that changes nothing, and is answered at once."""

    name: str
    input: Payload


class Move(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=27):
    """An operator's wish: a run that is pinned to another build goes on with the code at hand. `build` is that of this
    code; its owner says which."""

    build: str = ""


class ClaimTask(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=20):
    """Somebody, who belongs to these groups, takes a human task. `force`: whoever it is for, and whoever has it."""

    id: str
    by: str
    groups: tuple[str, ...] = ()
    force: bool = False


class ReleaseTask(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=21):
    """It is nobody's again. `force`: whoever has it."""

    id: str
    by: str
    force: bool = False


class CompleteTask(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=22):
    """The answer. `request_id` names the request, so that it may be made again; the rest as in `ClaimTask`."""

    id: str
    by: str
    result: Payload
    request_id: str = ""
    groups: tuple[str, ...] = ()
    force: bool = False


class Wake(msgspec.Struct, frozen=True, gc=False):
    """The clock has passed `wake_at`: fire the next timer that is due. Repeated until nothing is due."""


class GrantSlot(msgspec.Struct, frozen=True, gc=False):
    """A slot is free for the step's next attempt, at `member`."""

    id: str
    member: int


class Takeover(msgspec.Struct, frozen=True, gc=False):
    """Somebody else looks after the run now: attempts in flight are lost, save those of the steps `spared`.

    Spared are steps whose attempt is known to be alive, or whose outcome lies in the mailbox already.
    """

    spared: frozenset[str] = frozenset()


class BlockRun(msgspec.Struct, frozen=True):
    """The runtime found that the program cannot go on with this build."""

    block: Block


class Strike(msgspec.Struct, frozen=True, gc=False):
    """The process died while the run was in its turn."""

    build: str


class NewBuild(msgspec.Struct, frozen=True, gc=False):
    """The owner has other code: release a block, or held attempts of its own, that belong to another build."""

    build: str


class Code(msgspec.Struct, frozen=True, gc=False):
    """What a worker can run: these activities, in these queues, with the code of this build."""

    build: str
    queues: tuple[str, ...]
    names: tuple[str, ...]


class NewCode(msgspec.Struct, frozen=True, gc=False):
    """Workers with this code serve queues: release attempts that code of another build holds.

    `held_by`: only those of this build, whose last worker is gone.
    """

    workers: tuple[Code, ...]
    held_by: str | None = None


HumanMail: TypeAlias = ClaimTask | ReleaseTask | CompleteTask
Mail: TypeAlias = (
    Start
    | AttemptEnded
    | Cancel
    | Terminate
    | Retry
    | Complete
    | Heartbeat
    | TaskTaken
    | Signal
    | Update
    | Query
    | ChildAnswered
    | ChildEnded
    | ExternalReplied
    | Move
    | HumanMail
)
Message: TypeAlias = Mail | Wake | GrantSlot | Takeover | BlockRun | Strike | NewBuild | NewCode
