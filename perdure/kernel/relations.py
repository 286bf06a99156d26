"""What messages between runs make of a run, and its commands about others: the part of `decide` that is about families."""

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.continuing import next_run_id
from perdure.kernel.family import Link
from perdure.kernel.run import Run

_NOTHING: tuple[ev.Event, ...] = ()


def child_answered(run: Run, message: msg.ChildAnswered, now: int) -> tuple[ev.Event, ...]:
    link = _link(run, message.id)
    if link is None:
        return _NOTHING
    if message.code:
        return (ev.ChildStartFailed(now, message.id, message.code, message.message),)
    return (ev.ChildStarted(now, message.id),) if link.awaits_start else _NOTHING


def child_ended(run: Run, message: msg.ChildEnded, now: int) -> tuple[ev.Event, ...]:
    if _link(run, message.id) is None:
        return _NOTHING
    if message.result is not None:
        return (ev.ChildCompleted(now, message.id, message.result),)
    return (ev.ChildFailed(now, message.id, message.how, message.reason, message.failure),)


def external_replied(run: Run, message: msg.ExternalReplied, now: int) -> tuple[ev.Event, ...]:
    if _link(run, message.id) is None:
        return _NOTHING
    return (ev.ExternalAnswered(now, message.id, message.code, message.message),)


def _link(run: Run, step: str) -> Link | None:
    """What the message is about; None if it comes too late, or again."""
    return run.links.get(step) if run.is_open and run.links is not None else None


def start_child(run: Run, command: cmd.StartChild, now: int) -> ev.ChildScheduled:
    child = command
    return ev.ChildScheduled(
        now, child.id, child.workflow, child.input, child.child_id, child.run_id, child.terms, child.memo
    )


def continue_as_new(run: Run, command: cmd.ContinueAsNew, now: int) -> ev.RunContinuedAsNew:
    number = next_run_id(run.run_id)
    return ev.RunContinuedAsNew(
        now, command.workflow, command.input, number, command.terms, command.chosen, command.memo, command.left
    )
