"""Bugs in what several owners agree on, planted into the oracle and into the runtime: each leaves out one of the rules."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest import MonkeyPatch

from perdure.runtime import membership
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.draft import Draft
from perdure.runtime.mending import Mending
from perdure.runtime.owner import Owner
from perdure.runtime.slots import Slots
from perdure.stores import base, memory, memory_members
from perdure.stores.membership import Claimed
from perdure.stores.memory import MemoryJournal, MemoryWork, Shelf
from perdure.stores.memory_admin import MemoryAdmin
from perdure.stores.memory_members import MemoryMembership, Seat
from tests.simulation.mutants import Mutants, planter

MUTANTS: Mutants = {}
mutant = planter(MUTANTS)


# the store


@mutant("everything", "fan-out")
def no_fence(patch: MonkeyPatch) -> None:
    """whoever was declared dead commits all the same."""

    @contextmanager
    def unfenced(shelf: Shelf, member: int, batch: base.Batch) -> Iterator[Seat | None]:
        yield shelf.seats.get(member)

    patch.setattr(memory, "fenced", unfenced)
    patch.setattr(MemoryAdmin, "owns", property(lambda self: self.member != 0))


@mutant("everything", "random")
def runs_of_the_living_are_taken(patch: MonkeyPatch) -> None:
    """a run is claimed that a living member owns."""
    patch.setattr(memory_members, "owned_by_another", lambda shelf, key, member: False)


@mutant("everything", "sequence", "retries")
def the_barrier_is_left_out(patch: MonkeyPatch) -> None:
    """whoever looks for a commit in doubt does not wait until the server has ended it."""
    patch.setattr(memory, "awaited", lambda shelf, member: None)


@mutant("everything", "sequence")
def the_dead_stay_owners(patch: MonkeyPatch) -> None:
    """nobody takes over what a dead member has left."""

    def claim(shelf: Shelf, member: int, wanted: Any, limit: int) -> list[Claimed]:
        memory_members.seat_of(shelf, member).beat += 1
        free = [key for key in dict.fromkeys(wanted) if key in shelf.runs and key not in shelf.owners]
        return [memory_members._given(shelf, key, member) for key in free[:limit]]

    patch.setattr(memory_members, "_claim", claim)


@mutant("signals", "everything")
def mail_wakes_nobody(patch: MonkeyPatch) -> None:
    """a parked run that has mail is claimed only when it is due."""
    patch.setattr(MemoryWork, "wanting", lambda self, now, starts: self._due(now, starts))


@mutant("timers", "retries")
def time_wakes_nobody(patch: MonkeyPatch) -> None:
    """a parked run that is due is claimed only when it has mail."""
    patch.setattr(MemoryWork, "wanting", lambda self, now, starts: [mail.run for mail in self._unread(starts)])


@mutant("signals", "updates", "nests")
def the_dead_come_to_life(patch: MonkeyPatch) -> None:
    """a beat makes a member living that was declared dead."""
    poll = MemoryMembership.poll

    def beaten(self: MemoryMembership, now: int, limit: int, claims: int, starts: bool = True) -> base.Poll:
        self._shelf.seats.setdefault(self._admin.member, Seat("simulated"))
        return poll(self, now, limit, claims, starts)

    patch.setattr(MemoryMembership, "poll", beaten)
    own = MemoryMembership.own

    def owned(self: MemoryMembership, keys: Any) -> dict[int, Claimed]:
        self._shelf.seats.setdefault(self._admin.member, Seat("simulated"))
        return own(self, keys)

    patch.setattr(MemoryMembership, "own", owned)
    patch.setattr(MemoryAdmin, "owns", property(lambda self: bool(self._shelf.seats.setdefault(self.member, Seat("")))))


@mutant("signals", "updates")
def mail_is_left_behind(patch: MonkeyPatch) -> None:
    """a commit forgets to delete the mail that it has read."""
    commit = MemoryJournal.commit

    def forgetful(self: MemoryJournal, batch: base.Batch) -> None:
        batch.mail_read = batch.mail_read[:-1]
        commit(self, batch)

    patch.setattr(MemoryJournal, "commit", forgetful)


# the runtime


@mutant("sequence", "fan-out", "everything")
def runs_at_work_are_parked(patch: MonkeyPatch) -> None:
    """a run is parked while its attempts are in the air."""
    patch.setattr(Actor, "is_parked", property(lambda self: True))


@mutant("nests", "timer storm", "timeout")
def blocked_runs_at_work_are_parked(patch: MonkeyPatch) -> None:
    """a run that is blocked is parked while its attempts are in the air."""
    patch.setattr(Slots, "at_work", lambda self, key: False)


@mutant("deploys")
def other_code_asks_once(patch: MonkeyPatch) -> None:
    """a run that is blocked while members with other code are there already is shown to none of them."""
    look = Mending.look

    def looks_once(self: Mending, unmended: bool, monotonic: float) -> list[int]:
        return look(self, unmended and not self.is_over, monotonic)

    patch.setattr(Mending, "look", looks_once)


@mutant("everything", "random")
def copies_are_kept_for_ever(patch: MonkeyPatch) -> None:
    """a run that was kept aside is gone on with, whoever has had it meanwhile."""
    recall = Roster.recall

    def trusting(self: Roster, claimed: Claimed) -> bool:
        actor = self._aside.get(claimed.key)
        if actor is not None:
            actor.claims = claimed.claims - 1
        return recall(self, claimed)

    patch.setattr(Roster, "recall", trusting)


@mutant("everything", "sequence")
def nobody_is_declared_dead(patch: MonkeyPatch) -> None:
    """no member ever finds another one to be dead."""
    patch.setattr(membership.Holdings, "dead", lambda self, beats, monotonic: [])


@mutant("everything", "retries")
def what_the_dead_left_is_not_looked_after(patch: MonkeyPatch) -> None:
    """whoever takes over a run waits until it has mail or is due."""
    claimed = Owner._claimed

    def careless(self: Owner, poll: base.Poll, monotonic: float) -> None:
        poll.claimed = [Claimed(each.key, each.claims) for each in poll.claimed]
        claimed(self, poll, monotonic)

    patch.setattr(Owner, "_claimed", careless)


@mutant("signals", "updates", "everything")
def letters_for_others_are_dropped(patch: MonkeyPatch) -> None:
    """what is for a run of another owner is thrown away, and its sender told that it was taken."""
    from perdure.runtime.letters import Heard, Letter

    def dropped(self: Draft, item: Any) -> None:
        if isinstance(item, Letter) and item.receiver is not None:
            self.heard.append((item.receiver, Heard()))

    patch.setattr(Draft, "send_elsewhere", dropped)


@mutant("everything", "signals to chains")
def keys_do_not_grow(patch: MonkeyPatch) -> None:
    """keys of new runs are kept for later, when others have been given away."""
    patch.setattr(membership.Holdings, "begin_batch", lambda self: None)
    patch.setattr(membership.Holdings, "saw", lambda self, key: None)
    patch.setattr(membership, "RESERVED", (100,))


@mutant("everything", "sequence")
def a_member_goes_on_after_a_doubt(patch: MonkeyPatch) -> None:
    """every commit whose fate is unknown is taken for lost."""
    patch.setattr(MemoryJournal, "settle", lambda self, batch: False)


@mutant("everything", "random")
def hand_over_forgets_the_runs(patch: MonkeyPatch) -> None:
    """whoever leaves gives its runs to nobody, and wakes none of them."""

    def hand_over(self: MemoryMembership) -> None:
        member = self._admin.member
        self._shelf.seats.pop(member, None)
        self._shelf.owners = {key: owner for key, owner in self._shelf.owners.items() if owner != member}

    patch.setattr(MemoryMembership, "hand_over", hand_over)


@mutant("queues")
def the_losses_of_workers_are_told_to_nobody(patch: MonkeyPatch) -> None:
    """what a worker had taken is forgotten with the worker."""
    from perdure.stores.memory_tasks import MemoryTasks

    def forgotten(self: MemoryTasks, member: int) -> None:
        for task in self._taken(member):
            del self._shelf.tasks[task.run, task.step]

    patch.setattr(MemoryTasks, "_tell_losses", forgotten)


@mutant("signals", "updates", "everything")
def mail_is_read_from_a_mark_on(patch: MonkeyPatch) -> None:
    """a poll passes over letters whose numbers are below one that it has seen."""
    unread = MemoryWork._unread
    marks: dict[int, int] = {}

    def from_the_mark(self: MemoryWork, starts: bool) -> list[base.MailRow]:
        mark = marks.get(id(self._shelf), 0)
        found = [mail for mail in unread(self, starts) if mail.id >= mark]
        marks[id(self._shelf)] = max([mark, *(mail.id for mail in found)])
        return found

    patch.setattr(MemoryWork, "_unread", from_the_mark)
