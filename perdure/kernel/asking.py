"""What people and the clock make of a human task: part of `decide`."""

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.human import HumanTask
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.refused import Refused
from perdure.kernel.run import Run

_NOTHING: tuple[ev.Event, ...] = ()


def open_task(command: cmd.OpenTask, now: int) -> ev.TaskOpened:
    return ev.TaskOpened(
        now,
        command.id,
        command.title,
        command.form,
        command.data,
        command.assignees,
        _after(now, command.due_ns),
        command.remind_ns,
        _after(now, command.timeout_ns),
    )


def _after(now: int, ns: int | None) -> int | None:
    return None if ns is None else min(now + ns, END_OF_TIME)


def claim(run: Run, message: msg.ClaimTask, now: int) -> tuple[ev.Event, ...]:
    task = _open(run, message.id)
    if task.claimed_by == message.by:
        return _NOTHING
    _demand(task, message, "claim it")
    return (ev.TaskClaimed(now, task.id, message.by, message.force),)


def release(run: Run, message: msg.ReleaseTask, now: int) -> tuple[ev.Event, ...]:
    task = _open(run, message.id)
    if not task.claimed_by:
        return _NOTHING
    if task.claimed_by != message.by and not message.force:
        raise _claimed(task, message.by, "release it")
    return (ev.TaskReleased(now, task.id, message.by, message.force),)


def complete(run: Run, message: msg.CompleteTask, now: int) -> tuple[ev.Event, ...]:
    before = None if run.people is None else run.people.closed.get(message.id)
    if before is not None and before.how == "completed" and message.request_id == before.request_id != "":
        return _NOTHING  # the same request, made again
    task = _open(run, message.id)
    _demand(task, message, "complete it")
    return (ev.TaskCompleted(now, task.id, message.by, message.result, message.request_id, message.force),)


def _demand(task: HumanTask, message: msg.ClaimTask | msg.CompleteTask, what: str) -> None:
    """Refuse somebody whose task it is not, unless by force."""
    if message.force:
        return
    if task.claimed_by not in ("", message.by):
        raise _claimed(task, message.by, what)
    if not task.is_for(message.by, message.groups):
        raise Refused(
            "task-not-assigned",
            f"task {task.title!r} is for {' or '.join(task.assignees)}, and not for {message.by}; "
            f"name a group that {message.by} belongs to, or {what} by force",
        )


def _claimed(task: HumanTask, by: str, what: str) -> Refused:
    return Refused(
        "task-claimed",
        f"task {task.title!r} is claimed by {task.claimed_by}, so that {by} cannot {what}; "
        f"{task.claimed_by} may release it, or {what} by force",
    )


def _open(run: Run, id: str) -> HumanTask:
    task = run.human_task(id)
    if task is not None:
        return task
    before = None if run.people is None else run.people.closed.get(id)
    if before is None:
        raise Refused(
            "task-not-found", f"run {run.id!r} has no human task {id!r}; perdure task list names those it has"
        )
    raise Refused("task-closed", f"task {before.title!r} is closed: {closed_words(before.how, before.by)}")


def closed_words(how: str, by: str) -> str:
    """How a task has ended, for people."""
    if how == "completed":
        return f"{by} has completed it"
    return "its time ran out" if how == "expired" else "nobody waits for it any more"


def due(task: HumanTask, at: int, now: int) -> ev.TaskExpired | ev.TaskReminded:
    """What the clock does to a task. At one time being overdue stands for a reminder, too."""
    if at == task.expires_at:
        return ev.TaskExpired(now, task.id)
    kind = "overdue" if at == task.due_at and not task.overdue else "reminder"
    return ev.TaskReminded(now, task.id, kind)
