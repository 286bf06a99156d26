"""Bugs that do not show in what runs come to, as somebody mends it in time, or as it is in nobody's way: only who looks into
the store, or into the memory of an owner, sees what is missing there, or is left."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from pytest import MonkeyPatch

from perdure.kernel import messages as msg
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.alarms import Alarms
from perdure.runtime.draft import Draft
from perdure.runtime.owner import Owner
from perdure.runtime.slots import Slots
from perdure.stores.base import Batch, Poll
from perdure.stores.memory import MemoryJournal, MemoryWork, Shelf
from perdure.stores.memory_tasks import MemoryTasks
from tests.simulation.mutants import spoil_batches

Plant = Callable[[MonkeyPatch], None]


class Hidden(NamedTuple):
    """How a bug is planted, what is said of a life with it, of which workload it is, and how many owners it has."""

    plant: Plant
    said: str
    workload: str
    members: int


MUTANTS: dict[str, Hidden] = {}
"""By what is wrong."""


def mutant(said: str, workload: str, members: int = 0) -> Callable[[Plant], Plant]:
    def named(plant: Plant) -> Plant:
        assert plant.__doc__
        MUTANTS[plant.__doc__.rstrip(".")] = Hidden(plant, said, workload, members)
        return plant

    return named


# for a second nobody goes on with a run: were the process to die in it, the run would stand still for ever


@mutant("is in no queue", "queues")
def tasks_are_written_late(patch: MonkeyPatch) -> None:
    """a step of a queue is put there when the store is looked into, and not in the commit that schedules it."""

    commit, late = MemoryJournal.commit, {}

    def spoiled(self: MemoryJournal, batch: Batch) -> None:
        commit(self, batch)
        late.update({(task.run, task.step): self._shelf.tasks.pop((task.run, task.step)) for task in batch.tasks})

    def mend(shelf: Shelf) -> None:
        shelf.tasks |= late
        late.clear()

    patch.setattr(MemoryJournal, "commit", spoiled)
    _at_each_poll(patch, mend)


@mutant("of which it will never hear", "families")
def ends_of_children_are_told_late(patch: MonkeyPatch) -> None:
    """a parent is told that its child has ended when the store is looked into, and not in the commit that ends it."""

    def spoil(batch: Batch) -> None:
        late.extend(mail for mail in batch.mail_kept if isinstance(mail.message, msg.ChildEnded))
        batch.mail_kept = [mail for mail in batch.mail_kept if not isinstance(mail.message, msg.ChildEnded)]

    def mend(shelf: Shelf) -> None:
        for mail in late:
            shelf.put_mail(mail)
        late.clear()

    late: list[Any] = []
    spoil_batches(patch, spoil)
    _at_each_poll(patch, mend)


@mutant("in nobody's hands", "fan-out")
def who_waits_for_a_slot_is_noted_late(patch: MonkeyPatch) -> None:
    """a step that has to wait for a slot is among those that wait when the store is looked into."""
    want, polled = Slots.want, Owner._polled
    late: list[tuple[Any, ...]] = []

    def mended(self: Owner, now: int, monotonic: float) -> Any:
        for wanted in late:
            want(self.slots, *wanted)
        late.clear()
        return polled(self, now, monotonic)

    patch.setattr(Slots, "want", lambda self, *wanted: late.append(wanted))
    patch.setattr(Owner, "_polled", mended)


@mutant("an alarm that is not set", "timers")
def alarms_are_set_the_second_time(patch: MonkeyPatch) -> None:
    """a run counts as one with an alarm, and has none before it is due and looked for."""
    right = Alarms.set

    def unset(self: Alarms, actor: Actor, now: int) -> None:
        at = actor.run.wake_at() or 0
        if actor.alarm != at:
            actor.alarm = at
            return
        actor.alarm = 0
        right(self, actor, now)

    patch.setattr(Alarms, "set", unset)


# something is left that nobody needs


@mutant("and stays in memory", "sequence")
def the_ended_stay_in_memory(patch: MonkeyPatch) -> None:
    """a run that has ended stays in the memory of its owner."""
    settle = Roster.settle

    def kept(self: Roster, actor: Actor) -> None:
        if actor.run.is_open:
            settle(self, actor)

    patch.setattr(Roster, "settle", kept)


@mutant("wait in memory, at most", "timers")
def all_are_kept(patch: MonkeyPatch) -> None:
    """of runs that only wait more stay in memory than may."""
    patch.setattr(Roster, "make_room", lambda self: None)


@mutant("their owner has in its memory {'claims of runs'", "signals", members=3)
def claims_are_remembered(patch: MonkeyPatch) -> None:
    """an owner remembers for ever how often each run was claimed that it has kept aside."""
    recall = Roster.recall

    def remembered(self: Roster, claimed: Any) -> bool:
        here = recall(self, claimed)
        self._claims[claimed.key] = claimed.claims
        return here

    patch.setattr(Roster, "recall", remembered)


@mutant("owners of runs that have ended", "operators", members=3)
def the_ended_are_owned(patch: MonkeyPatch) -> None:
    """whoever is asked for a run that has ended owns it from then on."""
    patch.setattr(Draft, "has_to_park", lambda self: False)


@mutant("who listens for workers that are gone", "queues")
def the_dead_are_called(patch: MonkeyPatch) -> None:
    """a worker that has left is called when there are tasks."""
    bury = MemoryTasks.bury

    def remembered(self: MemoryTasks, member: int, beat: int | None = None) -> bool:
        listener = self._shelf.listeners.get(member)
        if listener is not None:
            bury(self, member, beat)
            self._shelf.listeners[member] = listener
        return True

    patch.setattr(MemoryTasks, "bury", remembered)


@mutant("attempts of runs that are not there", "retries")
def rows_of_nobody_are_written(patch: MonkeyPatch) -> None:
    """an attempt that has failed is written for another run as well."""

    def spoil(batch: Batch) -> None:
        batch.attempts = [*batch.attempts, *(msgspec.structs.replace(row, run=-row.run) for row in batch.attempts)]

    spoil_batches(patch, spoil)


def _at_each_poll(patch: MonkeyPatch, mend: Callable[[Shelf], None]) -> None:
    poll = MemoryWork.poll

    def mended(self: MemoryWork, now: int, limit: int, starts: bool = True) -> Poll:
        mend(self._shelf)
        return poll(self, now, limit, starts)

    patch.setattr(MemoryWork, "poll", mended)
