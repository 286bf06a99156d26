"""What must hold after every commit, whenever nothing is at hand, and in the end. The numbers are those of the promises in
docs/guarantees.md."""

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from perdure.client.replaying import Replays
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.project import AttemptRow, restore, run_row
from perdure.kernel.run import LOST, Run, Status
from perdure.runtime.owner import Owner
from perdure.runtime.stillness import Stillness
from perdure.stores.base import FIXED, Batch, RunFilter, Store, Stored
from perdure.stores.human import HumanFilter
from perdure.testing.simulation.banking import BANKING, Ledger
from perdure.testing.simulation.changing import AtHand
from perdure.testing.simulation.crew import SHAKY_ATTEMPTS
from perdure.testing.simulation.flows import Appends
from perdure.testing.simulation.graves import Graves
from perdure.testing.simulation.histories import History, Violation, demand
from perdure.testing.simulation.leaks import demand_in_order, kept_by, left_in
from perdure.testing.simulation.plan import Plan, Wish
from perdure.testing.simulation.prefixes import Recorded
from perdure.testing.simulation.programs import ACTIVITIES, WORKFLOWS
from perdure.testing.simulation.reasons import Inside, Reasons, stored_of
from perdure.testing.simulation.values import moved_by, undone_in

MOST_ATTEMPTS = SHAKY_ATTEMPTS + 3
"""Of a step, those that were lost excepted: it may fail so often, hang once and fall silent once."""

_MOVES_MONEY = frozenset(each.name for each in BANKING)
_BY_CHANCE = frozenset(
    {
        ev.SignalReceived,
        ev.TaskClaimed,
        ev.TaskReleased,
        ev.TaskReminded,
        ev.ChildCompleted,
        ev.ChildFailed,
        ev.PatchMarked,
    }
)
"""What is not in the history of a run in every life: it may come later than its end, or before it goes on as another one."""


_OPEN = tuple(status for status in Status if status < Status.COMPLETED)


class Checks:
    """Looks at the store through a handle of its own, and remembers what every history has been."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._slots = sum(plan.slots) + 1
        self._may_refuse = plan.may_refuse
        self._refused: set[int] = set()
        """Runs that were blocked, as the store has refused what they did: an end of an attempt that it will not keep either counts as
        lost."""
        self._cached = plan.cached_runs
        self._histories: dict[int, History] = {}
        self._ledger = Ledger()
        self.graves = Graves(store, plan)
        self.appends = Appends(plan.seed, store, plan.stormy)
        self.is_final = True
        """The code at hand fits all runs."""
        self._reasons = Reasons(store)
        self._moved: dict[int, tuple[int, Run, Stored]] = {}
        """Runs that were committed since their owner's memory was looked at: by whom, and what they were then."""
        self._commits = 0
        self._idle: dict[int, tuple[int, int]] = {}
        """How many commits there were when a member had nothing to do, and how often it has said that again."""
        self._at_work: list[tuple[int, str, int]] = []
        """Attempts that were found to be wanted, and nothing was committed since."""

    def committed(
        self, batch: Batch, member: int, flies: Callable[[AttemptRow], bool], now: int, clock_went_back: bool
    ) -> None:
        """The runs that a batch was about, which this member has committed now, or before somebody has set the clock. `flies`:
        whether an attempt is in the air with a member that lives, and its result wanted."""
        self._at_work = []
        self._commits += 1
        for key in batch.withdrawn:
            self.graves.withdraw(key)
        for attempt in batch.attempts:
            if not _is_lost(attempt):
                continue
            demand(not flies(attempt), f"[{attempt.step}]#{attempt.attempt} counts as lost, and is in the air (1, 3)")
            lost = attempt.member == member and attempt.run not in self._refused
            demand(not lost, f"[{attempt.step}]#{attempt.attempt} counts as lost, and its member lives (3)")
        keys = {row.key for row in [*batch.created, *batch.updated]} | {part.run for part in batch.history}
        for key, stored in stored_of(self._store, sorted(keys)).items():
            run = self._look(key, stored, now, clock_went_back)
            self._reasons.demand(run, stored, self._histories[key])
            self._moved[key] = member, run, stored
        self._demand_reasons({row.parent for row in batch.updated if row.status >= Status.COMPLETED} - keys)

    def _demand_reasons(self, keys: Iterable[int]) -> None:
        """Of runs of which others were moved that they wait for."""
        for key, stored in stored_of(self._store, [key for key in sorted(keys) if key in self._histories]).items():
            run = restore(stored.run, wire.decode_history(stored.history), stored.attempts)
            self._reasons.demand(run, stored, self._histories[key])

    def rounded(self, owner: Owner, member: int) -> None:
        """The member has made a round: it has in hand what is needed next by the runs that it has moved."""
        demand_in_order(owner, self._cached)
        inside = Inside(owner)
        for key, (mover, run, stored) in list(self._moved.items()):
            if mover == member:
                del self._moved[key]
                inside.demand_reasons(run, stored)

    def _look(self, key: int, stored: Stored, now: int, clock_went_back: bool) -> Run:
        id = stored.run.id
        self.graves.know(stored)
        history = self._histories.setdefault(key, History(id))
        known = len(history.events)
        history.grow(stored.history, now, clock_went_back)
        events, written = history.events, dict(history.written)
        demand(stored.run.seq == len(events), f"{id} counts {stored.run.seq} events and has {len(events)} (4)")
        self.appends.look(key, id, written)
        self.appends.ended(key, id, events[known:])
        run = restore(stored.run, events, stored.attempts)
        fixed = ["followed_by"] if events else FIXED  # what it was started with may be in its mailbox still
        folded = msgspec.structs.replace(run_row(run), **{field: getattr(stored.run, field) for field in fixed})
        demand(folded == stored.run, f"{id}: the fold of its history is {folded}, stored is {stored.run} (3)")
        if run.block is not None and self._may_refuse and run.block.kind == "refused":
            self._refused.add(key)
        elif self.is_final:
            demand(run.block is None, f"{id} is blocked: {run.block.message if run.block else ''} (5)")
        return run

    def begun(self, key: int, step: str, attempt: int) -> None:
        """An attempt begins: that is durable, and nothing of the step is recorded."""
        stored = self._stored(key)
        run = self._run(key)
        pending = run.pending.get(step)
        demand(run.is_open, f"an attempt of {run.id} begins, which has ended (6)")
        demand(pending is not None, f"{run.id} [{step}]: an attempt begins of a step that is not pending (1, 3)")
        demand(
            pending is not None and pending.attempt == attempt and bool(pending.member),
            f"{run.id} [{step}]#{attempt} begins, and the store does not know it (1)",
        )
        assert pending is not None
        lost = sum(row.step == step and _is_lost(row) for row in stored.attempts)
        demand(attempt - lost <= MOST_ATTEMPTS, f"{run.id} [{step}]#{attempt} begins, and {lost} were lost (3)")
        if pending.name in _MOVES_MONEY:
            self._ledger.act(pending.name, run.id, msgspec.json.decode(pending.input.data)[0])

    def rested(self, stillness: Stillness) -> None:
        """Nothing is at hand: who is said to be at work is, and nobody else."""
        self.wanted(stillness)
        for key in self._store.work.running():
            if not stillness.is_looked_after(key):
                raise Violation(f"{self._run(key).id} is running, and nobody looks after it (6)")

    def left(self, owner: Owner) -> None:
        """Nothing more happens: an owner of runs that have all ended knows of none."""
        if not self._store.views.count(RunFilter(statuses=_OPEN)):
            kept = {what: those for what, those in kept_by(owner).items() if those}
            demand(not kept, f"all runs are over, and their owner has in its memory {kept} (9)")

    def idle(self, owner: Owner, member: int, is_its: Callable[[int], bool] = lambda key: True) -> None:
        """The owner has nothing to do. If nothing has happened since it said so the last time, it is looked at all of its
        open runs: each will go on."""
        commits, times = self._idle.get(member, (0, 0))
        times = times + 1 if commits == self._commits else 0
        self._idle[member] = self._commits, times
        if times != 1:
            return
        inside = Inside(owner)
        rows = self._store.views.search(RunFilter(statuses=_OPEN))
        for key, stored in stored_of(self._store, [row.key for row in rows if is_its(row.key)]).items():
            run = restore(stored.run, wire.decode_history(stored.history), stored.attempts)
            if key in self._histories:
                self._reasons.demand(run, stored, self._histories[key])
            inside.demand_reasons(run, stored)

    def wanted(self, stillness: Stillness) -> None:
        """Who is said to be at work is, as its result is wanted."""
        at_work = sorted(stillness.at_work())
        demand(len(at_work) <= self._slots, f"{len(at_work)} attempts share {self._slots} slots (9)")
        if at_work != self._at_work:
            for key, step, attempt in at_work:
                run = self._run(key)
                pending = run.pending.get(step)
                wanted = pending is not None and pending.attempt == attempt and bool(pending.member)
                demand(wanted, f"{run.id} [{step}]#{attempt} is in the air, and nobody wants it (6)")
            self._at_work = at_work

    def _stored(self, key: int) -> Stored:
        stored = self._store.views.stored(key)
        if stored is None:
            raise Violation(f"something happens for a run of the key {key}, which is not in the store (1)")
        return stored

    def _run(self, key: int) -> Run:
        stored = self._stored(key)
        return restore(stored.run, wire.decode_history(stored.history), stored.attempts)

    def ended(self, wishes: Iterable[Wish]) -> dict[str, Any]:
        """How each run ended that was wished for; every one has, and the store finds nothing wrong with itself."""
        problems = self._store.admin.check()
        demand(not problems, f"the store finds: {'; '.join(problems)}")
        outcomes: dict[str, Any] = {}
        for wish in wishes:
            row = self._store.views.row(wish.id)
            gone = self.graves.newest(wish.id)
            if gone is not None and (row is None or row.key < gone.run.key):
                row = gone.run
            if row is None:
                raise Violation(f"{wish.id} was never begun (6)")
            word = Status(row.status).word
            demand(row.status >= Status.COMPLETED, f"{wish.id} is {word}, and nothing will ever wake it (6)")
            history = wire.decode_history(self._kept(row.key).history)
            _demand_value(wish, history)
            self._demand_money(wish, row.status)
            outcomes[wish.id] = (word, row.note, _essence(history)) if wish.is_certain else ("it is over",)
        self._families()
        self._nothing_is_left()
        return outcomes

    def _kept(self, key: int) -> Stored:
        """What there is of a run, or was."""
        return self.graves.known(key) if self.graves.has_key(key) else self._stored(key)

    def _demand_money(self, wish: Wish, status: int) -> None:
        """None is lost, and none is made: unless a run was ended without having had the time to undo anything."""
        if status == Status.TERMINATED:
            return
        missing, moved = self._ledger.missing(wish.id), self._ledger.moved(wish.id)
        demand(missing == 0, f"{wish.id} has cost the accounts {missing} in all (3, 7)")
        if status == Status.COMPLETED:
            wanted = moved_by(wish.spec)
            demand(moved == wanted, f"{wish.id} has moved {moved}, and was to move {wanted} (3)")

    def _replayed(self, stored: Stored) -> None:
        """Shown the history, the code does the same at each event of it."""
        key = stored.run.key
        verdict = _replays().judge_stored(stored.run.id, stored, lambda digest: self._store.views.blob(key, digest))
        found = "" if verdict.block is None else verdict.block.message
        demand(not found, f"{stored.run.id} cannot be replayed: {found} (5)")

    def _nothing_is_left(self) -> None:
        """Of runs that have ended, in what is looked through for those that have not."""
        work, views, tasks = self._store.work, self._store.views, self._store.tasks
        poll = work.poll(END_OF_TIME, 1)
        left: dict[str, Any] = {
            "mail": poll.mail,
            "runs that are due": poll.due,
            "runs in motion": work.running(),
            "blocked runs": work.mending(),
            "tasks": views.backlog(),
            "tasks that lost their worker": tasks.orphans(),
            "human tasks": views.human.find(HumanFilter()),
        }
        demand(not any(left.values()), f"all runs are over, and there are { ({k: v for k, v in left.items() if v}) }")
        rows = left_in(self._store)
        demand(not rows, f"all runs are over, and the store has {', '.join(rows)} (9)")

    def digest(self) -> str:
        """Of every byte of every history."""
        encoded = (b"%d %s" % (key, history.encoded()) for key, history in sorted(self._histories.items()))
        return hashlib.sha256(b"".join(encoded)).hexdigest()[:16]

    def recorded(self) -> list[Recorded]:
        """All histories, with the code that has come to their ends."""
        return [Recorded(each.id, AtHand.code, each.parts()) for each in self._histories.values() if each.events]

    def _families(self) -> None:
        """Every child that a run has scheduled is there, once, and has ended like all others; nothing for it is left unread."""
        begun: Counter[str] = Counter()
        scheduled: set[str] = set()
        for key in sorted(self._histories):
            stored = self._kept(key)
            run = stored.run
            demand(run.status >= Status.COMPLETED, f"{run.id} is {Status(run.status).word}, and stays so (6)")
            self._replayed(stored)
            self.appends.demand_same(key, run.id)
            unread = [] if self.graves.has_key(key) else stored.mail
            demand(not unread, f"{run.id} has mail that nobody reads: {unread}")
            begun[f"{run.id} {run.run_id.hex()}"] += 1
            refused: set[str] = set()
            for event in reversed(wire.decode_history(stored.history)):
                if isinstance(event, ev.ChildStartFailed):
                    refused.add(event.id)
                elif isinstance(event, ev.ChildScheduled) and event.id not in refused:
                    scheduled.add(f"{event.child_id} {event.run_id.hex()}")
        wrong = {child: begun[child] for child in sorted(scheduled) if begun[child] != 1}
        demand(not wrong, f"of children there are {wrong} (3)")


def _is_lost(attempt: AttemptRow) -> bool:
    failure = None if attempt.detail is None else wire.decode_detail(attempt.detail).failure
    return failure is not None and failure.code == LOST


@functools.cache
def _replays() -> Replays:
    return Replays([*WORKFLOWS, *ACTIVITIES])


def _demand_value(wish: Wish, history: list[ev.HistoryEvent]) -> None:
    end = history[-1]
    if wish.may_be_stopped and not isinstance(end, ev.RunCompleted):
        stopped = isinstance(end, ev.RunCancelled | ev.RunTerminated)
        demand(stopped, f"{wish.id} was stopped, and came to {end}")
    elif wish.value is not None:
        value = msgspec.json.decode(end.result.data) if isinstance(end, ev.RunCompleted) else end
        demand(
            value == wish.value, f"{wish.id} came to {value}, and to {wish.value} if the program is performed once (3)"
        )
        undone = sum(isinstance(each, ev.ActivityScheduled) and each.name == "take_back" for each in history)
        demand(undone == undone_in(wish.spec), f"{wish.id} has undone {undone} steps of {undone_in(wish.spec)} (7)")


def _essence(history: list[ev.HistoryEvent]) -> list[str]:
    """What is the same in every life of a run that nobody has ended from outside."""
    if not isinstance(history[-1], ev.RunCompleted):
        return []
    return sorted(
        f"{type(event).__name__} {getattr(event, 'id', '')}" for event in history if type(event) not in _BY_CHANCE
    )
