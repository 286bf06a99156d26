"""Bugs that are planted into the engine, to see whether the simulator finds them: each does one thing wrong, in one place.

`python -m tests.simulation.mutants` says after how many lives each was found.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
from pytest import MonkeyPatch

from perdure.kernel import asking, decide, relations
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.project import TaskRow
from perdure.kernel.run import Run
from perdure.languages.python.machine import PythonProgram
from perdure.languages.python.saga import Saga
from perdure.runtime import families
from perdure.runtime.alarms import Alarms
from perdure.runtime.cycle import Cycle
from perdure.runtime.deadlines import Deadlines
from perdure.runtime.draft import Draft
from perdure.runtime.effects import Effects
from perdure.runtime.families import Families
from perdure.runtime.holders import Holders
from perdure.runtime.owner import Owner
from perdure.runtime.slots import Slots
from perdure.stores import memory
from perdure.stores.base import Batch, Ending, MailRow, Poll
from perdure.stores.memory import MemoryJournal, MemoryWork
from perdure.stores.memory_tasks import MemoryTasks
from perdure.testing.simulation.life import simulate
from perdure.testing.simulation.plan import plan_of

Plant = Callable[[MonkeyPatch], None]
_NOTHING: tuple[ev.Event, ...] = ()

SEEDS = 60
"""Of each workload, before a bug counts as overlooked."""

Mutants = dict[str, tuple[Plant, tuple[str, ...]]]
"""What is wrong, how it is planted, and in which workloads it may show."""

MUTANTS: Mutants = {}


def planter(mutants: Mutants) -> Callable[..., Callable[[Plant], Plant]]:
    """A decorator that takes workloads, and puts what plants a bug among these."""

    def mutant(*workloads: str) -> Callable[[Plant], Plant]:
        def named(plant: Plant) -> Plant:
            assert plant.__doc__
            mutants[plant.__doc__.rstrip(".")] = (plant, workloads)
            return plant

        return named

    return mutant


mutant = planter(MUTANTS)


def spoil_batches(patch: MonkeyPatch, spoil: Callable[[Batch], None]) -> None:
    """Commit something else than what was decided."""
    commit = MemoryJournal.commit

    def spoiled(self: MemoryJournal, batch: Batch) -> None:
        spoil(batch)
        commit(self, batch)

    patch.setattr(MemoryJournal, "commit", spoiled)


def _decide(patch: MonkeyPatch, kind: type, wrong: Callable[[Run, Any, int], Any]) -> None:
    patch.setitem(decide._MESSAGES, kind, wrong)


# the store


@mutant("random")
def running_runs_are_forgotten(patch: MonkeyPatch) -> None:
    """a new owner does not look for runs that the last one left in motion."""
    patch.setattr(MemoryWork, "running", lambda self: [])


@mutant("random")
def doubtful_commits_count_as_made(patch: MonkeyPatch) -> None:
    """a commit that may have failed is taken for made."""
    patch.setattr(MemoryJournal, "settle", lambda self, batch: True)


@mutant("retries", "random")
def second_attempts_are_not_kept(patch: MonkeyPatch) -> None:
    """the second attempt of a step is not written."""

    def spoil(batch: Batch) -> None:
        batch.attempts = [row for row in batch.attempts if row.attempt != 2]

    spoil_batches(patch, spoil)


@mutant("signals", "cancel")
def mail_is_read_and_not_recorded(patch: MonkeyPatch) -> None:
    """mail is deleted, and the events it has caused are not written."""

    def spoil(batch: Batch) -> None:
        if not batch.created and batch.mail_read:
            batch.history = []

    spoil_batches(patch, spoil)


@mutant("signals", "everything")
def mail_is_never_deleted(patch: MonkeyPatch) -> None:
    """mail that was read is not deleted."""

    def spoil(batch: Batch) -> None:
        batch.mail_read = []

    spoil_batches(patch, spoil)


@mutant("families")
def mail_between_runs_is_lost(patch: MonkeyPatch) -> None:
    """what runs tell each other is not written."""

    def spoil(batch: Batch) -> None:
        batch.mail_kept = [mail for mail in batch.mail_kept if not isinstance(mail.message, msg.ChildEnded)]

    spoil_batches(patch, spoil)


@mutant("timers")
def long_timers_are_not_found(patch: MonkeyPatch) -> None:
    """the store does not say which runs are due."""
    poll = MemoryWork.poll

    def without_due(self: MemoryWork, now: int, limit: int, starts: bool = True) -> Poll:
        found = poll(self, now, limit, starts)
        found.due = []
        return found

    patch.setattr(MemoryWork, "poll", without_due)


@mutant("people")
def answered_tasks_stay_open(patch: MonkeyPatch) -> None:
    """human tasks that were answered stay in the list."""

    def spoil(batch: Batch) -> None:
        batch.human_gone, batch.human_gone_of = [], []

    spoil_batches(patch, spoil)


@mutant("sequence", "random")
def two_events_are_exchanged(patch: MonkeyPatch) -> None:
    """two events of one commit are written in the other order."""

    def exchanged(run: Run, message: Any, now: int) -> Any:
        decided = list(right(run, message, now))
        return decided[::-1]

    right = decide._MESSAGES[msg.AttemptEnded]
    _decide(patch, msg.AttemptEnded, exchanged)


# the kernel


@mutant("signals", "signals to chains")
def signals_are_not_deduplicated(patch: MonkeyPatch) -> None:
    """a signal that was received is received again."""
    patch.setattr(Run, "has_received", lambda self, request_id: False)


@mutant("updates")
def updates_are_not_deduplicated(patch: MonkeyPatch) -> None:
    """an update that was accepted is accepted again."""
    patch.setattr(decide, "knows_update", lambda run, id: False)


@mutant("random", "retries")
def late_results_are_taken(patch: MonkeyPatch) -> None:
    """the result of an attempt that was given up counts."""

    def taken(run: Run, message: msg.AttemptEnded, now: int) -> Any:
        step = run.pending.get(message.id)
        if step is None or message.result is None:
            return right(run, message, now)
        return (
            ev.ActivityCompleted(now, message.id, message.result, message.started_at, message.attempt, message.member),
        )

    def lands(self: Owner, letter: Any) -> bool:
        land(self, letter)
        return True

    right, land = decide._MESSAGES[msg.AttemptEnded], Owner._lands
    _decide(patch, msg.AttemptEnded, taken)
    patch.setattr(Owner, "_lands", lands)


@mutant("timers", "random")
def timers_fire_early(patch: MonkeyPatch) -> None:
    """timers fire a second too early."""

    def early(run: Run, message: Any, now: int) -> Any:
        return [
            msgspec.structs.replace(each, at=now) if isinstance(each, ev.TimerFired) else each
            for each in right(run, message, now + 1_000_000_000)
        ]

    right = decide._MESSAGES[msg.Wake]
    _decide(patch, msg.Wake, early)


@mutant("random", "sequence")
def the_dead_are_not_missed(patch: MonkeyPatch) -> None:
    """attempts of a member that has died are waited for."""
    _decide(patch, msg.Takeover, lambda run, message, now: _NOTHING)


@mutant("families")
def ends_of_children_are_told_twice(patch: MonkeyPatch) -> None:
    """a parent takes the end of a child each time it hears of it, and hears of it twice."""
    tell = families._tell_parent

    def twice(*told: Any) -> None:
        tell(*told)
        tell(*told)

    patch.setattr(families, "_tell_parent", twice)
    patch.setattr(relations, "_link", lambda run, step: (run.links or {}).get(step) or True)


@mutant("people")
def tasks_are_answered_twice(patch: MonkeyPatch) -> None:
    """a human task takes a second answer."""

    def again(run: Run, message: msg.CompleteTask, now: int) -> Any:
        try:
            return right(run, message, now)
        except decide.Refused:
            if not run.is_open:
                raise
            return (ev.TaskCompleted(now, message.id, message.by, message.result),)

    right = asking.complete
    _decide(patch, msg.CompleteTask, again)


# the runtime


@mutant("sequence", "random")
def effects_come_before_the_commit(patch: MonkeyPatch) -> None:
    """attempts begin before they are written."""
    commit, perform = Cycle._commit, Effects.perform
    drafts: list[Any] = []

    def early(self: Cycle, batch: Batch) -> None:
        self._effects._begin(self._effects._slots.take_off(), drafts[-1])
        commit(self, batch)

    def noting(self: Draft, now: int) -> None:
        make(self, now)
        drafts.append(self)

    make = Draft.__init__
    patch.setattr(Draft, "__init__", noting)
    patch.setattr(Cycle, "_commit", early)
    patch.setattr(Effects, "perform", perform)


@mutant("timers", "timeout", "random")
def near_alarms_do_not_ring(patch: MonkeyPatch) -> None:
    """a wake-up that is near is forgotten."""
    patch.setattr(Alarms, "due", lambda self, now: [])


@mutant("random", "sequence", "fan-out")
def slots_are_not_given_back(patch: MonkeyPatch) -> None:
    """the slot of an attempt that has ended stays taken."""
    patch.setattr(Slots, "land", lambda self, key, step, attempt: None)


@mutant("signals to chains", "everything")
def signals_are_not_handed_on(patch: MonkeyPatch) -> None:
    """signals that nobody has received end with the run that continues as new."""
    patch.setattr(families, "_hand_on", lambda *_: None)


@mutant("signals to chains")
def requests_are_not_handed_on(patch: MonkeyPatch) -> None:
    """a run does not know which signals the one that it continues has received."""
    from perdure.kernel import continuing

    patch.setattr(continuing, "_carried", lambda run, left: b"")


@mutant("families")
def children_are_forgotten(patch: MonkeyPatch) -> None:
    """what becomes of a child is not decided when its parent ends."""
    patch.setattr(Families, "part", lambda self, draft: None)


@mutant("families", "signals to chains")
def runs_do_not_go_on(patch: MonkeyPatch) -> None:
    """a run that continues as another one is not continued."""
    patch.setattr(Holders, "continuing", lambda self, draft: [])


@mutant("updates")
def answers_are_not_kept(patch: MonkeyPatch) -> None:
    """an update is accepted, and its answer is not written."""

    def spoil(batch: Batch) -> None:
        batch.updates = [row for row in batch.updates if row.ended_at is None]

    spoil_batches(patch, spoil)


@mutant("streams")
def chunks_are_written_twice(patch: MonkeyPatch) -> None:
    """what a run writes to a stream is there twice."""

    def spoil(batch: Batch) -> None:
        batch.chunks = [*batch.chunks, *batch.chunks]

    spoil_batches(patch, spoil)


@mutant("sagas")
def the_first_compensation_is_left_out(patch: MonkeyPatch) -> None:
    """a saga undoes all but its first step."""
    run_back = Saga._run_back

    async def but_the_first(self: Saga) -> None:
        del self._todo[:1]
        await run_back(self)

    patch.setattr(Saga, "_run_back", but_the_first)


@mutant("random", "everything")
def the_blocked_are_not_released(patch: MonkeyPatch) -> None:
    """an owner does not take up what the last one left."""
    patch.setattr(Owner, "take_over", lambda self: None)


@mutant("signals")
def the_store_takes_what_it_has(patch: MonkeyPatch) -> None:
    """a batch whose events are there already is written a second time."""
    patch.setattr(memory, "_refusal", lambda shelf, batch: None)
    patch.setattr(MemoryJournal, "settle", lambda self, batch: False)


@mutant("retries", "random")
def time_goes_back(patch: MonkeyPatch) -> None:
    """the time of a run goes back when the clock of its owner does."""
    react = PythonProgram._react

    def back(self: PythonProgram, event: Any, answer: Any) -> Any:
        self.loop.now = event.at
        return react(self, event, answer)

    patch.setattr(PythonProgram, "_react", back)


@mutant("fan-out", "random")
def slots_are_given_back_twice(patch: MonkeyPatch) -> None:
    """an attempt that ends twice gives two slots back."""
    land = Slots.land

    def twice(self: Slots, key: int, step: str, attempt: int) -> None:
        if (step, attempt) not in self._flights.get(key, {}):
            self._free[0] += 1
        land(self, key, step, attempt)

    patch.setattr(Slots, "land", twice)


@mutant("random", "sequence")
def silence_is_not_noticed(patch: MonkeyPatch) -> None:
    """an attempt that is silent for too long is waited for."""
    patch.setattr(Deadlines, "watch", lambda self, flight, monotonic, timeout_ns, heartbeat_ns: None)


# workers of queues


@mutant("queues")
def orphans_are_forgotten(patch: MonkeyPatch) -> None:
    """what a worker has taken that died is given to nobody."""
    patch.setattr(MemoryTasks, "orphans", lambda self: [])


@mutant("queues")
def zombies_are_heard(patch: MonkeyPatch) -> None:
    """a worker that was taken for dead goes on, and what it brings counts."""

    def end(self: MemoryTasks, member: int, ending: Ending) -> bool:
        self._shelf.tasks.pop((ending.run, ending.message.id), None)
        self._shelf.put_mail(MailRow(0, ending.run, ending.message))
        return True

    patch.setattr(MemoryTasks, "_demand", lambda self, member: None)
    patch.setattr(MemoryTasks, "_end", end)


@mutant("queues")
def tasks_are_taken_twice(patch: MonkeyPatch) -> None:
    """a task that a worker has taken is given to another one as well."""

    def waits(self: MemoryTasks, task: TaskRow, queues: Any, names: Any) -> bool:
        return task.queue in queues and task.name in names

    patch.setattr(MemoryTasks, "_waits", waits)


@mutant("cancel queues", "queues")
def tasks_outlive_their_steps(patch: MonkeyPatch) -> None:
    """the tasks of a run that was cancelled stay in the queue."""

    def spoil(batch: Batch) -> None:
        batch.tasks_gone, batch.tasks_gone_of = [], []

    spoil_batches(patch, spoil)


@mutant("deploys")
def the_mended_do_not_go_on(patch: MonkeyPatch) -> None:
    """runs that were blocked are not looked for by an owner with other code."""
    patch.setattr(MemoryWork, "mending", lambda self: [])


# what no simulation in one process shows


def commands_come_in_the_order_of_a_set(patch: MonkeyPatch) -> None:
    """the commands of a turn are put in the order of a set of their ids."""
    answer = PythonProgram._answer

    def shuffled(self: PythonProgram) -> Any:
        commands = self.loop.commands
        ids = {*commands}
        for id in ids:
            commands[id] = commands.pop(id)
        return answer(self)

    patch.setattr(PythonProgram, "_answer", shuffled)


# how soon each is found


def lives_until_found(wrong: str) -> tuple[int, str] | None:
    """How many lives it takes, by turns of its workloads, and of which one the last was; None if it is overlooked."""
    plant, workloads = MUTANTS[wrong]
    lives = itertools.product(range(SEEDS), workloads)
    with MonkeyPatch.context() as patch:
        plant(patch)
        found = (
            (n, workload) for n, (seed, workload) in enumerate(lives, 1) if simulate(plan_of(seed, workload)).violation
        )
        return next(found, None)


def main() -> None:
    width = max(map(len, MUTANTS))
    for wrong in MUTANTS:
        found = lives_until_found(wrong)
        print(f"{wrong:{width}}  " + ("OVERLOOKED" if found is None else f"{found[0]:3} {found[1]}"), flush=True)


if __name__ == "__main__":
    main()


@mutant("cancel transfers")
def what_is_cancelled_is_not_undone(patch: MonkeyPatch) -> None:
    """a saga whose run is cancelled undoes nothing."""
    compensate = Saga._compensate

    async def unless_cancelled(self: Saga, error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            await compensate(self, error)

    patch.setattr(Saga, "_compensate", unless_cancelled)
