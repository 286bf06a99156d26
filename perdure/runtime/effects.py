"""What may happen once a batch is durable: attempts begin or are given up, callers hear, people are told, runs are parked."""

import logging

from perdure.kernel import events as ev
from perdure.kernel.messages import AttemptEnded
from perdure.kernel.notes import failure_line
from perdure.kernel.project import task_of
from perdure.kernel.run import Run
from perdure.kernel.wire import Task
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.alarms import Alarms
from perdure.runtime.deadlines import Deadlines
from perdure.runtime.draft import Draft
from perdure.runtime.equipment import Company
from perdure.runtime.letters import Ended, Letter, Started, StartRequest
from perdure.runtime.slots import Flight, Slots
from perdure.runtime.waiters import is_at_rest
from perdure.runtime.workforce import Workforce
from perdure.runtime.world import World
from perdure.stores.base import Store


class Effects:
    """Performed once per batch."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        slots: Slots,
        company: Company,
        workforce: Workforce,
        grace_seconds: float,
        world: World,
        log: logging.Logger,
    ) -> None:
        self._tasks, self._bell = store.tasks, store.streams.bell
        self._roster = roster
        self._slots = slots
        self._waiters = company.waiters
        self._answers = company.waiters.answers
        self._outbox = company.outbox
        self._crew = company.crew
        self._own_worker = company.own_worker
        self._workforce = workforce
        self._grace_seconds = grace_seconds
        self._world = world
        self._log = log
        self.alarms = Alarms()
        self.deadlines = Deadlines()
        self._released: list[int] = []

    def perform(self, draft: Draft) -> list[int]:
        """Returns: keys of the runs that are to be looked after, and have left memory."""
        self._released = released = []
        took_off = self._slots.take_off()
        for request, started, error in draft.answers:
            self._answer(request, started, error)
        for receiver, heard in draft.heard:
            self._outbox.answer(receiver, heard, None)
        for actor in draft.actors.values():
            if actor.events or actor.is_new:
                self._settle(actor, draft)
            if draft.parks and actor.run.key in draft.parks:
                self._roster.park(actor)
                continue
            self.alarms.set(actor, draft.now)
            self._roster.settle(actor)
        self._roster.make_room()
        for row in draft.marked:
            self._log.error(draft.damaged[row.key])
            self._waiters.tell(row.key, row.id, None, self._outbox)
        self._begin(took_off, draft)
        if draft.gives_tasks and not self._own_worker(draft.gives_tasks):
            self._tasks.nudge(self._workforce.serving(draft.gives_tasks))
        self._bell.ring(draft.actors)
        for key in draft.withdrawn:
            self._waiters.tell(key, "", None, self._outbox)
        for key in (*released, *draft.withdrawn):
            self._roster.evict(key)
        for send in draft.elsewhere:
            send()
        return released

    def _answer(self, request: StartRequest, started: Started | None, error: BaseException | None) -> None:
        """Before the runs of the batch are settled: who waits for the end of one that ends now is told then."""
        if started is None or not request.until_end or started.at_rest:
            self._outbox.answer(request.receiver, started, error)
        else:
            self._waiters.add(started.key, request.id, request.receiver)
            request.watched(self._waiters, started.key)

    def _settle(self, actor: Actor, draft: Draft) -> None:
        """Look at what has happened to a run, and tell those whom it concerns."""
        run = actor.run
        gives_up, actor.told_outside = actor.told_outside, False
        for event in actor.events:
            kind = type(event)
            if kind in _GIVE_UP:
                gives_up = True
            if kind in _TOLD:
                self._tell(actor, event)
            elif kind in _ANSWERED:
                self._answers.tell(run.key, event.id, self._outbox)  # type: ignore[union-attr]
        if gives_up:
            self._give_up(actor)
        actor.events.clear()
        actor.seq = run.seq
        actor.is_new = False
        if (run.outcome is not None or run.block is not None) and len(self._answers):
            self._answers.ended(run.key, run.asked or (), self._outbox)
        if not len(self._waiters):
            return
        if run.key in draft.continued:
            self._waiters.move(run.key, draft.continued[run.key])
        elif rests(run):
            ended = None if run.outcome is None else Ended(run.key, run.outcome)
            self._waiters.tell(run.key, run.id, ended, self._outbox)

    def _give_up(self, actor: Actor) -> None:
        """Cancel the attempts in the air of which nobody wants the result any more."""
        pending = actor.run.pending
        for flight in self._slots.of_run(actor.run.key):
            step = pending.get(flight.step)
            if not flight.given_up and (step is None or step.attempt != flight.attempt or not step.member):
                self.deadlines.give_up(flight, self._world.monotonic(), self._grace_seconds)
                self._crew.give_up(flight)

    def forsake(self, letter: Letter) -> None:
        """The run does not take the letter now: an attempt whose time is over, and that goes on, is given up all the same."""
        ended = letter.message
        if not isinstance(ended, AttemptEnded):
            return
        for flight in self._slots.of_run(letter.key):
            if not flight.given_up and (flight.step, flight.attempt) == (ended.id, ended.attempt):
                self.deadlines.give_up(flight, self._world.monotonic(), self._grace_seconds)
                self._crew.give_up(flight)

    def _begin(self, flights: list[Flight], draft: Draft) -> None:
        """Also those of a run that was blocked in the same batch, and has left memory."""
        departures: list[tuple[Flight, str, Task]] = []
        for flight in flights:
            actor = draft.actors[flight.key]
            step = actor.run.pending.get(flight.step)
            if step is None or step.attempt != flight.attempt or not step.member:
                self._slots.land(flight.key, flight.step, flight.attempt)
                continue
            if step.timeout_ns is not None or step.terms is not None:
                flight.began = draft.now
                self.deadlines.watch(flight, self._world.monotonic(), step.timeout_ns, step.heartbeat_ns)
            departures.append((flight, step.name, task_of(actor.run, step)))
        if departures:
            self._crew.begin(departures)

    def _tell(self, actor: Actor, event: ev.Event) -> None:
        id = actor.run.id
        if isinstance(event, ev.RunReleased):
            self._released.append(actor.run.key)
        elif isinstance(event, ev.RunBlocked):
            block = event.block
            where = f" (at {block.source})" if block.source else ""
            self._log.error("run %s is blocked: %s%s\n  hint: %s", id, block.message, where, block.hint)
        elif isinstance(event, ev.AttemptFailed):
            step = actor.run.pending.get(event.id)
            self._tell_failed(id, event.id if step is None else step.name, event)
            if event.held and event.build and step is not None and step.queue:
                self._missed(actor.run.key, event.build)

    def _missed(self, key: int, build: str) -> None:
        """A worker has left other code's attempt as its last: that code has come before there was anything to release."""
        if not self._workforce.has_build(build):
            self._released.append(key)

    def _tell_failed(self, id: str, name: str, event: ev.AttemptFailed) -> None:
        """A bug is told with its traceback; a failure that is tried again in one line, and ever more rarely."""
        if event.held and not event.failure.is_bug:
            hint = f"see to it that it can succeed, then: perdure retry {id}"
            why = failure_line(event.failure)
            self._log.error("run %s: activity %s has no attempt left and is held: %s\n  hint: %s", id, name, why, hint)
        elif event.held:
            hint = f"mend it and start again, or: perdure retry {id}"
            trace = event.failure.traceback.rstrip()
            self._log.error("run %s: a bug holds activity %s\n%s\n  hint: %s", id, name, trace, hint)
        elif event.retry_at is not None and event.attempt.bit_count() == 1:
            asked = event.failure.retry_after_ns is not None
            again = max(event.retry_at - event.at, 0) / 1e9
            self._log.log(
                logging.INFO if asked else logging.WARNING,
                "run %s: attempt %d of activity %s failed: %s; the next in %.3g s",
                id,
                event.attempt,
                name,
                failure_line(event.failure),
                again,
            )


def rests(run: Run) -> bool:
    """Whether waiting for the run is of no use, as `waiters.rests` says of its row."""
    if run.outcome is not None or run.block is not None:
        return True
    if not run.held:
        return False  # nearly all
    return run.unhelped is not None or is_at_rest(run.status, run.wake_at(), run.expires_at)


_TOLD = frozenset({ev.RunBlocked, ev.RunReleased, ev.AttemptFailed})
_ANSWERED = frozenset({ev.UpdateCompleted, ev.UpdateFailed})
_GIVE_UP = ev.TERMINAL | {ev.ActivityCancelled, ev.AttemptFailed}
