"""Why a run does not get on, or how it ended: what went wrong at length, and what it waits for as cards. Pure.

Each kind of reason is one function in `REASONS`, the most urgent first.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from perdure.client.description import BlockView, ErrorView, RunDescription, StepView, unended
from perdure.client.sources import short, source_of
from perdure.client.spoken import MessageView
from perdure.durations import took
from perdure.kernel.notes import MESSAGE
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.web.markup import flat

CARDS = 3
"""Reasons shown as cards; further ones are counted."""


class Scene(NamedTuple):
    """What is around a run: whether an engine owns the database, who serves queues (queue, activity), and which signals
    the workflow hears, if it waits for one; `stuck` are the runs below it that cannot go on."""

    owned: bool = True
    served: frozenset[tuple[str, str]] = frozenset()
    hears: tuple[str, ...] = ()
    stuck: tuple[RunRow, ...] = ()


class Reason(NamedTuple):
    """`what` stands for itself, `until` is counted down, `at` is when that is, `key` is a step to look at, `command` what
    to type."""

    hue: str
    icon: str
    title: str
    what: str = ""
    detail: str = ""
    until: datetime | None = None
    since: datetime | None = None
    at: datetime | None = None
    key: str = ""
    command: str = ""


class Trouble(NamedTuple):
    """What went wrong: the failure of the run, or what blocks it. `errors` goes from it to its causes."""

    hue: str
    icon: str
    title: str
    message: str
    source: str
    facts: list[tuple[str, str]]
    errors: list[ErrorView]
    hint: str = ""
    command: str = ""
    key: str = ""
    step: str = ""


def chain(error: ErrorView | None) -> list[ErrorView]:
    """An error and its causes."""
    errors = []
    while error is not None:
        errors.append(error)
        error = error.cause
    return errors


def trouble(run: RunDescription) -> Trouble | None:
    """What a person should read first, if something is wrong with the run as a whole."""
    if run.block is not None:
        return _of_block(run, run.block)
    if run.error is not None:
        return _of_error(run, run.error)
    if run.status == "timed out":
        return Trouble("fail", "clock", "Timed out", f"it has taken {run.note}", "", [], [])
    return None


def _of_error(run: RunDescription, error: ErrorView) -> Trouble:
    errors = chain(error)
    step = next((step for step in run.steps if step.state in ("failed", "timed out")), None)
    source = next(filter(None, map(source_of, reversed(errors))), "")
    return Trouble(
        hue="fail",
        icon="octagon",
        title=error.type.rpartition(".")[2],
        message=error.message,
        source=source,
        facts=[],
        errors=errors,
        key="" if step is None else step.id,
        step="" if step is None else step.name,
    )


def _of_block(run: RunDescription, block: BlockView) -> Trouble:
    facts = [
        ("history says", block.recorded),
        ("the code says", block.produced),
        ("build", block.build),
        *(("has not ended", f"{attempt}: other code gets the run after that") for attempt in unended(run)),
    ]
    return Trouble(
        hue="held",
        icon="wrench",
        title=run.status.capitalize() if block.kind == run.status else f"{run.status.capitalize()} · {block.kind}",
        message=block.message.removesuffix(f": recorded {block.recorded}, produced {block.produced}"),
        source=short(block.source) or (source_of(block.failure) if block.failure is not None else ""),
        facts=[(label, value) for label, value in facts if value],
        errors=chain(block.failure),
        hint=block.hint or "mend the code and start it: the run goes on by itself",
        command=f"perdure {'move' if block.kind == 'pinned' else 'retry'} {run.id}",
    )


def reasons(run: RunDescription, scene: Scene) -> list[Reason]:
    """What an open run waits for, or what it does; the most urgent first. Nothing for one that has ended."""
    if run.closed_at is not None:
        return []
    return [reason for kind in REASONS for reason in kind(run, scene)]


def _alike(run: RunDescription, state: str) -> Iterator[tuple[StepView, int]]:
    """Of the open steps in a state one of each name, the most urgent, and how many there are."""
    found: dict[tuple[str, str], list[StepView]] = {}
    for step in run.steps:
        if step.state == state and step.ended_at is None:
            found.setdefault((step.kind, step.name), []).append(step)
    for steps in found.values():
        yield min(steps, key=_next), len(steps)


def _next(step: StepView) -> float:
    due = step.retry_at or step.due_at
    return due.timestamp() if due is not None else float("inf")


def _named(step: StepView, count: int) -> str:
    return step.name if count == 1 else f"{count:,} × {step.name}"


def _error_text(step: StepView) -> str:
    if step.error is None:
        return ""
    name = step.error.type.rpartition(".")[2]
    return f"{name}: {step.error.message}" if step.error.message else name


def _unowned(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    if not scene.owned:
        yield Reason(
            "fail", "engine", "No engine", "", "No engine holds this database: the run sleeps until one starts.",
            command="perdure dev MODULE",
        )  # fmt: skip


def _queued(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    if run.status == "queued" and scene.owned:
        if run.wake_at is not None:
            yield Reason("wait", "clock", "Begins", "", "Its start was put off.", until=run.wake_at)
        else:
            yield Reason("queue", "dotted", "Queued", "", "It waits until the engine takes it.", since=run.started_at)


def _held(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    for step, count in _alike(run, "held"):
        by_bug = step.error is None or step.error.is_bug
        title = "Held by a bug" if by_bug else "Held until it can succeed"
        yield Reason(
            "held", "wrench", title, _named(step, count), _error_text(step), key=step.id,
            command=f"perdure retry {run.id}",
        )  # fmt: skip


def _retrying(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    for step, count in _alike(run, "retrying"):
        most = f" of {step.max_attempts}" if step.max_attempts else ""
        tries = f"attempt {step.attempts_total}{most} failed"
        error = _error_text(step)
        yield Reason(
            "retry", "again", "Retrying", _named(step, count), f"{tries} · {error}" if error else tries,
            until=step.retry_at, key=step.id,
        )  # fmt: skip


def _scheduled(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    for step, count in _alike(run, "scheduled"):
        hue, title, command = "queue", "Waits for a slot", ""
        detail = "the engine runs as many attempts at the same time as it may"
        if step.queue and (step.queue, step.name) in scene.served:
            title, detail = "In a queue", f"{step.queue}: its workers have other things to do first"
        elif step.queue:
            hue, title, detail = "fail", "No worker", f"of queue {step.queue} knows this activity"
            command = f"perdure worker MODULE --queue {step.queue}"
        yield Reason(
            hue, "dotted", title, _named(step, count), detail, since=step.scheduled_at, key=step.id, command=command
        )


def _deferred(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    for step, count in _alike(run, "deferred"):
        yield Reason(
            "wait", "hourglass", "Waits for its token", _named(step, count),
            "the function has returned; whoever has the token gives the result", since=step.started_at, key=step.id,
        )  # fmt: skip


def _people(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    for step in run.steps:
        if step.task is None or step.ended_at is not None:
            continue
        task = step.task
        who = (
            f"claimed by {task.claimed_by}"
            if task.claimed_by
            else f"waits for {', '.join(task.assignees) or 'anybody'}"
        )
        told = f"{task.reminders:,} reminder{'s' * (task.reminders != 1)}" if task.reminders else ""
        yield Reason(
            "fail" if task.overdue else "wait", "person", "Overdue" if task.overdue else "Asks people", step.name,
            " · ".join(fact for fact in (who, told) if fact), until=task.expires_at if task.overdue else task.due_at or task.expires_at,
            since=step.scheduled_at, key=step.id, command=f"perdure task show {run.id}/{step.id}",
        )  # fmt: skip


def _waiting(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    for step, count in _alike(run, "waiting"):
        if step.task is not None:
            continue
        if step.kind == "request":
            yield Reason(
                "wait", "flow", "Waits for an answer", _named(step, count), since=step.scheduled_at, key=step.id
            )
            continue
        whole = ""
        if step.due_at is not None:
            whole = f"of {took((step.due_at - step.scheduled_at).total_seconds())}"
        yield Reason(
            "wait", "hourglass", "Timer", _named(step, count), whole, until=step.due_at, at=step.due_at, key=step.id
        )


def _running(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    for step, count in _alike(run, "running"):
        if step.kind == "child":
            continue
        newest = step.attempts[-1] if step.attempts else None
        worker = "" if newest is None or newest.worker is None else f"on {newest.worker}"
        tries = f"attempt {step.attempts_total}" if step.attempts_total > 1 else ""
        told = "" if step.heartbeat_details is None else f"says {flat(step.heartbeat_details, 60)}"
        detail = " · ".join(fact for fact in (tries, worker, told) if fact)
        began = step.scheduled_at if newest is None else newest.started_at
        yield Reason("run", "arc", "Running", _named(step, count), detail, since=began, key=step.id)


def _stuck(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    for row in scene.stuck:
        whose = "Its child is" if any(child.id == row.id for child in run.children) else "A descendant is"
        yield Reason(
            "held", "wrench", f"{whose} {Status(row.status).word}", row.id, row.note, command=f"perdure show {row.id}"
        )


def _children(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    ids = {child.step: child.id for child in run.children}
    for step, count in _alike(run, "running"):
        if step.kind == "child":
            id = ids.get(step.id, "")
            yield Reason(
                "run", "fan", "Waits for its child" if count == 1 else "Waits for children", _named(step, count),
                "" if count > 1 else id, since=step.scheduled_at, key=step.id,
                command=f"perdure show {id}" if count == 1 and id else "",
            )  # fmt: skip


def _updates(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    accepted: dict[str, list[MessageView]] = {}
    for message in run.messages:
        if message.state == "accepted":
            accepted.setdefault(message.name, []).append(message)
    for name, messages in accepted.items():
        many = "" if len(messages) == 1 else f"{len(messages):,} × "
        yield Reason(
            "run", "update", "Works on an update", f"{many}{name}", "it is accepted, and has no answer yet",
            since=messages[0].received_at,
        )  # fmt: skip


def _message(run: RunDescription, scene: Scene) -> Iterable[Reason]:
    if run.status == "waiting" and run.note == MESSAGE:
        names = ", ".join(scene.hears[:HEARD]) + (" …" if len(scene.hears) > HEARD else "")
        name = scene.hears[0] if len(scene.hears) == 1 else "NAME"
        yield Reason(
            "wait", "signal", "Waits for a message", names, "nothing else moves it",
            command=f"perdure signal {run.id} {name}",
        )  # fmt: skip


HEARD = 6
"""So many names of signals are told."""

REASONS: tuple[Callable[[RunDescription, Scene], Iterable[Reason]], ...] = (
    _unowned,
    _held,
    _stuck,
    _retrying,
    _scheduled,
    _queued,
    _deferred,
    _people,
    _updates,
    _children,
    _running,
    _waiting,
    _message,
)
