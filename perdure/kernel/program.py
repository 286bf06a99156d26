"""The one interface between the kernel and whatever decides for a run.

A program is shown each delivered event once, in the order of the history, and answers with the commands it
issued meanwhile. The kernel does not know what stands behind it: a coroutine, a document, a graph.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from perdure.kernel.attributes import Attribute
from perdure.kernel.commands import (
    CancelActivity,
    CancelChild,
    CancelExternal,
    CancelTimer,
    Command,
    CompleteRun,
    CompleteUpdate,
    ContinueAsNew,
    EndCancelled,
    FailRun,
    FailUpdate,
    MarkPatch,
    OpenTask,
    Publish,
    RecordSideEffect,
    ScheduleActivity,
    SetAttributes,
    SetMemo,
    SignalExternal,
    StartChild,
    StartTimer,
    WithdrawTask,
    WriteStream,
)
from perdure.kernel.events import (
    DELIVERED,
    IMPOSED,
    MATCHED,
    NOTED,
    ActivityCancelled,
    ActivityScheduled,
    AttributesSet,
    ChildCancelRequested,
    ChildScheduled,
    Event,
    ExternalCancelRequested,
    ExternalSignalSent,
    Failure,
    HistoryEvent,
    MemoSet,
    PatchMarked,
    Payload,
    Published,
    RunCancelled,
    RunCompleted,
    RunContinuedAsNew,
    RunFailed,
    RunStarted,
    SideEffectRecorded,
    StreamWritten,
    TaskOpened,
    TaskWithdrawn,
    TimerCancelled,
    TimerStarted,
    UpdateCompleted,
    UpdateFailed,
)
from perdure.kernel.messages import CompleteTask, Query, Signal, Update
from perdure.kernel.terms import Parent


class Decider(Protocol):
    """Decides for one run."""

    def advance(self, event: HistoryEvent, replaying: bool) -> Sequence[Command]:
        """Show one delivered event; return the commands issued until the program waits again, in issue order.

        `replaying` is true while the answer is already recorded. Raises `ProgramBlocked` (errors) when the
        code cannot go on; the program is then thrown away.
        """
        ...

    def where(self, command_id: str | None) -> str:
        """`file:line` of the code that waits for a command it issued; None, or one that nobody waits for: the main line."""
        ...

    def name_of(self, activity: str) -> str:
        """What the code calls an activity today that is recorded under this name."""
        ...

    def close(self) -> None:
        """Let go of the program for ever, without side effects. Never raises."""
        ...


class Program(Decider, Protocol):
    """One that can be talked to, beside what its history has."""

    def begin(self, event: RunStarted) -> None:
        """Begin before that event is shown, so that `validate` can be asked: what it issues is part of its answer then. Raises
        `ProgramBlocked`."""
        ...

    def validate(self, update: Update) -> None:
        """Let the code look at an update before it is accepted. Raises what speaks against it; nothing has changed then."""
        ...

    def admit(self, message: CompleteTask) -> None:
        """Raises an error of the family `errors.PerdureError` if the program could not read that answer."""
        ...

    def query(self, query: Query) -> Payload:
        """The answer to a question, of a run that is open or has ended. Raises what the code raises, and `Meddled`."""
        ...


class ProgramBlocked(Exception):
    """The program cannot go on: its reaction to the event just shown is void.

    `kind` is that of a `Block`. `failure` is the exception as data, if there was one; `raised_earlier` (set only by a
    program loaded with `traced`) tells that it was raised in an earlier turn, whose cleanup is committed already:
    then the run fails with it instead, or, with `goes_on`, reacts to it as to any failure. `commands` were issued in the
    turn before it stopped.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        hint: str = "",
        failure: Failure | None = None,
        source: str = "",
        raised_earlier: bool = False,
        commands: Sequence[Command] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.failure = failure
        self.source = source
        self.raised_earlier = raised_earlier
        self.goes_on = False
        self.commands = commands


class Meddled(Exception):
    """Code that may only look has changed something: the program is to be made anew from its history."""


class RunInfo(msgspec.Struct, frozen=True):
    """What a program may know of its run. `started_at` in nanoseconds since the epoch. `attempt` counts the runs that
    continue each other, the first of which is `first_run_id`."""

    id: str
    run_id: bytes
    workflow: str
    started_at: int
    attempt: int = 1
    first_run_id: bytes = b""
    attributes: tuple[Attribute, ...] = ()
    parent: Parent | None = None


class Language(Protocol):
    """A way to write programs."""

    def load(self, info: RunInfo, recorded: "Recorded", blobs: "Blobs", traced: bool = False) -> Program:
        """A fresh program for a run. `traced` programs are slow and can tell when an exception was raised."""
        ...

    def check(self, info: RunInfo, input: Payload, blobs: "Blobs") -> None:
        """Raises an error of the family `errors.PerdureError` if a run cannot be started with that input."""
        ...

    def check_result(self, info: RunInfo, activity: str, result: Payload, blobs: "Blobs") -> None:
        """The same if the program could not read the result of an activity that somebody outside brings."""
        ...

    def check_message(
        self, info: RunInfo, message: Signal | Update | Query, blobs: "Blobs", program: Program | None
    ) -> None:
        """The same if a run's code does not know the message, or could not read its arguments. `program`: if it stands."""
        ...

    def listens(self) -> bool:
        """Whether messages can be sent to the runs."""
        ...

    def listens_to_more(self) -> bool:
        """Whether a run may hear signals that nobody knows of unless its program stands."""
        ...

    def messages(self) -> Iterable[tuple[str, str, dict[str, Any]]]:
        """Those that are known without a run: "signal", "query" or "update"; the name, "" for all others; and what clients
        without code must know of the arguments."""
        ...


class Blobs(Protocol):
    """Where the bytes of payloads are found, and where large new ones are left."""

    def plain(self, payload: Payload) -> bytes:
        """What a payload holds, wherever its bytes are and whatever a codec has made of them."""
        ...

    def put(self, run_id: bytes, digest: bytes, data: bytes) -> None: ...


class Recorded(Protocol):
    """What a program may look up while it replays."""

    side_effects: Mapping[str, Payload]
    patches: frozenset[str]

    def has_issued(self, path: str) -> bool:
        """Whether the history holds a step, timer, human task or side effect of the task with that path, or of one it started."""
        ...


_ISSUED = frozenset({ActivityScheduled, TimerStarted, ChildScheduled, TaskOpened})


class Lookup:
    """What a history holds of side effects, patches and tasks, gathered before the replay that needs them."""

    __slots__ = ("_tasks", "patches", "side_effects")

    def __init__(self, events: Iterable[Event] = ()) -> None:
        effects: dict[str, Payload] = {}
        patches: set[str] = set()
        tasks: set[str] = set()
        for event in events:
            kind = type(event)
            if kind in _ISSUED:
                tasks.add(event.id.rpartition(":")[0])  # type: ignore[union-attr]
            elif kind is SideEffectRecorded:
                effects[event.id] = event.value  # type: ignore[union-attr]
                tasks.add(event.id.rpartition(":")[0])  # type: ignore[union-attr]
            elif kind is PatchMarked:
                patches.add(event.patch)  # type: ignore[union-attr]
        self.side_effects: Mapping[str, Payload] = effects
        self.patches: frozenset[str] = frozenset(patches)
        self._tasks = tasks

    def has_issued(self, path: str) -> bool:
        return any(task == path or task.startswith(f"{path}.") for task in self._tasks)


class Divergence(Exception):
    """The code at hand answers an event otherwise than the history has it.

    `recorded` and `produced` describe the first difference, either may be "nothing"; `seq` is the delivered
    event after which it shows; `command` the produced command, whose source line the language can tell.
    """

    def __init__(self, seq: int, recorded: str, produced: str, command_id: str | None) -> None:
        super().__init__(f"after event {seq}: recorded {recorded}, produced {produced}")
        self.seq = seq
        self.recorded = recorded
        self.produced = produced
        self.command_id = command_id


_RECORD_KEYS = {
    ActivityScheduled: lambda e: (e.id, "activity", e.name),
    ActivityCancelled: lambda e: (e.id, "cancel activity", ""),
    TimerStarted: lambda e: (e.id, "timer", ""),
    TimerCancelled: lambda e: (e.id, "cancel timer", ""),
    SideEffectRecorded: lambda e: (e.id, "side effect", ""),
    PatchMarked: lambda e: (e.id, "patch", e.patch),
    AttributesSet: lambda e: (e.id, "attributes", ", ".join(sorted(each.name for each in e.attributes))),
    MemoSet: lambda e: (e.id, "memo", ""),
    ChildScheduled: lambda e: (e.id, "child", e.workflow),
    ChildCancelRequested: lambda e: (e.id, "cancel child", ""),
    ExternalCancelRequested: lambda e: (e.id, "cancel run", e.target),
    ExternalSignalSent: lambda e: (e.id, f"signal {e.name} to run", e.target),
    RunContinuedAsNew: lambda e: ("", "continuation as new", ""),
    StreamWritten: lambda e: (e.id, "stream", _written(e.stream, e.count, e.closes)),
    UpdateCompleted: lambda e: (e.id, "answer to update", ""),
    UpdateFailed: lambda e: (e.id, "failure of update", ""),
    Published: lambda e: (e.id, "published value", e.name),
    TaskOpened: lambda e: (e.id, "human task", e.title),
    TaskWithdrawn: lambda e: (e.id, "withdraw human task", ""),
    RunCompleted: lambda e: ("", "completion", ""),
    RunFailed: lambda e: ("", "failure", ""),
    RunCancelled: lambda e: ("", "cancellation", ""),
}
_COMMAND_KEYS = {
    ScheduleActivity: lambda c: (c.id, "activity", c.name),
    CancelActivity: lambda c: (c.id, "cancel activity", ""),
    StartTimer: lambda c: (c.id, "timer", ""),
    CancelTimer: lambda c: (c.id, "cancel timer", ""),
    RecordSideEffect: lambda c: (c.id, "side effect", ""),
    MarkPatch: lambda c: (c.id, "patch", c.patch),
    SetAttributes: lambda c: (c.id, "attributes", ", ".join(sorted(each.name for each in c.attributes))),
    SetMemo: lambda c: (c.id, "memo", ""),
    StartChild: lambda c: (c.id, "child", c.workflow),
    CancelChild: lambda c: (c.id, "cancel child", ""),
    CancelExternal: lambda c: (c.id, "cancel run", c.target),
    SignalExternal: lambda c: (c.id, f"signal {c.name} to run", c.target),
    ContinueAsNew: lambda c: ("", "continuation as new", ""),
    WriteStream: lambda c: (c.id, "stream", _written(c.stream, len(c.chunks), c.closes)),
    CompleteUpdate: lambda c: (c.id, "answer to update", ""),
    FailUpdate: lambda c: (c.id, "failure of update", ""),
    Publish: lambda c: (c.id, "published value", c.name),
    OpenTask: lambda c: (c.id, "human task", c.title),
    WithdrawTask: lambda c: (c.id, "withdraw human task", ""),
    CompleteRun: lambda c: ("", "completion", ""),
    FailRun: lambda c: ("", "failure", ""),
    EndCancelled: lambda c: ("", "cancellation", ""),
}


def _written(stream: str, count: int, closes: bool) -> str:
    chunks = f"{stream}, {count:,} {'chunk' if count == 1 else 'chunks'}"
    return f"{chunks}, closed" if closes else chunks


def _words(key: tuple[str, str, str] | None) -> str:
    if key is None:
        return "nothing"
    step, kind, name = key
    return " ".join(part for part in (kind, name, f"[{step}]" if step else "") if part)


def replay(program: Decider, history: Sequence[HistoryEvent], open_tail: bool = False) -> Sequence[Command]:
    """Show a history to a fresh program and check that it answers as recorded.

    `open_tail`: the program's answer to the last delivered event was never recorded (the run was blocked in
    that turn); the commands it gives there are returned, to be decided on. Otherwise returns nothing.

    Raises:
        Divergence: the answer to an event is another set of commands than the recorded one.
    """
    last = max((i for i, event in enumerate(history) if type(event) in DELIVERED), default=-1)
    position = 0
    end = len(history)
    while position < end:
        event = history[position]
        if type(event) not in DELIVERED:
            position += 1
            continue
        if open_tail and position == last:
            return program.advance(event, False)
        after = position + 1
        while after < end and type(history[after]) in _BETWEEN:
            after += 1
        if position == last and type(history[-1]) in IMPOSED and not _answered(history, position + 1, after):
            return ()  # ended while it was blocked, perhaps: whether it answered at all is not recorded
        try:
            commands = program.advance(event, True)
        except ProgramBlocked as blocked:
            if blocked.failure is None or type(history[after - 1]) is not RunFailed:
                raise
            commands = [*blocked.commands, FailRun(blocked.failure)]
        if len(commands) != after - position - 1 or not _same(commands, history, position + 1, after):
            _demand_alike(program, commands, history, position, after)
        position = after
    return ()


def left_open(history: Sequence[HistoryEvent]) -> HistoryEvent | None:
    """Of a run that was ended from outside, the event that `replay` does not show, since there may be no answer to it."""
    last = max((i for i, event in enumerate(history) if type(event) in DELIVERED), default=-1)
    if last < 0 or type(history[-1]) not in IMPOSED or _answered(history, last + 1, len(history)):
        return None
    return history[last]


_BETWEEN = MATCHED | NOTED


def _answered(history: Sequence[HistoryEvent], start: int, end: int) -> bool:
    return any(type(history[i]) in MATCHED for i in range(start, end))


def _same(commands: Sequence[Command], history: Sequence[HistoryEvent], start: int, end: int) -> bool:
    produced = {_COMMAND_KEYS[type(command)](command) for command in commands}
    recorded = {_RECORD_KEYS[type(history[i])](history[i]) for i in range(start, end) if type(history[i]) in MATCHED}
    return produced == recorded


def _demand_alike(
    program: Decider, commands: Sequence[Command], history: Sequence[HistoryEvent], position: int, after: int
) -> None:
    """The answer is not word for word what is recorded: an activity or a child may have another name by now, and of a change that had
    no old way any more the code need not speak.

    Raises:
        Divergence: it is another one.
    """
    produced = Counter(_COMMAND_KEYS[type(command)](command) for command in commands)
    renamed = {(c.id, old): c.workflow for c in commands if type(c) is StartChild for old in c.aliases}
    matched = [event for event in history[position + 1 : after] if type(event) in MATCHED]
    recorded = Counter(_today(program, renamed, event) for event in matched)
    for event in matched:
        if type(event) is PatchMarked and event.deprecated and _RECORD_KEYS[PatchMarked](event) not in produced:
            recorded -= Counter([_RECORD_KEYS[PatchMarked](event)])
    missing = next(iter(recorded - produced), None)
    surplus = next(iter(produced - recorded), None)
    if missing is not None or surplus is not None:
        raise Divergence(position + 1, _words(missing), _words(surplus), surplus[0] if surplus else None)


def _today(program: Decider, renamed: Mapping[tuple[str, str], str], event: HistoryEvent) -> tuple[str, str, str]:
    id, kind, name = key = _RECORD_KEYS[type(event)](event)
    if type(event) is ChildScheduled:
        return (id, kind, renamed.get((id, name), name))
    return (id, kind, program.name_of(name)) if type(event) is ActivityScheduled else key
