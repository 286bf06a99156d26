"""Why an open run will go on: whatever it waits for is on its way, be it in the store, in the memory of its owner, or with
somebody outside who is known to come."""

from collections.abc import Iterable

import msgspec

from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.family import child_run_id
from perdure.kernel.run import Run, Status
from perdure.kernel.step import OUT, Step
from perdure.runtime.draft import Draft
from perdure.runtime.owner import Owner
from perdure.stores.base import RunFilter, Store, Stored
from perdure.testing.simulation.histories import History, demand
from perdure.testing.simulation.values import words_for


class Reasons:
    """Those that the store has."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def demand(self, run: Run, stored: Stored, history: History) -> None:
        """Right after a commit: `run` is folded from what is `stored`."""
        if not run.is_open or run.block is not None:
            return
        if not run.seq:
            has_start = any(isinstance(mail.message, msg.Start) for mail in stored.mail)
            demand(has_start, f"{run.id} is queued, and its start is not in its mailbox (6)")
            return
        if any(step.queue for step in run.pending.values()):
            self._demand_tasks(run, stored)
        for step in run.links or ():
            self._demand_answer(run, stored, step)
        if not (run.unresolved or run.open_tail or stored.mail):
            words, heard = words_wanted(history.events), history.heard
            demand(heard < words, f"{run.id} waits for nothing: it has heard {heard} of {words} words (6)")

    def _demand_tasks(self, run: Run, stored: Stored) -> None:
        """A step of a queue is there to be taken, or somebody has told how its attempt has ended."""
        seen = self._store.views.stored(run.key)
        tasks = {(task.step, task.attempt) for task in seen.tasks} if seen is not None else set()
        for step in run.pending.values():
            if step.member == OUT and step.queue and not is_told(stored, step):
                there = (step.id, step.attempt) in tasks
                demand(there, f"{run.id} [{step.id}]#{step.attempt} waits for a worker, and is in no queue (6)")

    def _demand_answer(self, run: Run, stored: Stored, step: str) -> None:
        """A child is open, and one of whom something was asked has not heard it yet; or the answer is in the mailbox."""
        assert run.links is not None
        link = run.links[step]
        if any(getattr(mail.message, "id", None) == step for mail in stored.mail):
            return
        if link.workflow:
            first = self._store.views.row_of(link.id, child_run_id(run.run_id, step))
            last = None if first is None else self._store.views.end_of_chain(first.key)
            going = last is not None and last.status < Status.COMPLETED
            demand(going, f"{run.id} [{step}] waits for its child {link.id}, of which it will never hear (6)")
            return
        others = self._store.views.search(RunFilter(id_prefix=link.id))
        mail = [mail for one in stored_of(self._store, [row.key for row in others]).values() for mail in one.mail]
        asked = any(each.reply_to == Draft(0).answer_to(run.key, step) for each in mail)
        demand(asked, f"{run.id} [{step}] waits for an answer of {link.id}, which was never asked (6)")


def words_wanted(events: list[ev.HistoryEvent]) -> int:
    """How many words the run has to be told until it goes on by itself."""
    started = events[0]
    assert isinstance(started, ev.RunStarted)
    (spec,) = msgspec.json.decode(started.input.data)
    match spec:
        case int():
            return spec
        case ["hear", left, _]:
            return left
        case ["relay", _, _]:
            return 1
        case ["chain", _, inner, *_]:
            return words_for(inner)
        case ["third time", inner]:
            return words_for(inner)
        case _:
            return words_for(spec)


def stored_of(store: Store, keys: Iterable[int]) -> dict[int, Stored]:
    """All that there is of runs: an owner loads less of them."""
    found = {key: store.views.stored(key) for key in keys}
    return {key: stored for key, stored in found.items() if stored is not None}


def is_told(stored: Stored, step: Step) -> bool:
    """Whether the end of the step's attempt is in the mailbox."""
    return any(getattr(mail.message, "id", None) == step.id for mail in stored.mail)


class Inside:
    """What an owner has in its memory, seen between two rounds."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def demand_reasons(self, run: Run, stored: Stored) -> None:
        """The owner has in hand what the run waits for in its process."""
        owner = self._owner
        key = run.key
        actor = owner._roster.get(key)
        if actor is not None:
            same = actor.run.seq == run.seq and not actor.events
            demand(same, f"{run.id} has {actor.run.seq} events in memory, and {run.seq} in the store (3)")
            rings = not actor.alarm or (actor.alarm, key) in owner._alarms._wakes
            demand(rings, f"{run.id} has an alarm that is not set (6)")
        if not run.is_open or run.block is not None or self._is_looked_after(key):
            return
        demand(not run.open_tail, f"{run.id} owes an answer, and nobody asks for it (6)")
        for step in run.pending.values():
            if step.held is None and step.retry_at is None and step.member != OUT and not step.deferred:
                what = f"{run.id} [{step.id}]#{step.attempt}"
                demand(self._is_in_hand(run, step, stored), f"{what} is in motion, and in nobody's hands (6)")

    def _is_looked_after(self, key: int) -> bool:
        owner = self._owner
        return key in owner._left_behind or key in owner._look_after or any(i.key == key for i in owner._cycle.onward)

    def _is_in_hand(self, run: Run, step: Step, stored: Stored) -> bool:
        slots = self._owner.slots
        if step.wants_slot:
            return (run.key, step.id) in slots._waiting[slots.kind(step.name)]
        return slots.flies(run.key, step.id, step.attempt) or is_told(stored, step)
