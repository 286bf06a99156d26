"""A run with a store of rows beside it: what a runtime and a store do with the kernel, in forty lines."""

import msgspec

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.continuing import continuation
from perdure.kernel.decide import REPEATED, decide, decide_command
from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.project import KEEP, AttemptRow, RunRow, TaskRow, project, restore, run_row
from perdure.kernel.run import Run, evolve

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
ME, OTHER = 7, 8
INPUT = ev.Payload(b"[10]")
RESULT = ev.Payload(b'"done"')
BOOM = ev.Failure("ValueError", "boom")
BUG = ev.Failure("NameError", "name 'x' is not defined", is_bug=True)


class Actor:
    """`tell` a message, `do` a command, `commit`; `stored()` is what another process would read back."""

    def __init__(self, id: str = "order-1") -> None:
        self.run = Run(1, id)
        self.now = T0
        self.history: list[ev.HistoryEvent] = []
        self.status: list[ev.Event] = []
        self._uncommitted: list[ev.Event] = []
        self._seq = 0
        self._history_rows: list[bytes] = []
        self._attempts: dict[tuple[int, str, int], AttemptRow] = {}
        self.tasks: dict[tuple[int, str], TaskRow] = {}
        self.human: dict[tuple[int, str], HumanTaskRow] = {}
        self._row = run_row(self.run)

    def tell(self, message: msg.Message) -> list[ev.Event]:
        """Decide and fold, again and again where the message asks for it; without a program in between."""
        told: list[ev.Event] = []
        while events := list(decide(self.run, message, self.now)):
            for event in events:
                self._fold(event)
            told += events
            if type(message) not in REPEATED:
                break
        return told

    def tell_once(self, message: msg.Message) -> list[ev.Event]:
        events = list(decide(self.run, message, self.now))
        for event in events:
            self._fold(event)
        return events

    def do(self, command: cmd.Command, claimed_by: int = 0) -> ev.HistoryEvent:
        event = decide_command(self.run, command, self.now, claimed_by)
        self._fold(event)
        return event

    def fold(self, event: ev.Event) -> None:
        """An event the runtime makes itself (RunReacted)."""
        self._fold(event)

    def _fold(self, event: ev.Event) -> None:
        evolve(self.run, event)
        self._uncommitted.append(event)
        if type(event) in ev.STATUS:
            self.status.append(event)
        else:
            self.history.append(event)  # type: ignore[arg-type]

    def commit(self) -> None:
        rows = project(self.run, self._uncommitted, self._seq)
        self._uncommitted.clear()
        self._seq = self.run.seq
        self._row = msgspec.structs.replace(rows.run)
        if rows.history is not None:
            assert rows.history.seq == len(wire.decode_history(self._history_rows)) + 1
            self._history_rows.append(rows.history.events)
        for row in rows.attempts:
            self._merge(row)
        for key in rows.attempts_dropped:
            self._attempts.pop(key, None)
        for gone in list(self.tasks) if rows.all_tasks_gone else rows.tasks_gone:
            self.tasks.pop(gone, None)
        self.tasks |= {(row.run, row.step): row for row in rows.tasks}
        for gone in rows.human_gone if self.run.is_open else list(self.human):
            self.human.pop(gone, None)
        self.human |= {(row.run, row.step): row for row in rows.human}

    def _merge(self, row: AttemptRow) -> None:
        key = (row.run, row.step, row.attempt)
        if row.member == KEEP:
            kept = self._attempts[key]
            row = msgspec.structs.replace(kept, state=row.state, retry_at=row.retry_at)
        self._attempts[key] = row

    def attempts(self, step: str) -> list[AttemptRow]:
        return sorted((row for row in self._attempts.values() if row.step == step), key=lambda row: row.attempt)

    @property
    def row(self) -> RunRow:
        return self._row

    def stored(self) -> Run:
        # Rows in no particular order: a store need not sort them.
        return restore(self._row, wire.decode_history(self._history_rows), list(self._attempts.values())[::-1])


def started(id: str = "order-1") -> Actor:
    actor = Actor(id)
    actor.tell(msg.Start("process_order", INPUT, b"r" * 16, "build-1"))
    return actor


def scheduled(retry: RetryPolicy | None = None, claimed_by: int = ME, id: str = "order-1") -> Actor:
    """A started run with one activity, step "0:1", in flight at ME."""
    actor = started(id)
    actor.do(cmd.ScheduleActivity("0:1", "charge", INPUT, None, retry), claimed_by)
    return actor


def failed(attempt: int = 1, failure: ev.Failure = BOOM, member: int = ME, **more: object) -> msg.AttemptEnded:
    return msg.AttemptEnded("0:1", attempt, member, T0, failure=failure, **more)  # type: ignore[arg-type]


def completed(attempt: int = 1, member: int = ME, step: str = "0:1") -> msg.AttemptEnded:
    return msg.AttemptEnded(step, attempt, member, T0, result=RESULT)


def attempt_again(actor: Actor, member: int = ME) -> None:
    """Let the clock pass the retry that waits, and grant the slot it wants."""
    wake_at = actor.run.wake_at()
    if wake_at is not None:
        actor.now = max(actor.now, wake_at)
        actor.tell(msg.Wake())
    actor.tell(msg.GrantSlot("0:1", member))


def tasks(run: Run) -> dict[str, object]:
    """The open human tasks, with all that they are."""
    assert run.people is not None
    return {id: [getattr(task, name) for name in task.__slots__] for id, task in run.people.open.items()}


def facts(run: Run) -> dict[str, object]:
    """All that matters of a run's state, to compare two of them."""
    steps = {
        step.id: (
            step.name,
            step.input,
            step.timeout_ns,
            step.retry,
            step.scheduled_at,
            step.attempt,
            step.member,
            step.counted,
            step.retry_at,
            step.held,
            step.rows,
            step.losses > 0,
            step.started_at if step.member else None,
            (step.deferred, step.details, step.failure, step.logs, step.deadlines()),
        )
        for step in run.pending.values()
    }
    return {
        "identity": (run.key, run.id, run.run_id, run.workflow, run.build, run.seq, run.started_at, run.closed_at),
        "steps": steps,
        "order": list(run.pending),
        "timers": run.timers,
        "counters": (run.flying, run.retrying, run.held, run.out),
        "status": run.status,
        "wake_at": run.wake_at(),
        "flags": (run.cancel_requested, run.block, run.open_tail, run.strikes),
        "outcome": run.outcome,
        "people": None if run.people is None else (tasks(run), run.people.closed),
        "terms": (run.terms, run.expires_at, continuation(run)),
    }
