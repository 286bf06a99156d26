"""A run as a person wants to see it, derived from its history and its attempts. Pure: a store's rows in, a value out.

Every struct is frozen, and `msgspec.to_builtins` of it is the JSON that the command line and the HTTP API give: field
names are stable API. Moments are aware datetimes (UTC), durations are seconds.
"""

import base64
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from perdure.attributes import plain
from perdure.client.cast import Members, members_of
from perdure.client.family import ChildView, Family, RunLink, above
from perdure.client.human_view import ENDS, HUMAN, HumanView, Tale
from perdure.client.moments import moment, rfc3339
from perdure.client.spoken import MessageView, PublishedView, Spoken
from perdure.client.terms import Notes, fields_of
from perdure.client.views import AttemptView, BlockView, ErrorView, LogView, block_view, error_view
from perdure.errors import PayloadNotDecodable
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.attributes import Attribute
from perdure.kernel.messages import Start
from perdure.kernel.notes import timeout_line
from perdure.kernel.overdue import TIMED_OUT
from perdure.kernel.policy import DEFAULT_RETRY
from perdure.kernel.project import AttemptRow, AttemptState, TaskRow
from perdure.kernel.run import LOST, Status
from perdure.kernel.terms import RunTerms
from perdure.payload import PLAIN, Coder
from perdure.stores.base import MemberRow, Stored

Blob = Callable[[bytes], bytes | None]
"""Finds the bytes behind a digest, None if they are gone."""


class StepView(msgspec.Struct, frozen=True):
    """One thing the workflow asked for.

    `kind`: activity, timer, human task, side effect, patch, child, or a request to another run. `state`: scheduled, running, retrying,
    held, waiting, completed, failed, timed out, cancelled or terminated. `due_at` is when a timer fires, `retry_at` when the next attempt is due.
    `attempts` may be fewer than `attempts_total` (the first 3 and the last 20 are kept); `max_attempts` None is
    without limit. `queue` is whose workers run it, "" the engine itself; `heartbeat_details` are the latest.
    `compensation`: a saga undoes another step by it. `task` is what more there is to say of a human task.
    """

    id: str
    kind: str
    name: str
    state: str
    scheduled_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    due_at: datetime | None = None
    retry_at: datetime | None = None
    input: Any = None
    result: Any = None
    error: ErrorView | None = None
    attempts: list[AttemptView] = []
    attempts_total: int = 0
    max_attempts: int | None = None
    compensation: bool = False
    queue: str = ""
    heartbeat_details: Any = None
    task: HumanView | None = None


class RunDescription(msgspec.Struct, frozen=True):
    """Everything about one run. `duration` in seconds, up to now while the run is open. `run_id` is hexadecimal.

    `events` counts its history. `reason` is what was given with a cancellation or termination.

    `attempt` counts the runs that continue each other after failures, `max_attempts` None is without limit; the first of
    them, the one before this and the one after it are named by their `run_id`, if they are others. Timeouts in seconds.
    `parent` has started it as its child, `root` is the first of its ancestors, `children` are what it has started itself.
    `pinned`: the build that alone may go on with it, "" is any.
    `messages` were said to it, `published` is what it shows by name.
    """

    id: str
    run_id: str
    workflow: str
    status: str
    note: str
    build: str
    started_at: datetime
    closed_at: datetime | None
    duration: float
    wake_at: datetime | None
    events: int
    input: Any = None
    result: Any = None
    error: ErrorView | None = None
    block: BlockView | None = None
    cancel_requested: bool = False
    reason: str = ""
    steps: list[StepView] = []
    attempt: int = 1
    max_attempts: int | None = 1
    first_run_id: str | None = None
    previous_run_id: str | None = None
    next_run_id: str | None = None
    request_id: str = ""
    run_timeout: float | None = None
    execution_timeout: float | None = None
    expires_at: datetime | None = None
    attributes: dict[str, Any] = {}
    memo: dict[str, Any] = {}
    parent: RunLink | None = None
    root: RunLink | None = None
    children: list[ChildView] = []
    pinned: str = ""
    messages: list[MessageView] = []
    published: dict[str, PublishedView] = {}

    @property
    def state(self) -> str:
        """`status` under its other name: the command line says state."""
        return self.status


def unended(run: RunDescription) -> list[str]:
    """Attempts of a blocked run that had not ended when its engine told of them last. That one keeps the run until they have, or
    it stops: no other code gets it before."""
    if run.block is None:
        return []
    return [
        f"attempt {step.attempts[-1].number} of {step.name} [{step.id}], in {step.attempts[-1].worker}"
        for step in run.steps
        if step.kind == "activity" and not step.queue and step.state == "running" and step.attempts
    ]


def describe(stored: Stored, members: Members, blob: Blob, now: int, coder: Coder = PLAIN) -> RunDescription:
    """Derive the description of a run from what the store holds of it; `now` in nanoseconds since the epoch."""
    row = stored.run
    history = wire.decode_history(stored.history)
    story = _Story(members(members_of(stored, history)), blob, row.closed_at, coder)
    for event in history:
        story.tell(event)
    story.attach(stored.attempts, {task.step: task for task in stored.tasks})
    if not history:
        story.begin(_queued_start(stored))
    end = row.closed_at if row.closed_at is not None else now
    return RunDescription(
        id=row.id,
        run_id=row.run_id.hex(),
        workflow=row.workflow,
        status=Status(row.status).word,
        note=row.note,
        build=row.build,
        started_at=moment(row.started_at),
        closed_at=None if row.closed_at is None else moment(row.closed_at),
        duration=max(end - row.started_at, 0) / 1e9,
        wake_at=None if row.wake_at is None else moment(row.wake_at),
        events=row.seq,
        input=story.input,
        result=story.result,
        error=story.error,
        block=None if row.block is None else block_view(wire.decode_block(row.block)),
        cancel_requested=story.cancel_requested,
        reason=story.reason,
        steps=[draft.view(now if row.closed_at is None else None) for draft in story.steps.values()],
        next_run_id=story.next_run_id,
        expires_at=None if row.expires_at is None else moment(row.expires_at),
        attributes=story.notes.attributes,
        memo=story.notes.memo,
        children=story.family.children(),
        pinned=row.pinned,
        messages=story.spoken.messages(stored.mail, row.closed_at),
        published=story.spoken.published(),
        **above(story.terms),
        **fields_of(story.terms),
    )


def history_entries(
    stored: Stored, blob: Blob | None = None, coder: Coder = PLAIN, *, first: int = 1, limit: int | None = None
) -> list[dict[str, Any]]:
    """The history as numbered, JSON-able dicts: `seq`, `at` (RFC 3339), `type`, then the event's own fields.

    `first` and `limit` are about a part of it: the number of its first event, and at most how many.
    """
    find = blob or _no_blob
    start = max(first, 1) - 1
    events = wire.decode_history(stored.history)[start : None if limit is None else start + limit]
    return [history_entry(seq, event, find, coder) for seq, event in enumerate(events, start + 1)]


def history_entry(seq: int, event: ev.HistoryEvent, blob: Blob, coder: Coder = PLAIN) -> dict[str, Any]:
    """One event of a history as `history_entries` gives it."""
    entry: dict[str, Any] = {"seq": seq, "at": rfc3339(event.at), "type": type(event).__name__}
    for field in event.__struct_fields__:
        if field != "at":
            entry[field] = _field(field, getattr(event, field), blob, coder)
    return entry


def shown(payload: ev.Payload, blob: Blob, coder: Coder = PLAIN) -> Any:
    """The value of a payload for display: JSON is parsed; what no codec at hand can read is given as base64."""
    data = payload.data
    if payload.ref:
        found = blob(data)
        if found is None:
            return {"missing": f"sha256:{data.hex()}"}
        data = found
    if payload.encoding:
        try:
            data = coder.unseal(ev.Payload(data, payload.encoding), lambda digest: data)
        except PayloadNotDecodable:
            return {"encoding": payload.encoding, "base64": base64.b64encode(data).decode("ascii")}
    try:
        return msgspec.json.decode(data) if data else None
    except msgspec.MsgspecError:
        return _leniently(data)


def _leniently(data: bytes) -> Any:
    """What a codec that is not ours has written may be read by Python's own rules: NaN, half a pair of surrogates."""
    try:
        return json.loads(data)
    except ValueError:
        return {"encoding": "damaged JSON", "base64": base64.b64encode(data).decode("ascii")}


def _no_blob(digest: bytes) -> bytes | None:
    return None


def _field(name: str, value: Any, blob: Blob, coder: Coder) -> Any:
    match value:
        case ev.Payload():
            return shown(value, blob, coder)
        case ev.Failure():
            return msgspec.to_builtins(error_view(value))
        case bytes():
            return value.hex()
        case int() if name.endswith("_at"):
            return rfc3339(value)
        case Attribute():
            return {"name": value.name, "value": None if not value.values else msgspec.to_builtins(plain(value))}
        case tuple():
            return [_field(name, each, blob, coder) for each in value]
        case msgspec.Struct():
            return {field: _field(field, getattr(value, field), blob, coder) for field in value.__struct_fields__}
        case _:
            return value


def _queued_start(stored: Stored) -> Start | None:
    """The start of a run that has not begun: it sleeps in its mail."""
    return next((mail.message for mail in stored.mail if isinstance(mail.message, Start)), None)


class _Draft:
    """A step while its story is told."""

    __slots__ = (
        "attempts",
        "claimed_by",
        "compensation",
        "due_at",
        "ended_at",
        "error",
        "heartbeat_details",
        "id",
        "input",
        "kind",
        "last",
        "max_attempts",
        "name",
        "queue",
        "result",
        "retry_at",
        "scheduled_at",
        "state",
        "tale",
    )

    def __init__(self, id: str, kind: str, name: str, state: str, at: int) -> None:
        self.id = id
        self.kind = kind
        self.name = name
        self.state = state
        self.scheduled_at = at
        self.ended_at: int | None = None
        self.due_at: int | None = None
        self.retry_at: int | None = None
        self.claimed_by = 0
        self.last: tuple[int, int, int] | None = None
        """Attempt, member and start of the attempt that ended the step."""
        self.input: Any = None
        self.result: Any = None
        self.error: ErrorView | None = None
        self.attempts: list[AttemptView] = []
        self.max_attempts: int | None = None
        self.compensation = False
        self.queue = ""
        self.heartbeat_details: Any = None
        self.tale: Tale | None = None

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    def end(self, state: str, at: int) -> None:
        self.state = state
        self.ended_at = at

    def view(self, now: int | None) -> StepView:
        started = self.attempts[0].started_at if self.attempts else None
        return StepView(
            id=self.id,
            kind=self.kind,
            name=self.name,
            state=self.state,
            scheduled_at=moment(self.scheduled_at),
            started_at=started if self.kind == "activity" else moment(self.scheduled_at),
            ended_at=None if self.ended_at is None else moment(self.ended_at),
            due_at=None if self.due_at is None else moment(self.due_at),
            retry_at=None if self.retry_at is None else moment(self.retry_at),
            input=self.input,
            result=self.result,
            error=self.error,
            attempts=self.attempts,
            attempts_total=self.attempts[-1].number if self.attempts else 0,
            max_attempts=self.max_attempts,
            compensation=self.compensation,
            queue=self.queue,
            heartbeat_details=self.heartbeat_details,
            task=None if self.tale is None else self.tale.view(now),
        )


class _Story:
    """Folds a history into drafts of steps, then gives each its attempts."""

    def __init__(self, members: Mapping[int, MemberRow], blob: Blob, closed_at: int | None, coder: Coder) -> None:
        self.members = members
        self.blob = blob
        self.coder = coder
        self.closed_at = closed_at
        self.steps: dict[str, _Draft] = {}
        self.input: Any = None
        self.result: Any = None
        self.error: ErrorView | None = None
        self.cancel_requested = False
        self.reason = ""
        self.terms: RunTerms | None = None
        self.next_run_id: str | None = None
        self.notes = Notes()
        self.family = Family()
        self.spoken = Spoken(lambda payload: shown(payload, blob, coder))

    def begin(self, start: "ev.RunStarted | Start | None") -> None:
        if start is not None:
            self.input = shown(start.input, self.blob, self.coder)
            self.terms = start.terms
            self.notes.begin(start.terms, None if start.memo is None else shown(start.memo, self.blob, self.coder))

    def tell(self, event: ev.HistoryEvent) -> None:
        match event:
            case ev.RunStarted():
                self.begin(event)
            case ev.ActivityScheduled():
                self._scheduled(event)
            case ev.ActivityCompleted() | ev.ActivityFailed():
                self._ended(event)
            case ev.TimerStarted():
                timer = self._add(event.id, "timer", "timer", "waiting", event.at)
                timer.due_at = event.due_at
            case ev.TimerFired():
                self._close(event.id, "completed", event.at)
            case ev.ActivityCancelled() | ev.TimerCancelled():
                self._close(event.id, "cancelled", event.at)
            case ev.SideEffectRecorded():
                effect = self._add(event.id, "side effect", "side effect", "completed", event.at)
                effect.ended_at = event.at
                effect.result = shown(event.value, self.blob, self.coder)
            case ev.PatchMarked():
                self._add(event.id, "patch", event.patch, "completed", event.at).ended_at = event.at
            case ev.AttributesSet():
                self.notes.set(event)
            case ev.MemoSet():
                self.notes.note(shown(event.memo, self.blob, self.coder))
            case _ if isinstance(event, HUMAN):
                self._asked(event)
            case ev.CancelRequested():
                self.cancel_requested = True
                self.reason = event.reason
            case ev.RunCompleted():
                self.result = shown(event.result, self.blob, self.coder)
            case ev.RunFailed():
                self.error = error_view(event.failure)
                self.next_run_id = None if event.continued_as is None else event.continued_as.hex()
            case ev.RunTimedOut():
                self.reason = timeout_line(event)
                self.next_run_id = None if event.continued_as is None else event.continued_as.hex()
            case ev.RunContinuedAsNew():
                self.next_run_id = event.continued_as.hex()
            case ev.RunCancelled() | ev.RunTerminated():
                self.reason = event.reason or self.reason
            case _:
                self._of_others(event)

    def _of_others(self, event: ev.HistoryEvent) -> None:
        self.spoken.tell(event)
        begun, ended = self.family.step_of(event), self.family.end_of(event)
        if begun is not None:
            draft = self._add(event.id, *begun, event.at)  # type: ignore[union-attr]
            if isinstance(event, ev.ChildScheduled | ev.ExternalSignalSent):
                draft.input = shown(event.input, self.blob, self.coder)
        elif ended is not None and event.id in self.steps:  # type: ignore[union-attr]
            draft = self.steps[event.id]  # type: ignore[union-attr]
            draft.end(ended, event.at)
            if isinstance(event, ev.ChildCompleted):
                draft.result = shown(event.result, self.blob, self.coder)
            elif isinstance(event, ev.ChildFailed):
                draft.error = None if event.failure is None else error_view(event.failure)

    def _asked(self, event: Any) -> None:
        if isinstance(event, ev.TaskOpened):
            draft = self._add(event.id, "human task", event.title, "waiting", event.at)
            draft.tale = Tale(event)
            draft.input = None if event.data is None else shown(event.data, self.blob, self.coder)
            return
        draft = self.steps.get(event.id)
        if draft is None or draft.tale is None:
            return
        draft.tale.tell(event)
        if type(event) in ENDS:
            draft.end("timed out" if isinstance(event, ev.TaskExpired) else ENDS[type(event)], event.at)
        if isinstance(event, ev.TaskCompleted):
            draft.result = shown(event.result, self.blob, self.coder)

    def _add(self, id: str, kind: str, name: str, state: str, at: int) -> _Draft:
        draft = self.steps[id] = _Draft(id, kind, name, state, at)
        return draft

    def _close(self, id: str, state: str, at: int) -> None:
        if id in self.steps:
            self.steps[id].end(state, at)

    def _scheduled(self, event: ev.ActivityScheduled) -> None:
        draft = self._add(event.id, "activity", event.name, "scheduled", event.at)
        draft.input = shown(event.input, self.blob, self.coder)
        draft.claimed_by = event.claimed_by
        draft.max_attempts = (event.retry or DEFAULT_RETRY).max_attempts or None
        draft.compensation = event.terms is not None and event.terms.compensates
        draft.queue = "" if event.terms is None else event.terms.queue

    def _ended(self, event: ev.ActivityCompleted | ev.ActivityFailed) -> None:
        draft = self.steps.get(event.id)
        if draft is None:
            return
        draft.last = (event.attempt, event.member, event.started_at)
        if isinstance(event, ev.ActivityCompleted):
            draft.end("completed", event.at)
            draft.result = shown(event.result, self.blob, self.coder)
        else:
            draft.end("timed out" if event.reason in TIMEOUTS else "failed", event.at)
            draft.error = error_view(event.failure)

    def attach(self, rows: Iterable[AttemptRow], tasks: Mapping[str, TaskRow]) -> None:
        by_step: dict[str, list[AttemptRow]] = {}
        for row in rows:
            by_step.setdefault(row.step, []).append(row)
        for draft in self.steps.values():
            if draft.kind == "activity":
                self._attempts(draft, sorted(by_step.get(draft.id, ()), key=_number))
                if draft.is_open and draft.id in tasks:
                    self._in_queue(draft, tasks[draft.id])
            if draft.is_open and self.closed_at is not None and not self.family.lives_on(draft.id):
                draft.end("cancelled", self.closed_at)
                draft.retry_at = None

    def _attempts(self, draft: _Draft, rows: Sequence[AttemptRow]) -> None:
        draft.attempts = [self._attempt(draft, row) for row in rows]
        seen = {row.attempt for row in rows}
        if draft.last is not None and draft.last[0] not in seen:
            number, member, started_at = draft.last
            ended = None if draft.ended_at is None else moment(draft.ended_at)
            draft.attempts.append(
                AttemptView(number, draft.state, self._worker(member), moment(started_at), ended, draft.error)
            )
        elif draft.claimed_by and not rows:
            state, ended = self._flying(draft)
            started = moment(draft.scheduled_at)
            draft.attempts.append(AttemptView(1, state, self._worker(draft.claimed_by), started, ended))
        if draft.is_open:
            self._open_state(draft, rows[-1] if rows else None)

    def _in_queue(self, draft: _Draft, task: TaskRow) -> None:
        """The next attempt waits for a worker, or is with one."""
        if task.details is not None:
            draft.heartbeat_details = shown(wire.decode_payload(task.details), self.blob, self.coder)
        draft.state = "running" if task.member else "scheduled"
        if task.member:
            draft.attempts = [attempt for attempt in draft.attempts if attempt.number != task.attempt]
            began = moment(task.claimed_at or draft.scheduled_at)
            draft.attempts.append(AttemptView(task.attempt, "running", self._worker(task.member), began))

    def _open_state(self, draft: _Draft, newest: AttemptRow | None) -> None:
        if newest is None:
            draft.state = "running" if draft.claimed_by else "scheduled"
            return
        draft.state = _OPEN_STATES[AttemptState(newest.state)]
        draft.retry_at = newest.retry_at if newest.state == AttemptState.WAITING else None
        failed = [attempt.error for attempt in draft.attempts if attempt.error is not None]
        draft.error = failed[-1] if failed else None

    def _flying(self, draft: _Draft) -> tuple[str, datetime | None]:
        """State and end of an attempt the store knows as started: the step or the run may have ended meanwhile."""
        ended_at = draft.ended_at if draft.ended_at is not None else self.closed_at
        return ("running", None) if ended_at is None else ("cancelled", moment(ended_at))

    def _attempt(self, draft: _Draft, row: AttemptRow) -> AttemptView:
        detail = wire.AttemptDetail() if row.detail is None else wire.decode_detail(row.detail)
        ended = None if row.ended_at is None else moment(row.ended_at)
        failure = detail.failure
        if detail.details is not None:
            draft.heartbeat_details = shown(detail.details, self.blob, self.coder)
        if row.state in (AttemptState.STARTED, AttemptState.DEFERRED):
            state, ended = self._flying(draft)
            if state == "running" and row.state == AttemptState.DEFERRED:
                state = "deferred"
        elif row.state == AttemptState.SUCCEEDED:
            state = "completed"
        elif failure is not None and failure.code == LOST:
            state = "lost"
        elif row.state == AttemptState.HELD:
            state = "held"
        elif _timed_out(failure) or (row.state == AttemptState.FAILED and draft.state == "timed out"):
            state = "timed out"
        else:
            state = "failed"
        logs = detail.logs or ev.Logs()
        return AttemptView(
            number=row.attempt,
            state=state,
            worker=self._worker(row.member),
            started_at=moment(row.started_at),
            ended_at=ended,
            error=None if failure is None else error_view(failure),
            logs=[
                LogView(moment(record.at), logging.getLevelName(record.level), record.logger, record.text)
                for record in logs.records
            ],
            logs_dropped=logs.dropped,
        )

    def _worker(self, member: int) -> str | None:
        if member <= 0:
            return None
        row = self.members.get(member)
        return f"member {member}" if row is None else f"{row.host}:{row.pid}"


def _number(row: AttemptRow) -> int:
    return row.attempt


def _timed_out(failure: ev.Failure | None) -> bool:
    return failure is not None and failure.code == TIMED_OUT


TIMEOUTS = frozenset({"timeout", "heartbeat", "schedule-to-start", "schedule-to-close"})
"""Reasons of an ActivityFailed that are time limits."""


_OPEN_STATES = {
    AttemptState.STARTED: "running",
    AttemptState.SUCCEEDED: "completed",
    AttemptState.WAITING: "retrying",
    AttemptState.HELD: "held",
    AttemptState.RELEASED: "scheduled",
    AttemptState.FAILED: "failed",
    AttemptState.DEFERRED: "deferred",
}
