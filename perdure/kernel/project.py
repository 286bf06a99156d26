"""Every row a store writes is derived here from the events of one commit; all stores share it.

The history itself (one row per run and commit), the run's summary row, a row per attempt that failed, was retried
or has logs, and one per attempt that waits for a worker, or is with one; a row per update that was accepted, and per name
under which a value is published; and one per open human task. Nothing else is stored about a run, so nothing can disagree with its events.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.attributes import Attribute
from perdure.kernel.human_rows import HumanTaskRow, rows_of
from perdure.kernel.limits import ATTEMPTS_FIRST, ATTEMPTS_LAST
from perdure.kernel.messages import Start
from perdure.kernel.notes import held_by, note
from perdure.kernel.run import LOST, Run, Status, evolve
from perdure.kernel.step import OUT, Step
from perdure.kernel.streams import ChunkRow, chunk_rows


class AttemptState(enum.IntEnum):
    """Stable numbers: they are stored."""

    STARTED = 0
    SUCCEEDED = 1
    WAITING = 2
    HELD = 3
    RELEASED = 4
    FAILED = 5
    DEFERRED = 6


class UpdateState(enum.IntEnum):
    """Stable numbers: they are stored."""

    ACCEPTED = 0
    COMPLETED = 1
    FAILED = 2


class RunRow(msgspec.Struct):
    """The summary of a run: what lists show and claims look at. Times in nanoseconds since the epoch.

    `note`: what it does now, or how it ended. `block`: the encoded `Block`, if any; of a run that is held, the reason why
    timers cannot help it (a compensation is held). `seq`: events in its history.

    `followed_by` orders the runs of an id: the key of the next one, 0 of the newest; below 0 while the run waits to take
    the place of the newest (`unplaced`). `chain`: the key of the run this one continues, by way of any others, or 0.
    `request` names the request that made it. `expires_at`: when it is ended, whatever it does then.
    `parent` and `root`: the keys of the run that has started it as its child, and of the first of its ancestors, or 0.
    `pinned`: the build that alone may go on with it, "" is any.
    """

    key: int
    id: str
    run_id: bytes
    workflow: str
    status: int
    note: str
    build: str
    started_at: int
    closed_at: int | None
    wake_at: int | None
    seq: int
    block: bytes | None = None
    open_tail: bool = False
    strikes: int = 0
    followed_by: int = 0
    chain: int = 0
    request: str = ""
    expires_at: int | None = None
    parent: int = 0
    root: int = 0
    pinned: str = ""


def unplaced(key: int) -> int:
    """As `RunRow.followed_by`: the run is not among those of its id yet. The owner places it when it ends the newest."""
    return -key


class HistoryRow(msgspec.Struct):
    """The history events of one run in one commit; `seq` is the number of the first."""

    run: int
    seq: int
    events: bytes


class AttemptRow(msgspec.Struct):
    """One attempt of one step. `counted`: attempts that count against the policy, this one included.

    `retry_at` of one that waits is when the next is due, of one that is released since when it may begin, and of one
    that is deferred when it is too late.
    """

    run: int
    step: str
    attempt: int
    state: int
    member: int
    started_at: int
    ended_at: int | None = None
    retry_at: int | None = None
    counted: int = 0
    detail: bytes | None = None


class TaskRow(msgspec.Struct):
    """The next attempt of a step whose queue other processes serve; at most one per step.

    `start_by` is when that is too late; `body` an encoded `wire.Task`. `member` is the worker that has taken it, 0 nobody,
    since `claimed_at`; `details` are those of the latest heartbeat, an encoded Payload. These three are written by workers,
    and are 0 and None in what a commit writes.
    """

    run: int
    step: str
    attempt: int
    queue: str
    name: str
    start_by: int | None
    body: bytes
    member: int = 0
    claimed_at: int | None = None
    details: bytes | None = None


class UpdateRow(msgspec.Struct):
    """An update that a run has accepted. `detail`: its result, an encoded Payload, or the Failure it ended in."""

    run: int
    id: str
    name: str
    state: int
    accepted_at: int
    ended_at: int | None = None
    detail: bytes | None = None


class PublishedRow(msgspec.Struct):
    """The newest value that a run shows under a name, an encoded Payload."""

    run: int
    name: str
    at: int
    value: bytes


class RunRows(msgspec.Struct):
    """What one commit writes about one run. `attempts` in order: a later row of the same attempt replaces it.

    `tasks_gone` are steps that have no task any more; then come the `tasks`, each in the place of an earlier one of its
    step. `all_tasks_gone`: the run has ended. `attributes`, `updates` and `published` in order: a later one replaces an
    earlier one of its name, or id.
    `moved`: it is pinned to another build now.

    `human` and `human_gone` are the same of human tasks; when the run has ended it has none, as the row of the run says.
    """

    run: RunRow
    history: HistoryRow | None
    attempts: list[AttemptRow]
    attempts_dropped: list[tuple[int, str, int]]
    tasks_gone: list[tuple[int, str]] = []
    tasks: list[TaskRow] = []
    all_tasks_gone: bool = False
    attributes: tuple[tuple[int, Attribute], ...] = ()
    chunks: tuple[ChunkRow, ...] = ()
    moved: bool = False
    human: list[HumanTaskRow] = []
    human_gone: list[tuple[int, str]] = []

    updates: tuple[UpdateRow, ...] = ()
    published: tuple[PublishedRow, ...] = ()


def project(run: Run, events: Sequence[ev.Event], seq_before: int) -> RunRows:
    """The rows for `events`, decided since the history held `seq_before` events; `run` has them folded in."""
    history: list[Any] = []
    rows = RunRows(run_row(run), None, [], [])
    for event in events:
        kind = type(event)
        if kind not in ev.STATUS:
            history.append(event)
            if kind in _BESIDE:
                _BESIDE[kind](rows, run, event)
        elif kind in _ATTEMPTS:
            _ATTEMPTS[kind](rows, run, event)
        elif kind is ev.ChunksMade:
            chunks = [wire.Chunk(event.at, value) for value in event.chunks]  # type: ignore[union-attr]
            rows.chunks += tuple(chunk_rows(run.key, event.stream, chunks, event.closes))  # type: ignore[union-attr]
    if history:
        rows.history = HistoryRow(run.key, seq_before + 1, wire.encode(history))
    if run.queued:
        _task_rows(rows, run, events)
    if run.people is not None:
        rows.human, rows.human_gone = rows_of(run, events)
    return rows


_ATTRIBUTES: dict[type, Callable[[Any], Sequence[Attribute]]] = {
    ev.RunStarted: lambda event: () if event.terms is None else event.terms.attributes,
    ev.AttributesSet: lambda event: event.attributes,
}


def _attributes_changed(rows: RunRows, run: Run, event: Any) -> None:
    rows.attributes += tuple((run.key, each) for each in attributes_in(event))


def _update_accepted(rows: RunRows, run: Run, event: ev.UpdateAccepted) -> None:
    rows.updates += (UpdateRow(run.key, event.id, event.name, UpdateState.ACCEPTED, event.at),)


def _update_answered(rows: RunRows, run: Run, event: ev.UpdateCompleted | ev.UpdateFailed) -> None:
    name, accepted_at = (run.updates or {}).get(event.id, ("", event.at))
    if isinstance(event, ev.UpdateCompleted):
        state, detail = UpdateState.COMPLETED, wire.encode(event.result)
    else:
        state, detail = UpdateState.FAILED, wire.encode(event.failure)
    rows.updates += (UpdateRow(run.key, event.id, name, state, accepted_at, event.at, detail),)


def _published(rows: RunRows, run: Run, event: ev.Published) -> None:
    rows.published += (PublishedRow(run.key, event.name, event.at, wire.encode(event.value)),)


def _moved(rows: RunRows, run: Run, event: ev.RunMoved) -> None:
    rows.moved = True


_BESIDE: dict[type, Callable[[RunRows, Run, Any], None]] = {
    ev.RunStarted: _attributes_changed,
    ev.AttributesSet: _attributes_changed,
    ev.UpdateAccepted: _update_accepted,
    ev.UpdateCompleted: _update_answered,
    ev.UpdateFailed: _update_answered,
    ev.Published: _published,
    ev.RunMoved: _moved,
}


def attributes_in(event: ev.Event) -> Sequence[Attribute]:
    """What an event changes of the run's attributes."""
    find = _ATTRIBUTES.get(type(event))
    return () if find is None else find(event)


def _task_rows(rows: RunRows, run: Run, events: Sequence[ev.Event]) -> None:
    """Steps that these events were about: those that are out now have a task, the others have none."""
    if not run.is_open:
        rows.all_tasks_gone = True
        return
    touched = {event.id: None for event in events if type(event) in _TASK_EVENTS}  # type: ignore[union-attr]
    for id in touched:
        step = run.pending.get(id)
        if step is not None and step.member == OUT:
            rows.tasks.append(task_row(run, step))
        else:
            rows.tasks_gone.append((run.key, id))


_TASK_EVENTS = frozenset(
    {ev.ActivityScheduled, ev.ActivityCompleted, ev.ActivityFailed, ev.ActivityCancelled}
    | {ev.AttemptReleased, ev.AttemptFailed, ev.AttemptDeferred}
)


def task_row(run: Run, step: Step) -> TaskRow:
    """The task of a step that is out."""
    body = wire.encode(task_of(run, step))
    return TaskRow(run.key, step.id, step.attempt, step.queue, step.name, step.start_by, body)


def task_of(run: Run, step: Step) -> wire.Task:
    """What whoever runs the step's attempt has to know."""
    if step.terms is None:  # nearly all
        return wire.Task(
            run.id,
            run.run_id,
            run.workflow,
            step.input,
            step.scheduled_at,
            step.timeout_ns,
            None,
            None,
            step.details,
        )
    return wire.Task(
        run.id,
        run.run_id,
        run.workflow,
        step.input,
        step.scheduled_at,
        step.timeout_ns,
        step.heartbeat_ns,
        step.expires_at,
        step.details,
        step.queue,
    )


def run_row(run: Run) -> RunRow:
    """The summary of a run as it stands."""
    parent = None if run.terms is None else run.terms.parent
    return RunRow(
        run.key,
        run.id,
        run.run_id,
        run.workflow,
        run.status,
        note(run),
        run.build,
        run.started_at,
        run.closed_at or None,
        run.wake_at(),
        run.seq,
        None if run.block is None and not run.held else _block(run),
        run.open_tail,
        run.strikes,
        0,
        run.chain,
        "" if run.terms is None else run.terms.request_id,
        run.expires_at,
        0 if parent is None else parent.key,
        0 if parent is None else parent.root,
        run.pinned,
    )


def _block(run: Run) -> bytes | None:
    if run.block is not None:
        return wire.encode(run.block)
    step = run.unhelped if run.held else None
    return None if step is None else wire.encode(_held_compensation(run, step))


def _held_compensation(run: Run, step: Step) -> ev.Block:
    failure = step.failure
    by_bug = failure is None or failure.is_bug
    tries = "1 attempt" if step.attempt == 1 else f"{step.attempt:,} attempts"
    return ev.Block(
        kind="held",
        build=step.held or "",
        message=f"compensation {step.name} "
        + (f"is held by a bug: {held_by(step)}" if by_bug else f"failed after {tries}: {held_by(step)}"),
        hint=f"{'mend it and start it again, or' if by_bug else 'put right what stops it, then'}: perdure retry {run.id}",
        failure=failure,
    )


def _attempt_started(rows: RunRows, run: Run, event: ev.AttemptStarted) -> None:
    step = run.pending.get(event.id)
    rows.attempts.append(
        AttemptRow(
            run.key,
            event.id,
            event.attempt,
            AttemptState.STARTED,
            event.member,
            event.at,
            counted=step.counted if step is not None else 0,
        )
    )
    _drop(rows, run, event)


def _drop(rows: RunRows, run: Run, event: "ev.AttemptStarted | ev.AttemptFailed") -> None:
    """Of each step the first and the last attempts are kept."""
    drop = event.attempt - ATTEMPTS_LAST
    if drop > ATTEMPTS_FIRST:
        rows.attempts_dropped.append((run.key, event.id, drop))


def _attempt_succeeded(rows: RunRows, run: Run, event: ev.AttemptSucceeded) -> None:
    detail = wire.encode(wire.AttemptDetail(logs=event.logs)) if event.logs.records else None
    rows.attempts.append(
        AttemptRow(
            run.key,
            event.id,
            event.attempt,
            AttemptState.SUCCEEDED,
            event.member,
            event.started_at,
            event.at,
            detail=detail,
        )
    )


def _attempt_failed(rows: RunRows, run: Run, event: ev.AttemptFailed) -> None:
    if event.held:
        state = AttemptState.HELD
    else:
        state = AttemptState.FAILED if event.retry_at is None else AttemptState.WAITING
    step = run.pending.get(event.id)
    logs = event.logs if event.logs.records else None
    details = event.details if step is None else step.details  # those of an earlier attempt too
    rows.attempts.append(
        AttemptRow(
            run.key,
            event.id,
            event.attempt,
            state,
            event.member,
            event.started_at,
            event.at,
            event.retry_at,
            step.counted if step is not None else 0,
            wire.encode(wire.AttemptDetail(event.failure, logs, event.build, details)),
        )
    )
    if step is not None and step.queue:
        _drop(rows, run, event)  # of an attempt elsewhere it is not told when it begins


def _attempt_released(rows: RunRows, run: Run, event: ev.AttemptReleased) -> None:
    """Only the state of an existing row changes: `member` -1 stands for "keep the rest"."""
    rows.attempts.append(AttemptRow(run.key, event.id, event.attempt, AttemptState.RELEASED, KEEP, 0, None, event.at))


def _attempt_beat(rows: RunRows, run: Run, event: ev.AttemptBeat) -> None:
    step = run.pending.get(event.id)
    if step is None or step.attempt != event.attempt:
        return  # it has ended since: what there is to tell of it comes with its end
    deferred = step.deferred
    rows.attempts.append(
        AttemptRow(
            run.key,
            event.id,
            event.attempt,
            AttemptState.DEFERRED if deferred else AttemptState.STARTED,
            event.member,
            step.started_at,
            None,
            event.due_at,
            step.counted,
            wire.encode(wire.AttemptDetail(logs=step.logs if deferred else None, details=step.details)),
        )
    )


def _attempt_deferred(rows: RunRows, run: Run, event: ev.AttemptDeferred) -> None:
    step = run.pending.get(event.id)
    logs = event.logs if event.logs.records else None
    rows.attempts.append(
        AttemptRow(
            run.key,
            event.id,
            event.attempt,
            AttemptState.DEFERRED,
            event.member,
            event.started_at,
            None,
            event.due_at,
            step.counted if step is not None else 0,
            wire.encode(wire.AttemptDetail(logs=logs, details=event.details if step is None else step.details)),
        )
    )


KEEP = -1
"""As `AttemptRow.member`: update `state` and `retry_at` of the existing row, keep everything else."""

_ATTEMPTS: dict[type, Callable[[RunRows, Run, Any], None]] = {
    ev.AttemptStarted: _attempt_started,
    ev.AttemptSucceeded: _attempt_succeeded,
    ev.AttemptFailed: _attempt_failed,
    ev.AttemptReleased: _attempt_released,
    ev.AttemptBeat: _attempt_beat,
    ev.AttemptDeferred: _attempt_deferred,
}


def queue(run: Run, start: Start, now: int, begin_at: int | None) -> None:
    """The run is there, and begins later: at that time, or, None, when its start is read."""
    run.workflow = start.workflow
    run.run_id = start.run_id
    run.started_at = now
    run.begin_at = begin_at
    run.terms = start.terms


def restore(row: RunRow, history: Sequence[ev.HistoryEvent], attempts: Sequence[AttemptRow]) -> Run:
    """The run as it stood: its history folded, then the newest attempt of each step that is still pending."""
    run = Run(row.key, row.id, row.chain)
    run.workflow = row.workflow
    run.run_id = row.run_id
    run.build = row.build
    run.started_at = row.started_at
    run.begin_at = None if row.seq else row.wake_at
    for event in history:
        evolve(run, event)
    for attempt in sorted(attempts, key=_number):
        step = run.pending.get(attempt.step)
        if step is not None:
            _recall(step, attempt)
    run.recount()
    if row.block is not None and run.is_open and row.status != Status.HELD:
        run.block = wire.decode_block(row.block)
        run.begin_at = None if row.seq else run.block.begin_at
    run.open_tail = row.open_tail
    run.strikes = row.strikes
    return run


def _number(attempt: AttemptRow) -> int:
    return attempt.attempt


def _recall(step: Step, attempt: AttemptRow) -> None:
    detail = wire.decode_detail(attempt.detail) if attempt.detail is not None else wire.AttemptDetail()
    state = attempt.state
    step.rows = True
    step.attempt = attempt.attempt
    step.started_at = attempt.started_at
    step.counted = attempt.counted
    step.deferred = state == AttemptState.DEFERRED
    step.member = attempt.member if step.deferred or state == AttemptState.STARTED else 0
    step.retry_at = attempt.retry_at if state == AttemptState.WAITING else None
    step.close_by = attempt.retry_at if step.deferred else None
    step.held = detail.build if state == AttemptState.HELD else None
    step.start_by = None
    step.logs = (detail.logs or ev.Logs()) if step.deferred else None
    step.details = detail.details or step.details
    if detail.failure is not None:  # an attempt that has only started says nothing about those before it
        step.failure = detail.failure
        step.losses = step.losses + 1 if detail.failure.code == LOST else 0
    if state == AttemptState.RELEASED:
        step.ready(attempt.retry_at or attempt.started_at)
    elif state == AttemptState.STARTED and step.queue:
        step.member = OUT  # a worker has it: which one, the task knows
