"""The state of a run: the fold of its events. `evolve` cannot fail.

    queued ──Start──► running ◄──► waiting | retrying | held
                        │  ▲
                        ▼  │ Retry, NewBuild, NewCode
                  blocked, quarantined
                        │
                        ▼ (from any open status)
        completed | failed | cancelled | terminated | timed out | continued as new

An open run's status is derived, never set: *blocked* or *quarantined* while it has a block, else *running* while an
attempt is in flight or wants a slot, or while the program owes the answer it gave too early (open tail), else *held* while
an attempt is held, else *retrying* while an attempt waits for its next try, else *waiting* (a timer, a message, a worker
of a queue, somebody with a token).
"""

import enum
import heapq
from collections.abc import Callable
from typing import Any, TypeAlias

from perdure.kernel import events as ev
from perdure.kernel import human
from perdure.kernel.family import Link, link_of
from perdure.kernel.human import HumanTask, People
from perdure.kernel.step import OUT, Place, Step
from perdure.kernel.terms import RunTerms, digest_of, digests_in


class Status(enum.IntEnum):
    """Stable numbers: they are stored. Any other one, of a newer version perhaps, is a state that is not known."""

    QUEUED = 0
    RUNNING = 1
    WAITING = 2
    RETRYING = 3
    HELD = 4
    BLOCKED = 5
    QUARANTINED = 6
    COMPLETED = 7
    FAILED = 8
    CANCELLED = 9
    TERMINATED = 10
    TIMED_OUT = 11
    CONTINUED_AS_NEW = 12

    @property
    def word(self) -> str:
        """As people read it."""
        return self.name.lower().replace("_", " ")

    @classmethod
    def _missing_(cls, value: object) -> "Status | None":
        if not isinstance(value, int):
            return None
        unknown = int.__new__(cls, value)
        unknown._name_, unknown._value_ = "UNKNOWN", value
        return unknown

    @classmethod
    def named(cls, word: str) -> "Status":
        """The one of a word; `KeyError` if there is none."""
        return cls[word.upper().replace(" ", "_")]


KNOWN_STATUSES = frozenset(map(int, Status))
UNKNOWN_STATUS = 255
"""In the stead of what is no number of a state at all. Whoever waits for such a run is told so, like for one that has ended."""


class Run:
    """One execution of a workflow. Only `evolve` changes it.

    `chain` is the key of the run it continues, by way of any others; 0 if it continues none. `queued`: some step of it had
    a queue. `begin_at`: when it begins, of one that was not begun yet and has to wait; `expires_at`: when it has to be over;
    None without a time. `beginning` is kept if the run is to be tried again. `links` are its open children, and what it has
    asked of other runs, by step; None of one that never had any; `people` has its human tasks in the same way. `requests`: the digests of those of signals that it has
    received, or one that it continues.
    `updates`: those it has accepted, by id, each with its name and time; `asked` have no answer yet.
    `pinned`: the only build that may go on with it, "" is any.
    """

    __slots__ = (
        "asked",
        "begin_at",
        "beginning",
        "block",
        "build",
        "cancel_requested",
        "chain",
        "closed_at",
        "deadlines",
        "expires_at",
        "flying",
        "held",
        "id",
        "key",
        "links",
        "open_tail",
        "out",
        "outcome",
        "pending",
        "people",
        "pinned",
        "queued",
        "requests",
        "retrying",
        "run_id",
        "seq",
        "started_at",
        "strikes",
        "terms",
        "timers",
        "updates",
        "workflow",
    )

    def __init__(self, key: int, id: str, chain: int = 0) -> None:
        self.key = key
        self.id = id
        self.chain = chain
        self.terms: RunTerms | None = None
        self.begin_at: int | None = None
        self.expires_at: int | None = None
        self.beginning: ev.RunStarted | None = None
        self.run_id = b""
        self.workflow = ""
        self.build = ""
        self.pinned = ""
        self.seq = 0
        self.started_at = 0
        self.closed_at = 0
        self.pending: dict[str, Step] = {}
        self.timers: dict[str, int] = {}
        self.people: People | None = None
        self.deadlines: list[tuple[int, str]] = []
        self.flying = 0
        self.retrying = 0
        self.held = 0
        self.out = 0
        self.queued = False
        self.cancel_requested = False
        self.block: ev.Block | None = None
        self.open_tail = False
        self.strikes = 0
        self.outcome: Outcome | None = None
        self.links: dict[str, Link] | None = None
        self.requests: dict[bytes, None] | None = None
        self.updates: dict[str, tuple[str, int]] | None = None
        self.asked: dict[str, None] | None = None

    @property
    def is_open(self) -> bool:
        return self.outcome is None

    @property
    def status(self) -> Status:
        if self.outcome is not None:
            return _CLOSED[type(self.outcome)]
        if self.block is not None:
            return Status.QUARANTINED if self.block.kind == "quarantined" else Status.BLOCKED
        if not self.seq:
            return Status.QUEUED
        if self.flying or self.open_tail:
            return Status.RUNNING
        if self.held:
            return Status.HELD
        return Status.RETRYING if self.retrying else Status.WAITING

    def has_received(self, request_id: str) -> bool:
        """Whether the run, or one that it continues, has received the signal of that request."""
        return bool(request_id) and self.requests is not None and digest_of(request_id) in self.requests

    @property
    def unresolved(self) -> int:
        """Steps, timers, human tasks and children, and questions to others, that have no outcome yet."""
        linked = 0 if self.links is None else len(self.links)
        asked = 0 if self.people is None else len(self.people.open)
        return len(self.pending) + len(self.timers) + linked + asked

    @property
    def unhelped(self) -> Step | None:
        """A compensation that is held: whatever timers do, the run does not end before somebody has released it."""
        if not self.held or self.status is not Status.HELD:
            return None
        return next((step for step in self.pending.values() if step.held is not None and step.compensates), None)

    def wake_at(self) -> int | None:
        """When the clock next does something to the run, in nanoseconds; None if it does nothing. To one that is blocked
        it does nothing but end it."""
        if self.outcome is not None:
            return None
        expires_at = self.expires_at
        if self.block is not None or (self.seq and not self.deadlines):
            return expires_at
        at = self.next_deadline() if self.seq else self.begin_at
        return expires_at if at is None or (expires_at is not None and expires_at < at) else at

    def next_deadline(self) -> int | None:
        """When the next timer or retry is due."""
        deadlines = self.deadlines
        while deadlines and not self._is_live(deadlines[0]):
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def _is_live(self, deadline: tuple[int, str]) -> bool:
        at, id = deadline
        if self.timers.get(id) == at:
            return True
        step = self.pending.get(id)
        if step is not None:
            return at in (step.retry_at, step.expires_at, step.start_by, step.close_by)
        task = self.human_task(id)
        return task is not None and at in task.deadlines()

    def human_task(self, id: str) -> HumanTask | None:
        """The one of that id, if it is open."""
        return None if self.people is None else self.people.open.get(id)

    def recount(self) -> None:
        """Derive the counters and deadlines anew, after the steps were restored from their attempts."""
        self.flying = self.retrying = self.held = self.out = 0
        for step in self.pending.values():
            self.count(step, 1)
        self.forget_dead_deadlines()

    def count(self, step: Step, by: int) -> None:
        """Add a step to the counter of its place, or take it out."""
        match step.place:
            case Place.FLYING:
                self.flying += by
            case Place.WAITING:
                self.retrying += by
            case Place.HELD:
                self.held += by
            case Place.OUT:
                self.out += by

    def remind(self, step: Step | HumanTask, *deadlines: int | None) -> None:
        """The clock will do something to the step, or task."""
        for at in deadlines:
            if at is not None:
                heapq.heappush(self.deadlines, (at, step.id))

    def forget_dead_deadlines(self) -> None:
        """Build the heap from what is live: a deadline that is moot stays in it until it comes to the top."""
        self.deadlines = [(at, id) for id, at in self.timers.items()]
        self.deadlines += [(at, step.id) for step in self.pending.values() for at in step.deadlines()]
        if self.people is not None:
            self.deadlines += [(at, task.id) for task in self.people.open.values() for at in task.deadlines()]
        heapq.heapify(self.deadlines)

    def slot_wanted(self) -> list[Step]:
        """Steps that could run here now if a slot were free, in the order they were scheduled."""
        return [step for step in self.pending.values() if step.wants_slot]


Outcome: TypeAlias = (
    ev.RunCompleted | ev.RunFailed | ev.RunCancelled | ev.RunTerminated | ev.RunTimedOut | ev.RunContinuedAsNew
)

_CLOSED: dict[type, Status] = {
    ev.RunCompleted: Status.COMPLETED,
    ev.RunFailed: Status.FAILED,
    ev.RunCancelled: Status.CANCELLED,
    ev.RunTerminated: Status.TERMINATED,
    ev.RunTimedOut: Status.TIMED_OUT,
    ev.RunContinuedAsNew: Status.CONTINUED_AS_NEW,
}


def evolve(run: Run, event: ev.Event) -> Run:
    """Fold one event into the state, in place: the run belongs to its one owner."""
    _EVOLVE[type(event)](run, event)
    return run


def _started(run: Run, event: ev.RunStarted) -> None:
    run.seq += 1
    run.workflow = event.workflow
    run.run_id = event.run_id
    run.build = event.build
    run.started_at = event.at
    if event.terms is not None:
        run.terms = event.terms
        run.expires_at = event.terms.expires_at(event.at)
        if event.terms.chain is not None and event.terms.chain.requests:
            run.requests = dict.fromkeys(digests_in(event.terms.chain.requests))
        run.pinned = event.build if event.terms.pinned else ""
        _keep_for_another_attempt(run, event)


def _keep_for_another_attempt(run: Run, event: ev.RunStarted) -> None:
    if event.terms is not None and event.terms.retry is not None:
        run.beginning = event


def _scheduled(run: Run, event: ev.ActivityScheduled) -> None:
    run.seq += 1
    step = run.pending[event.id] = Step(event)
    if event.terms is None:
        run.flying += 1
        return
    run.queued = run.queued or bool(event.terms.queue)
    run.count(step, 1)
    run.remind(step, step.expires_at, step.start_by)


def _resolved(run: Run, event: ev.ActivityCompleted | ev.ActivityFailed | ev.ActivityCancelled) -> None:
    run.seq += 1
    step = run.pending.pop(event.id, None)
    if step is None:
        return
    if step.terms is None and not step.rows:
        run.flying -= 1  # nearly all: nothing but its first attempt has happened to it
        return
    run.count(step, -1)
    _tidy(run)


def _timer_started(run: Run, event: ev.TimerStarted) -> None:
    run.seq += 1
    run.timers[event.id] = event.due_at
    heapq.heappush(run.deadlines, (event.due_at, event.id))


def _timer_gone(run: Run, event: ev.TimerFired | ev.TimerCancelled) -> None:
    run.seq += 1
    run.timers.pop(event.id, None)
    _tidy(run)


def _tidy(run: Run) -> None:
    if len(run.deadlines) > 2 * (len(run.timers) + len(run.pending)) + _DEAD_DEADLINES:
        run.forget_dead_deadlines()


_DEAD_DEADLINES = 64
"""Timeouts that never fire leave this many entries in the heap, and twice as many again as there are timers and steps."""


def _noted(
    run: Run,
    event: ev.SideEffectRecorded
    | ev.PatchMarked
    | ev.AttributesSet
    | ev.MemoSet
    | ev.ChildCancelRequested
    | ev.StreamWritten
    | ev.Published,
) -> None:
    run.seq += 1


def _moved(run: Run, event: ev.RunMoved) -> None:
    run.seq += 1
    run.pinned = event.build


def _linked(run: Run, event: ev.ChildScheduled | ev.ExternalCancelRequested | ev.ExternalSignalSent) -> None:
    run.seq += 1
    if run.links is None:
        run.links = {}
    run.links[event.id] = link_of(event)


def _unlinked(run: Run, event: ev.ChildStartFailed | ev.ChildCompleted | ev.ChildFailed | ev.ExternalAnswered) -> None:
    run.seq += 1
    if run.links is not None:
        run.links.pop(event.id, None)


def _child_started(run: Run, event: ev.ChildStarted) -> None:
    run.seq += 1
    if run.links is not None and event.id in run.links:
        run.links[event.id].awaits_start = False


def _passes(run: Run, event: ev.ChunksMade) -> None:
    """Only rows are made of it."""


def _signal_received(run: Run, event: ev.SignalReceived) -> None:
    run.seq += 1
    if event.request_id:
        if run.requests is None:
            run.requests = {}
        run.requests[digest_of(event.request_id)] = None


def _update_accepted(run: Run, event: ev.UpdateAccepted) -> None:
    run.seq += 1
    if run.updates is None or run.asked is None:
        run.updates, run.asked = {}, {}
    run.updates[event.id] = (event.name, event.at)
    run.asked[event.id] = None


def _update_answered(run: Run, event: ev.UpdateCompleted | ev.UpdateFailed) -> None:
    run.seq += 1
    if run.asked is not None:
        run.asked.pop(event.id, None)


def _cancel_requested(run: Run, event: ev.CancelRequested) -> None:
    run.seq += 1
    run.cancel_requested = True


def _closed(run: Run, event: Any) -> None:
    run.seq += 1
    run.outcome = event
    run.closed_at = event.at
    run.block = None
    run.open_tail = False
    run.pending.clear()
    run.timers.clear()
    run.deadlines.clear()
    run.flying = run.retrying = run.held = run.out = 0
    human.run_ended(run)


def _attempt_started(run: Run, event: ev.AttemptStarted) -> None:
    step = run.pending[event.id]
    step.rows = True
    step.start_by = None
    step.started_at = event.at
    if step.member != OUT:  # else it stays out: the store knows who has it
        step.attempt = event.attempt
        step.member = event.member


def _attempt_succeeded(run: Run, event: ev.AttemptSucceeded) -> None:
    run.pending[event.id].rows = True


def _attempt_failed(run: Run, event: ev.AttemptFailed) -> None:
    step = run.pending[event.id]
    run.count(step, -1)
    step.member = 0
    step.rows = True
    step.deferred = False
    step.close_by = step.start_by = step.logs = None
    step.failure = event.failure
    step.details = event.details or step.details
    step.losses = step.losses + 1 if event.failure.code == LOST else 0
    if event.held:
        step.held = event.build
        if not event.failure.is_bug:
            step.counted = 0  # whoever releases it grants all attempts anew
    else:
        step.counted += 1
        step.retry_at = event.retry_at
        run.remind(step, step.retry_at)
    run.count(step, 1)


def _attempt_released(run: Run, event: ev.AttemptReleased) -> None:
    step = run.pending[event.id]
    run.count(step, -1)
    step.held = None
    step.retry_at = None
    step.ready(event.at)
    run.remind(step, step.start_by)
    run.count(step, 1)


def _attempt_beat(run: Run, event: ev.AttemptBeat) -> None:
    step = run.pending[event.id]
    step.rows = True
    step.start_by = None  # whoever is heard of has begun
    step.details = event.details or step.details
    if step.deferred:
        step.close_by = event.due_at
        run.remind(step, event.due_at)


def _attempt_deferred(run: Run, event: ev.AttemptDeferred) -> None:
    step = run.pending[event.id]
    run.count(step, -1)
    step.member = event.member
    step.started_at = event.started_at
    step.rows = step.deferred = True
    step.start_by = None
    step.logs = event.logs
    step.details = event.details or step.details
    step.close_by = event.due_at
    run.remind(step, event.due_at)
    run.count(step, 1)


def _blocked(run: Run, event: ev.RunBlocked) -> None:
    run.block = event.block
    run.open_tail = run.open_tail or event.block.open_tail


def _released(run: Run, event: ev.RunReleased) -> None:
    run.block = None
    run.strikes = 0


def _reacted(run: Run, event: ev.RunReacted) -> None:
    run.open_tail = False


def _struck(run: Run, event: ev.RunStruck) -> None:
    run.strikes += 1


def recode(run: Run, event: ev.HistoryEvent, input_too: bool = False) -> None:
    """An event folded just now says the same in other bytes: what is stored, and goes to others, are those. `input_too`: so
    does the step it has scheduled."""
    if isinstance(event, ev.RunCompleted | ev.RunContinuedAsNew):
        run.outcome = event
    elif isinstance(event, ev.RunStarted):
        _keep_for_another_attempt(run, event)
    elif isinstance(event, ev.TaskOpened):
        task = run.human_task(event.id)
        if task is not None:
            task.data = event.data
    elif isinstance(event, ev.ActivityScheduled) and input_too and event.id in run.pending:
        run.pending[event.id].input = event.input


LOST = "attempt-lost"
"""The code of the failure of an attempt whose process is gone."""

CRASHED = "activity-crashed"
"""The same for an attempt that had a process to itself, which is gone, so that it is itself to blame."""

_EVOLVE: dict[type, Callable[[Run, Any], None]] = {
    ev.RunStarted: _started,
    ev.ActivityScheduled: _scheduled,
    ev.ActivityCompleted: _resolved,
    ev.ActivityFailed: _resolved,
    ev.ActivityCancelled: _resolved,
    ev.TimerStarted: _timer_started,
    ev.TimerFired: _timer_gone,
    ev.TimerCancelled: _timer_gone,
    ev.SideEffectRecorded: _noted,
    ev.PatchMarked: _noted,
    ev.AttributesSet: _noted,
    ev.MemoSet: _noted,
    ev.ChildScheduled: _linked,
    ev.ChildStarted: _child_started,
    ev.ChildStartFailed: _unlinked,
    ev.ChildCompleted: _unlinked,
    ev.ChildFailed: _unlinked,
    ev.ChildCancelRequested: _noted,
    ev.ExternalCancelRequested: _linked,
    ev.ExternalSignalSent: _linked,
    ev.ExternalAnswered: _unlinked,
    ev.StreamWritten: _noted,
    ev.Published: _noted,
    ev.SignalReceived: _signal_received,
    ev.UpdateAccepted: _update_accepted,
    ev.UpdateCompleted: _update_answered,
    ev.UpdateFailed: _update_answered,
    ev.RunMoved: _moved,
    ev.TaskOpened: human.opened,
    ev.TaskClaimed: human.claimed,
    ev.TaskReleased: human.claimed,
    ev.TaskReminded: human.reminded,
    ev.TaskCompleted: human.closed,
    ev.TaskExpired: human.closed,
    ev.TaskWithdrawn: human.closed,
    ev.CancelRequested: _cancel_requested,
    ev.RunCompleted: _closed,
    ev.RunFailed: _closed,
    ev.RunCancelled: _closed,
    ev.RunTerminated: _closed,
    ev.RunTimedOut: _closed,
    ev.RunContinuedAsNew: _closed,
    ev.AttemptStarted: _attempt_started,
    ev.AttemptSucceeded: _attempt_succeeded,
    ev.AttemptFailed: _attempt_failed,
    ev.AttemptReleased: _attempt_released,
    ev.AttemptBeat: _attempt_beat,
    ev.AttemptDeferred: _attempt_deferred,
    ev.RunBlocked: _blocked,
    ev.RunReleased: _released,
    ev.RunReacted: _reacted,
    ev.RunStruck: _struck,
    ev.ChunksMade: _passes,
}
