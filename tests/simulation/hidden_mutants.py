"""Bugs that do not show in what runs come to, as somebody mends it in time, or as it is in nobody's way: only who looks into
the store, or into the memory of an owner, sees what is missing there, or is left."""

from collections.abc import Callable
from typing import Any

from pytest import MonkeyPatch

from perdure.kernel import messages as msg
from perdure.runtime.actors import Actor
from perdure.runtime.alarms import Alarms
from perdure.runtime.owner import Owner
from perdure.runtime.slots import Slots
from perdure.stores.base import Batch, Poll
from perdure.stores.memory import MemoryJournal, MemoryWork, Shelf
from tests.simulation.mutants import spoil_batches

Plant = Callable[[MonkeyPatch], None]
Hidden = dict[str, tuple[Plant, str, tuple[str, ...]]]

MUTANTS: Hidden = {}
"""What is wrong: how it is planted, what is said of a life with it, and in which workloads."""


def mutant(said: str, *workloads: str) -> Callable[[Plant], Plant]:
    def named(plant: Plant) -> Plant:
        assert plant.__doc__
        MUTANTS[plant.__doc__.rstrip(".")] = (plant, said, workloads)
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


def _at_each_poll(patch: MonkeyPatch, mend: Callable[[Shelf], None]) -> None:
    poll = MemoryWork.poll

    def mended(self: MemoryWork, now: int, limit: int, starts: bool = True) -> Poll:
        mend(self._shelf)
        return poll(self, now, limit, starts)

    patch.setattr(MemoryWork, "poll", mended)
