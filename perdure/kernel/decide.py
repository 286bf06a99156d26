"""What a message or a command makes of a run: the events. The only place that refuses.

`decide` is pure: the time, the member that was granted a slot and the build of the code come in as values.
Messages that may cause several delivered events (Wake, Takeover) are decided again and again until nothing is left,
so that a program sees each event before the next one is decided.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.kernel import asking, overdue, relations
from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.continuing import RUN_TIMED_OUT, retried_as
from perdure.kernel.limits import END_OF_TIME, PENDING_COMMANDS, STRIKES
from perdure.kernel.policy import delay_ns, exhausted, is_listed
from perdure.kernel.refused import Refused
from perdure.kernel.run import CRASHED, LOST, Run
from perdure.kernel.step import OUT, Step
from perdure.kernel.terms import RunTerms

_NOTHING: tuple[ev.Event, ...] = ()
_NO_LOGS = ev.Logs()


def must_wait(run: Run, message: msg.Message) -> bool:
    """Whether the message has to stay in the mailbox: the run is blocked and its program would have to see it."""
    return run.block is not None and type(message) in FOR_THE_PROGRAM


FOR_THE_PROGRAM = frozenset(
    {msg.Start, msg.AttemptEnded, msg.Complete, msg.Cancel, msg.Signal, msg.Takeover, msg.GrantSlot}
    | {msg.ChildAnswered, msg.ChildEnded, msg.ExternalReplied}
    | {msg.ClaimTask, msg.ReleaseTask, msg.CompleteTask}  # what is told of a task comes in order
)
REPEATED = frozenset({msg.Wake, msg.Takeover})
"""Messages to be decided again until they have nothing left to say."""


def decide(run: Run, message: msg.Message, now: int) -> tuple[ev.Event, ...] | list[ev.Event]:
    """The events a message causes, up to and including the first one the program must see; with a start also those that it
    is shown together with.

    Raises:
        Refused: the message cannot be taken by a run in this state.
    """
    return _MESSAGES[type(message)](run, message, now)


def decide_command(run: Run, command: cmd.Command, now: int, claimed_by: int = 0) -> ev.HistoryEvent:
    """The event that records a command. `claimed_by` is the member granted a slot for a scheduled activity, or 0.

    Raises:
        Refused: the run has too many unresolved commands.
    """
    return _COMMANDS[type(command)](run, command, now, claimed_by)


def _start(run: Run, message: msg.Start, now: int) -> tuple[ev.Event, ...]:
    if run.seq:
        return _NOTHING
    start, spoken = message, message.spoken
    begun = ev.RunStarted(
        now, start.workflow, start.input, start.run_id, start.build, start.terms, start.memo, len(spoken)
    )
    return (begun, *(_heard(each, now) for each in spoken))


def _heard(message: msg.Signal | msg.Update, now: int) -> ev.SignalReceived | ev.UpdateAccepted:
    if isinstance(message, msg.Update):
        return ev.UpdateAccepted(now, message.id, message.name, message.input)
    return ev.SignalReceived(now, message.name, message.input, message.request_id)


def _attempt_ended(run: Run, message: msg.AttemptEnded, now: int) -> tuple[ev.Event, ...]:
    step = run.pending.get(message.id)
    if step is None or not step.member or step.deferred:
        return _NOTHING  # resolved, or nobody runs it now: the result comes too late
    if step.attempt != message.attempt or step.member not in (message.member, OUT):
        return _NOTHING
    if message.deferred:
        return (_deferred(step, message, now),)
    if message.failure is not None:
        return _attempt_failed(run, step, message, message.failure, now)
    assert message.result is not None
    return _completed(step, message, message.result, now)


def _completed(step: Step, message: msg.AttemptEnded, result: ev.Payload, now: int) -> tuple[ev.Event, ...]:
    completed = ev.ActivityCompleted(now, message.id, result, message.started_at, message.attempt, message.member)
    if not step.rows and message.logs is None:
        return (completed,)
    kept = ev.AttemptSucceeded(
        now, message.id, message.attempt, message.member, message.started_at, message.logs or _NO_LOGS
    )
    return (kept, completed)


def _deferred(step: Step, message: msg.AttemptEnded, now: int) -> ev.AttemptDeferred:
    return ev.AttemptDeferred(
        at=now,
        id=step.id,
        attempt=message.attempt,
        member=message.member,
        started_at=message.started_at,
        logs=message.logs or _NO_LOGS,
        details=message.details,
        due_at=_close_by(step, message.started_at, now),
    )


def _close_by(step: Step, started_at: int, heard_at: int) -> int | None:
    """When an attempt that nobody here runs is too late: it took too long, or was not heard of."""
    limits = [(started_at, step.timeout_ns), (heard_at, step.heartbeat_ns)]
    return min((min(at + ns, END_OF_TIME) for at, ns in limits if ns is not None), default=None)


def _complete(run: Run, message: msg.Complete, now: int) -> tuple[ev.Event, ...]:
    """The result may come before the function has returned: its own end is too late then."""
    step = _held_by_token(run, message)
    ended = msg.AttemptEnded(
        step.id, step.attempt, max(step.member, 0), step.started_at, message.result, message.failure, step.logs
    )
    if message.failure is not None:
        return _attempt_failed(run, step, ended, message.failure, now)
    assert message.result is not None
    return _completed(step, ended, message.result, now)


def _heartbeat(run: Run, message: msg.Heartbeat, now: int) -> tuple[ev.Event, ...]:
    step = run.pending.get(message.id)
    if not message.member:
        step = _held_by_token(run, message)
    elif step is None or step.attempt != message.attempt or step.member != message.member:
        return _NOTHING
    due_at = _close_by(step, step.started_at, now) if step.deferred else None
    return (ev.AttemptBeat(now, step.id, step.attempt, max(step.member, 0), message.details, due_at),)


def _held_by_token(run: Run, message: msg.Complete | msg.Heartbeat) -> Step:
    """The step whose attempt the token stands for.

    Raises:
        Refused: it has ended, by this token or otherwise.
    """
    step = run.pending.get(message.id)
    if step is None or not step.member or step.attempt != message.attempt:
        ended = "the run has ended" if not run.is_open else f"attempt {message.attempt} of it has ended"
        if step is not None and step.attempt == message.attempt:
            ended += " in a failure, and the next one has a token of its own"
        raise Refused("token-refused", f"the token is of no use any more: {ended}; a token can be used once")
    return step


def _task_taken(run: Run, message: msg.TaskTaken, now: int) -> tuple[ev.Event, ...]:
    step = run.pending.get(message.id)
    if step is None or step.member != OUT or step.attempt != message.attempt:
        return _NOTHING
    return (ev.AttemptStarted(now, message.id, message.attempt, message.member),)


def _attempt_failed(
    run: Run, step: Step, message: msg.AttemptEnded, failure: ev.Failure, now: int
) -> tuple[ev.Event, ...]:
    policy = step.retry
    held = failure.is_bug and policy.bugs == "hold" and not policy.at_most_once
    retry_at = min(now + _delay_ns(run, step, failure), END_OF_TIME)
    final = None if held else _final_reason(step, failure, message, retry_at)
    if final is not None and policy.exhausted == "hold" and final not in _TOO_LATE:
        held, final = True, None
    failed = ev.AttemptFailed(
        at=now,
        id=message.id,
        attempt=message.attempt,
        member=message.member,
        started_at=message.started_at,
        failure=failure,
        logs=message.logs or _NO_LOGS,
        retry_at=None if held or final else retry_at,
        held=held,
        build=message.build,
        details=message.details,
    )
    if final is None:
        return (failed,)
    if final == "no-time" and step.expires_at is not None and now >= step.expires_at:
        return (failed, _given_up(step, overdue.expired(step, failure), "schedule-to-close", now))
    details = message.details or step.details
    return (
        failed,
        ev.ActivityFailed(
            now, message.id, failure, message.started_at, message.attempt, message.member, final, details
        ),
    )


_TOO_LATE = frozenset({"no-time", "schedule-to-close"})
"""Reasons after which no attempt could begin in time, so that it makes no sense to hold one."""


def _final_reason(step: Step, failure: ev.Failure, message: msg.AttemptEnded, retry_at: int) -> str | None:
    """Why there is no further attempt; None if there is one."""
    policy = step.retry
    ran_out = ("heartbeat" if message.silent else "timeout") if message.timed_out else None
    if policy.at_most_once:
        return "unknown" if ran_out or failure.code in (LOST, CRASHED) else "failed"
    if failure.is_bug and policy.bugs == "fail":
        return "failed"
    if failure.non_retryable or is_listed(failure.type, policy.non_retryable):
        return "failed"
    if exhausted(policy, step.counted + 1):
        return ran_out or "exhausted"
    if step.expires_at is not None and retry_at >= step.expires_at:
        return "no-time"
    return None


def _delay_ns(run: Run, step: Step, failure: ev.Failure) -> int:
    if failure.retry_after_ns is not None:
        return failure.retry_after_ns
    if failure.code == LOST and step.losses == 0:
        return 0  # the process died, probably not through this step; if it dies again, the policy slows it down
    return delay_ns(step.retry, step.counted + 1, f"{run.id}:{step.id}")


def _cancel(run: Run, message: msg.Cancel, now: int) -> tuple[ev.Event, ...]:
    _refuse_closed(run)
    return _NOTHING if run.cancel_requested else (ev.CancelRequested(now, message.reason),)


def _terminate(run: Run, message: msg.Terminate, now: int) -> tuple[ev.Event, ...]:
    _refuse_closed(run)
    return (ev.RunTerminated(now, message.reason),)


def _signal(run: Run, message: msg.Signal, now: int) -> tuple[ev.Event, ...]:
    if run.has_received(message.request_id):
        return _NOTHING
    _refuse_closed(run)
    return (_heard(message, now),)


def _update(run: Run, message: msg.Update, now: int) -> tuple[ev.Event, ...]:
    if knows_update(run, message.id):
        demand_same(run, message, run.updates[message.id][0] if run.updates else message.name)
        return _NOTHING
    _refuse_closed(run)
    if run.block is not None:
        raise Refused(
            "run-blocked",
            f"run {run.id!r} is {run.status.word} and cannot say whether it accepts an update: {run.block.message}\n"
            f"  hint: {run.block.hint}",
        )
    return (_heard(message, now),)


def demand_same(run: Run, message: msg.Update, name: str) -> None:
    """Whoever sends another update under the id of one would take its answer for that of the other.

    Raises:
        Refused: the run, or one that it continues, has accepted an update of that id and another name.
    """
    if name != message.name:
        raise Refused(
            "invalid-arguments",
            f"run {run.id!r} knows {message.id!r} as the id of an update {name!r}, and cannot take an update {message.name!r} under "
            "it; give each request an id of its own",
        )


def knows_update(run: Run, id: str) -> bool:
    """Whether an update of that id was accepted before: sent again, it has the same answer."""
    return run.updates is not None and id in run.updates


def _retry(run: Run, message: msg.Retry, now: int) -> list[ev.Event]:
    _refuse_closed(run)
    if run.block is not None and run.block.kind == "pinned":
        raise Refused("run-pinned", f"run {run.id!r} {run.block.message}; {run.block.hint}")
    events: list[ev.Event] = []
    for step in run.pending.values():
        if step.held is not None or step.retry_at is not None:
            events.append(ev.AttemptReleased(now, step.id, step.attempt))
    if run.block is not None:
        events.append(ev.RunReleased(now))  # last: the program may answer at once, and end the run or cancel steps
    return events


def _move(run: Run, message: msg.Move, now: int) -> list[ev.Event]:
    """The caller has shown the history to the code of that build."""
    _refuse_closed(run)
    if not run.pinned or run.pinned == message.build:
        return []
    events: list[ev.Event] = [ev.RunMoved(now, message.build)]
    if run.block is not None and run.block.kind not in BY_HAND:
        events.append(ev.RunReleased(now))  # last, as in `_retry`
    return events


BY_HAND = frozenset({"quarantined", "imported"})
"""Blocks that only an operator releases, whichever code there is."""


def _new_build(run: Run, message: msg.NewBuild, now: int) -> list[ev.Event]:
    if run.pinned and run.pinned != message.build:
        return []
    events: list[ev.Event] = []
    for step in run.pending.values():
        if step.held is not None and step.held != message.build and not step.queue:
            events.append(ev.AttemptReleased(now, step.id, step.attempt))
    if run.block is not None and run.block.kind not in BY_HAND and run.block.build != message.build:
        events.append(ev.RunReleased(now))  # last, as in `_retry`
    return events


def _new_code(run: Run, message: msg.NewCode, now: int) -> list[ev.Event]:
    return [
        ev.AttemptReleased(now, step.id, step.attempt)
        for step in run.pending.values()
        if step.queue
        and step.held is not None
        and message.held_by in (None, step.held)
        and _can_do(message.workers, step)
    ]


def _can_do(workers: tuple[msg.Code, ...], step: Step) -> bool:
    """Whether one of them serves the queue of a held step with other code than the one that failed."""
    return any(step.queue in code.queues and step.name in code.names and step.held != code.build for code in workers)


def _wake(run: Run, message: msg.Wake, now: int) -> list[ev.Event]:
    """Everything that is due, in order of its time, up to the first event that the program must see; of a run that is
    blocked only its end."""
    expires_at = run.expires_at
    if expires_at is None or expires_at > now:
        return [] if run.block is not None else _due_events(run, now, now)
    if not run.is_open or not run.seq:
        return []
    events = [] if run.block is not None else _due_events(run, expires_at, now)
    if not events or type(events[-1]) not in ev.DELIVERED:
        events.append(_timed_out(run, run.terms, expires_at, now))
    return events


def _timed_out(run: Run, terms: RunTerms | None, expires_at: int, now: int) -> ev.RunTimedOut:
    assert terms is not None
    if terms.execution_ends_at(run.started_at) == expires_at:
        return ev.RunTimedOut(now, "execution", terms.execution_timeout_ns or 0)
    next_attempt = retried_as(run, ev.Failure(RUN_TIMED_OUT, ""), now)
    return ev.RunTimedOut(now, "run", terms.run_timeout_ns or 0, next_attempt)


def _due_events(run: Run, until: int, now: int) -> list[ev.Event]:
    events: list[ev.Event] = []
    done: set[str] = set()
    for at, id in _due(run, until):
        if run.timers.get(id) == at:
            events.append(ev.TimerFired(now, id))
            break
        task = run.human_task(id)
        if task is not None:
            events.append(asking.due(task, at, now))
            break
        if id in done:
            continue  # only what is not changed by an event that is not folded yet
        done.add(id)
        events += _due_in(run, run.pending[id], at, now)
        if type(events[-1]) is ev.ActivityFailed:
            break
    return events


def _due_in(run: Run, step: Step, at: int, now: int) -> tuple[ev.Event, ...]:
    """What the clock does to a step."""
    if at == step.expires_at:
        return _expired(step, now)
    if at == step.start_by:
        return (_given_up(step, overdue.not_begun(step), "schedule-to-start", now),)
    if at == step.close_by:
        silent = step.timeout_ns is None or step.started_at + step.timeout_ns > at
        failure = overdue.silent(step.heartbeat_ns or 0) if silent else overdue.too_long(step.timeout_ns or 0)
        ended = msg.AttemptEnded(
            step.id, step.attempt, step.member, step.started_at, None, failure, step.logs, True, silent=silent
        )
        return _attempt_failed(run, step, ended, failure, now)
    return (ev.AttemptReleased(now, step.id, step.attempt),)


def _expired(step: Step, now: int) -> tuple[ev.Event, ...]:
    """Whatever becomes of an attempt that is under way, it comes too late."""
    failure = overdue.expired(step)
    reason = "unknown" if step.retry.at_most_once and step.member else "schedule-to-close"
    given_up = _given_up(step, failure, reason, now)
    if step.member <= 0:
        return (given_up,)
    began = step.started_at
    failed = ev.AttemptFailed(now, step.id, step.attempt, step.member, began, failure, step.logs or _NO_LOGS)
    return (failed, given_up)


def _given_up(step: Step, failure: ev.Failure, reason: str, now: int) -> ev.ActivityFailed:
    member = max(step.member, 0)
    return ev.ActivityFailed(now, step.id, failure, step.started_at, step.attempt, member, reason, step.details)


def _due(run: Run, until: int) -> list[tuple[int, str]]:
    """Live deadlines up to a time, earliest first; only as many as end with the first timer."""
    at = run.next_deadline()
    if at is None or at > until:
        return []
    if run.deadlines[0][1] in run.timers and run.timers[run.deadlines[0][1]] == at:
        return [run.deadlines[0]]
    live = [(at, id) for id, at in run.timers.items() if at <= until]
    live += [(at, step.id) for step in run.pending.values() for at in step.deadlines() if at <= until]
    if run.people is not None:
        live += [(at, task.id) for task in run.people.open.values() for at in task.deadlines() if at <= until]
    return sorted(live)


def _grant(run: Run, message: msg.GrantSlot, now: int) -> tuple[ev.Event, ...]:
    step = run.pending.get(message.id)
    if step is None or not step.wants_slot:
        return _NOTHING
    return (ev.AttemptStarted(now, message.id, step.attempt + 1, message.member),)


def _takeover(run: Run, message: msg.Takeover, now: int) -> list[ev.Event]:
    events: list[ev.Event] = []
    for step in run.pending.values():
        if step.member <= 0 or step.deferred or step.id in message.spared:
            continue
        lost = msg.AttemptEnded(step.id, step.attempt, step.member, step.started_at, failure=overdue.LOST_FAILURE)
        decided = _attempt_failed(run, step, lost, overdue.LOST_FAILURE, now)
        events.extend(decided)
        if len(decided) > 1:
            break
    return events


def _block(run: Run, message: msg.BlockRun, now: int) -> tuple[ev.Event, ...]:
    return (_blocked(run, message.block, now),) if run.is_open else _NOTHING


def _blocked(run: Run, block: ev.Block, now: int) -> ev.RunBlocked:
    """The clock does nothing to a run that is blocked, so its row has no time to wake at: when it is to begin is kept here."""
    if run.begin_at is None or run.seq:
        return ev.RunBlocked(now, block)
    return ev.RunBlocked(now, msgspec.structs.replace(block, begin_at=run.begin_at))


def _strike(run: Run, message: msg.Strike, now: int) -> list[ev.Event]:
    if not run.is_open:
        return []
    events: list[ev.Event] = [ev.RunStruck(now)]
    if run.strikes + 1 >= STRIKES:
        events.append(_blocked(run, _quarantine(run, message.build, now), now))
    return events


def _quarantine(run: Run, build: str, now: int) -> ev.Block:
    return ev.Block(
        kind="quarantined",
        build=build,
        message=f"the process died {run.strikes + 1} times while this run was in its turn",
        hint=f"mend the workflow, then: perdure retry {run.id}",
        at=now,
        open_tail=run.open_tail,
    )


def _refuse_closed(run: Run) -> None:
    if not run.is_open:
        raise Refused("run-closed", f"run {run.id!r} is {run.status.word} already")


def _schedule_activity(run: Run, command: cmd.ScheduleActivity, now: int, claimed_by: int) -> ev.HistoryEvent:
    _refuse_flood(run)
    return ev.ActivityScheduled(
        now, command.id, command.name, command.input, command.timeout_ns, command.retry, claimed_by, command.terms
    )


def _start_child(run: Run, command: cmd.StartChild, now: int, claimed_by: int) -> ev.HistoryEvent:
    _refuse_flood(run)
    return relations.start_child(run, command, now)


def _start_timer(run: Run, command: cmd.StartTimer, now: int, claimed_by: int) -> ev.HistoryEvent:
    _refuse_flood(run)
    return ev.TimerStarted(now, command.id, min(now + max(command.duration_ns, 0), END_OF_TIME))


def _write_stream(run: Run, command: cmd.WriteStream, now: int, claimed_by: int) -> ev.HistoryEvent:
    size = sum(len(chunk.data) for chunk in command.chunks)
    return ev.StreamWritten(now, command.id, command.stream, len(command.chunks), size, command.closes)


def chunks_of(command: cmd.WriteStream, now: int) -> ev.ChunksMade:
    """What goes beside the event that records the command, which only counts."""
    return ev.ChunksMade(now, command.stream, command.chunks, command.closes)


def _open_task(run: Run, command: cmd.OpenTask, now: int, claimed_by: int) -> ev.HistoryEvent:
    _refuse_flood(run)
    return asking.open_task(command, now)


def _refuse_flood(run: Run) -> None:
    if run.unresolved >= PENDING_COMMANDS:
        raise Refused(
            "too-many-commands",
            f"the run has {PENDING_COMMANDS:,} unresolved steps, timers and children, which is the limit; "
            "await some of them before scheduling more",
        )


_MESSAGES: dict[type, Callable[[Run, Any, int], tuple[ev.Event, ...] | list[ev.Event]]] = {
    msg.Start: _start,
    msg.AttemptEnded: _attempt_ended,
    msg.Complete: _complete,
    msg.Heartbeat: _heartbeat,
    msg.TaskTaken: _task_taken,
    msg.ClaimTask: asking.claim,
    msg.ReleaseTask: asking.release,
    msg.CompleteTask: asking.complete,
    msg.Cancel: _cancel,
    msg.Signal: _signal,
    msg.Update: _update,
    msg.Query: lambda run, message, now: _NOTHING,  # a question is no part of the history
    msg.Terminate: _terminate,
    msg.ChildAnswered: relations.child_answered,
    msg.ChildEnded: relations.child_ended,
    msg.ExternalReplied: relations.external_replied,
    msg.Retry: _retry,
    msg.Move: _move,
    msg.NewBuild: _new_build,
    msg.NewCode: _new_code,
    msg.Wake: _wake,
    msg.GrantSlot: _grant,
    msg.Takeover: _takeover,
    msg.BlockRun: _block,
    msg.Strike: _strike,
}

_COMMANDS: dict[type, Callable[[Run, Any, int, int], ev.HistoryEvent]] = {
    cmd.ScheduleActivity: _schedule_activity,
    cmd.CancelActivity: lambda run, c, now, _: ev.ActivityCancelled(now, c.id),
    cmd.StartTimer: _start_timer,
    cmd.CancelTimer: lambda run, c, now, _: ev.TimerCancelled(now, c.id),
    cmd.RecordSideEffect: lambda run, c, now, _: ev.SideEffectRecorded(now, c.id, c.value),
    cmd.MarkPatch: lambda run, c, now, _: ev.PatchMarked(now, c.id, c.patch, c.deprecated),
    cmd.SetAttributes: lambda run, c, now, _: ev.AttributesSet(now, c.id, c.attributes),
    cmd.SetMemo: lambda run, c, now, _: ev.MemoSet(now, c.id, c.memo),
    cmd.StartChild: _start_child,
    cmd.CancelChild: lambda run, c, now, _: ev.ChildCancelRequested(now, c.id, c.reason),
    cmd.CancelExternal: lambda run, c, now, _: ev.ExternalCancelRequested(now, c.id, c.target, c.run_id, c.reason),
    cmd.WriteStream: _write_stream,
    cmd.CompleteUpdate: lambda run, c, now, _: ev.UpdateCompleted(now, c.id, c.result),
    cmd.FailUpdate: lambda run, c, now, _: ev.UpdateFailed(now, c.id, c.failure),
    cmd.Publish: lambda run, c, now, _: ev.Published(now, c.id, c.name, c.value),
    cmd.OpenTask: _open_task,
    cmd.WithdrawTask: lambda run, c, now, _: ev.TaskWithdrawn(now, c.id),
    cmd.SignalExternal: lambda run, c, now, _: ev.ExternalSignalSent(now, c.id, c.target, c.name, c.input, c.run_id),
    cmd.CompleteRun: lambda run, c, now, _: ev.RunCompleted(now, c.result),
    cmd.FailRun: lambda run, c, now, _: ev.RunFailed(now, c.failure, retried_as(run, c.failure, now)),
    cmd.EndCancelled: lambda run, c, now, _: ev.RunCancelled(now, c.reason),
    cmd.ContinueAsNew: lambda run, c, now, _: relations.continue_as_new(run, c, now),
}
