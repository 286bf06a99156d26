"""Every row a store writes is derived here from the events of one commit; all stores share it.

The history itself (one row per run and commit), the run's summary row, and a row per attempt that failed, was retried
or has logs. Nothing else is stored about a run, so nothing can disagree with its events.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.limits import ATTEMPTS_FIRST, ATTEMPTS_LAST, NOTE_CHARS
from perdure.kernel.run import LOST, Run, Step, evolve


class AttemptState(enum.IntEnum):
    """Stable numbers: they are stored."""

    STARTED = 0
    SUCCEEDED = 1
    WAITING = 2
    HELD = 3
    RELEASED = 4
    FAILED = 5


class RunRow(msgspec.Struct):
    """The summary of a run: what lists show and claims look at. Times in nanoseconds since the epoch.

    `note`: what it does now, or how it ended. `block`: the encoded `Block`, if any. `seq`: events in its history.
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


class HistoryRow(msgspec.Struct):
    """The history events of one run in one commit; `seq` is the number of the first."""

    run: int
    seq: int
    events: bytes


class AttemptRow(msgspec.Struct):
    """One attempt of one step. `counted`: attempts that count against the policy, this one included."""

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


class RunRows(msgspec.Struct):
    """What one commit writes about one run. `attempts` in order: a later row of the same attempt replaces it."""

    run: RunRow
    history: HistoryRow | None
    attempts: list[AttemptRow]
    attempts_dropped: list[tuple[int, str, int]]


def project(run: Run, events: Sequence[ev.Event], seq_before: int) -> RunRows:
    """The rows for `events`, decided since the history held `seq_before` events; `run` has them folded in."""
    history: list[Any] = []
    rows = RunRows(run_row(run), None, [], [])
    for event in events:
        kind = type(event)
        if kind not in ev.STATUS:
            history.append(event)
        elif kind in _ATTEMPTS:
            _ATTEMPTS[kind](rows, run, event)
    if history:
        rows.history = HistoryRow(run.key, seq_before + 1, wire.encode(history))
    return rows


def run_row(run: Run) -> RunRow:
    """The summary of a run as it stands."""
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
        None if run.block is None else wire.encode(run.block),
        run.open_tail,
        run.strikes,
    )


def note(run: Run) -> str:
    """One line: the step the run is at, why it is blocked, or how it ended."""
    if run.outcome is not None:
        return _OUTCOME_NOTES[type(run.outcome)](run.outcome)
    if run.block is not None:
        return _clip(run.block.message)
    if run.pending:
        step = run.pending[next(reversed(run.pending))]
        text = _step_note(step)
        return text if len(run.pending) == 1 else f"{text} +{len(run.pending) - 1:,}"
    if run.timers:
        return "timer" if len(run.timers) == 1 else f"{len(run.timers):,} timers"
    return ""


def _step_note(step: Step) -> str:
    if step.held is not None:
        return f"{step.name} held by a bug"
    if step.attempt <= 1 and not step.rows:
        return step.name
    most = step.retry.max_attempts
    return f"{step.name} {step.attempt}/{most}" if most else f"{step.name} ×{step.attempt}"


def _clip(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= NOTE_CHARS else line[: NOTE_CHARS - 1] + "…"


def _result_note(event: ev.RunCompleted) -> str:
    payload = event.result
    if payload.encoding or payload.ref:
        return ""
    return _clip(payload.data[: 4 * (NOTE_CHARS + 1)].decode("utf-8", "replace"))  # a character has up to 4 bytes


def failure_line(failure: ev.Failure) -> str:
    """The exception in one line, by its bare class name."""
    name = failure.type.rpartition(".")[2]
    return _clip(f"{name}: {failure.message}" if failure.message else name)


_OUTCOME_NOTES: dict[type, Callable[[Any], str]] = {
    ev.RunCompleted: _result_note,
    ev.RunFailed: lambda event: failure_line(event.failure),
    ev.RunCancelled: lambda event: _clip(event.reason),
    ev.RunTerminated: lambda event: _clip(event.reason),
}


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
            wire.encode(wire.AttemptDetail(event.failure, event.logs if event.logs.records else None, event.build)),
        )
    )


def _attempt_released(rows: RunRows, run: Run, event: ev.AttemptReleased) -> None:
    """Only the state of an existing row changes: `member` -1 stands for "keep the rest"."""
    rows.attempts.append(AttemptRow(run.key, event.id, event.attempt, AttemptState.RELEASED, KEEP, event.at))


KEEP = -1
"""As `AttemptRow.member`: update `state` and clear `retry_at` of the existing row, keep everything else."""

_ATTEMPTS: dict[type, Callable[[RunRows, Run, Any], None]] = {
    ev.AttemptStarted: _attempt_started,
    ev.AttemptSucceeded: _attempt_succeeded,
    ev.AttemptFailed: _attempt_failed,
    ev.AttemptReleased: _attempt_released,
}


def restore(row: RunRow, history: Sequence[ev.HistoryEvent], attempts: Sequence[AttemptRow]) -> Run:
    """The run as it stood: its history folded, then the newest attempt of each step that is still pending."""
    run = Run(row.key, row.id)
    run.workflow = row.workflow
    run.run_id = row.run_id
    run.build = row.build
    run.started_at = row.started_at
    for event in history:
        evolve(run, event)
    for attempt in sorted(attempts, key=_number):
        step = run.pending.get(attempt.step)
        if step is not None:
            _recall(step, attempt)
    run.recount()
    if row.block is not None and run.is_open:
        run.block = wire.decode_block(row.block)
    run.open_tail = row.open_tail
    run.strikes = row.strikes
    return run


def _number(attempt: AttemptRow) -> int:
    return attempt.attempt


def _recall(step: Step, attempt: AttemptRow) -> None:
    detail = wire.decode_detail(attempt.detail) if attempt.detail is not None else wire.AttemptDetail()
    step.rows = True
    step.attempt = attempt.attempt
    step.started_at = attempt.started_at
    step.counted = attempt.counted
    step.member = attempt.member if attempt.state == AttemptState.STARTED else 0
    step.retry_at = attempt.retry_at if attempt.state == AttemptState.WAITING else None
    step.held = detail.build if attempt.state == AttemptState.HELD else None
    if detail.failure is not None:  # an attempt that has only started says nothing about those before it
        step.losses = step.losses + 1 if detail.failure.code == LOST else 0
