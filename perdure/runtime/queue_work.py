"""What a worker of queues does, from the moment it joins until it leaves or is taken for dead: take tasks from the store, run
their attempts, bring their ends. Plain calls on one thread.
"""

import contextlib
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel import overdue, wire
from perdure.kernel.events import Failure
from perdure.kernel.project import TaskRow
from perdure.payload import Coder
from perdure.runtime import weight
from perdure.runtime.clock import Clock
from perdure.runtime.deadlines import Deadlines, timed_out
from perdure.runtime.inbox import Inbox
from perdure.runtime.letters import Letter
from perdure.runtime.liveness import LEASE_SECONDS
from perdure.runtime.outbox import Outbox
from perdure.runtime.slots import KINDS, Flight, Slots
from perdure.runtime.worker import Loop, Worker
from perdure.runtime.world import World
from perdure.stores import base
from perdure.stores.lending import Lender

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition

LOOK_SECONDS = 1.0
"""How often a worker looks for tasks without being told, and learns what is not wanted any more: one call, which only reads
unless there are details of heartbeats to be kept, or it is time to tell that it lives."""

BEATS_OF_A_LEASE = 3
"""How often, in the time for which it may be silent, a worker tells that it lives."""

TAKE_MOST = 200
"""Tasks taken at a time: others want some, too, and the database is held meanwhile."""

_INBOX_MOST = 2_000


class QueueSettings:
    """What a worker was asked for: so many attempts at a time on its loop, in `threads` and in `processes`, of tasks in `queues`. `own`:
    it is an engine's, which makes the transactional attempts of runs that its code is for, as it makes other attempts."""

    __slots__ = ("coder", "concurrency", "grace_seconds", "own", "payload_max_bytes", "processes", "queues", "threads")

    def __init__(
        self,
        queues: Sequence[str],
        concurrency: int,
        threads: int,
        processes: int,
        payload_max_bytes: int,
        grace_seconds: float,
        coder: Coder,
        own: base.Own | None = None,
    ) -> None:
        self.coder = coder
        self.own = own
        self.queues = tuple(queues)
        self.concurrency = concurrency
        self.threads = threads
        self.processes = processes
        self.payload_max_bytes = payload_max_bytes
        self.grace_seconds = grace_seconds


class Offered:
    """Tasks that the owner in this process has told of and that were not asked for yet."""

    def __init__(self, slots: Slots, queues: Collection[str], names: Collection[str]) -> None:
        self._slots = slots
        self._queues = queues
        self._names = names
        self._counts: Counter[int] = Counter()

    def could_take(self, tasks: Mapping[tuple[str, str], int]) -> bool:
        """Whether there is room for so many of each (queue, activity), beside those that were offered before. From any thread."""
        wanted: Counter[int] = Counter()
        for (queue, name), count in tasks.items():
            if queue not in self._queues or name not in self._names:
                return False
            wanted[self._slots.kind(name)] += count
        if any(self._slots.free(kind) < self._counts[kind] + count for kind, count in wanted.items()):
            return False
        self._counts.update(wanted)
        return True

    def clear(self) -> None:
        self._counts.clear()


class QueueWork:
    """One life of a worker: it has joined when it is made. `recruit` makes who runs its attempts, if that is somebody else
    than `Worker`.

    Raises:
        errors.StoreError: the store cannot be written.
    """

    def __init__(
        self,
        store: base.Store,
        activities: "Mapping[str, ActivityDefinition[Any, Any]]",
        build: str,
        settings: QueueSettings,
        home: Loop,
        world: World,
        log: logging.Logger,
        inbox: Inbox,
        on_loop_gone: Callable[[], None],
        recruit: Callable[[int], Any] | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._names = tuple(activities)
        self._world = world
        self._log = log
        self._inbox = inbox
        self._outbox = Outbox()
        self._deadlines = Deadlines()
        self._endings: list[base.Ending] = []
        self._more = True
        self._look_at = 0.0
        self._beaten_at = world.monotonic()
        self._beat_seconds = LEASE_SECONDS / BEATS_OF_A_LEASE
        self._told_unknown: set[str] = set()
        self._clock = Clock(world, log)
        self._clock.ask(store.admin)
        self.member = store.tasks.join(
            socket.gethostname(), os.getpid(), build, world.now(), settings.queues, self._names
        )
        self._slots = Slots(self.member, activities, settings.concurrency, settings.threads, settings.processes)
        self._crew: Worker = (
            recruit(self.member)
            if recruit
            else Worker(
                activities,
                build,
                self.member,
                world,
                store.views,
                settings.payload_max_bytes,
                settings.grace_seconds,
                settings.coder,
                home,
                self._outbox,
                inbox.put,
                on_loop_gone,
                partial(store.streams.append, member=self.member),
                _lender(store, activities, self.member),
                store.post.nudge,
            )
        )
        kind = self._slots.kind
        self.offered = Offered(self._slots, settings.queues, self._names)
        self._wants = [(n, tuple(name for name in self._names if kind(name) == n)) for n in KINDS]
        store.tasks.listen(self.member, inbox.nudge)
        store.post.nudge()  # so that the owner knows whom to tell of tasks

    def close_slots(self) -> None:
        """Take nothing more, and ask at once what is not wanted any more: that is not waited for. From any thread."""
        if not self._slots.closed:
            self._slots.closed = True
            self._look_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether attempts run here, or their ends are to be brought."""
        return bool(self._slots.in_air() or self._endings)

    def flying(self) -> int:
        """How many attempts run here whose end is wanted."""
        return sum(not flight.given_up for flight in self._slots.all())

    def due_in(self, monotonic: float) -> float | None:
        """Seconds until something is to be done of which nobody tells; None: nothing is, but to look whether there are tasks."""
        if self._endings or (self._more and self._room()):
            return 0.0
        until = self._deadlines.seconds(monotonic)
        if self._crew.heartbeats.has_new():
            look = max(self._look_at - monotonic, 0.0)
            until = look if until is None else min(until, look)
        return until

    def could_begin(self, waiting: Sequence[str]) -> bool:
        """Whether some of these activities could begin here now. Only then they are asked for, so that idle workers do not
        write."""
        return any(self._slots.free(kind) > 0 and any(name in names for name in waiting) for kind, names in self._wants)

    def idle(self) -> bool:
        """Whether nothing runs here and nothing waits in the queues, as far as can be seen from outside."""
        if self.busy or self._more:
            return False
        waiting = self._store.tasks.waiting(self._settings.queues)
        return not any(name in self._names for name in waiting)

    def round(self, most_seconds: float) -> None:
        """Wait until there is something to do, but not for longer than until the next look, and do it.

        Raises:
            base.WorkerGone: it was taken for dead. errors.StoreError: the store does not answer.
        """
        monotonic = self._world.monotonic()
        seconds = min(most_seconds, max(self._look_at - monotonic, 0.0))
        until = self.due_in(monotonic)
        if until is not None:
            seconds = min(seconds, until)
        self._collect(self._inbox.take(seconds, _INBOX_MOST))
        monotonic = self._world.monotonic()
        self._overdue(monotonic)
        told = self._inbox.nudged or self._more
        self._inbox.nudged = False
        waiting: Sequence[str] = ()
        if monotonic >= self._look_at:
            waiting = self._look(monotonic)
        elif told and not self._endings and self._room():
            waiting = self._store.tasks.waiting(self._settings.queues)
        self._flush()  # what is given up may be what keeps the store from answering
        if self._endings or self.could_begin(waiting):
            self._exchange()
        elif self._room():
            self._more = False
        self._flush()

    def _flush(self) -> None:
        for loop in self._outbox.flush():
            self._crew.loop_is_gone(loop)

    def _room(self) -> bool:
        return any(self._slots.free(kind) > 0 for kind, _ in self._wants)

    def _collect(self, letters: Sequence[Any]) -> None:
        """Ends of attempts; what is not wanted any more only frees its slot."""
        for letter in letters:
            message = letter.message
            wanted = self._slots.flies(letter.key, message.id, message.attempt)
            self._slots.land(letter.key, message.id, message.attempt)
            if letter.recorded:
                self._more = True  # there is room, and nothing to bring for which it would be asked
            elif wanted:
                self._endings.append(_ending(letter, message))

    def _overdue(self, monotonic: float) -> None:
        for flight in self._deadlines.overdue(monotonic):
            if flight.given_up:
                if self._slots.holds(flight) and not self._slots.abandon(flight):
                    self._deadlines.give_up(flight, monotonic, self._settings.grace_seconds)
            elif self._slots.flies(flight.key, flight.step, flight.attempt):
                ended = timed_out(flight, self.member, self._world.now(), monotonic)
                self._endings.append(base.Ending(ended, flight.key))
                self._give_up(flight, monotonic)
        self._deadlines.forget_landed(self._slots)

    def _give_up(self, flight: Flight, monotonic: float) -> None:
        self._deadlines.give_up(flight, monotonic, self._settings.grace_seconds)
        self._crew.give_up(flight)

    def _look(self, monotonic: float) -> list[str]:
        """Learn what waits, and give up attempts that are not its own any more; tell how far they are, and in good time that
        it lives. Returns activities of which tasks wait."""
        details: list[tuple[int, str, int, bytes]] = []
        for flight in self._crew.beats():
            flight.beaten = False
            if flight.details is not None:
                details.append((flight.key, flight.step, flight.attempt, wire.encode(flight.details)))
        queues = self._settings.queues
        again_at, began = monotonic + LOOK_SECONDS, self._world.monotonic()
        if details or again_at > self._beaten_at + self._beat_seconds:
            look = self._store.tasks.beat(self.member, queues, details)
            self._beaten_at = monotonic
        else:
            look = self._store.tasks.look(self.member, queues)
        self._clock.measured(look.time, began)
        self._look_at = again_at
        self._beat_seconds = look.lease_ns / 1e9 / BEATS_OF_A_LEASE
        self._compare(look.taken, monotonic)
        self._tell_unknown(look.waiting)
        return look.waiting

    def _compare(self, mine: set[tuple[int, str, int]], monotonic: float) -> None:
        """What runs here, with what the store says is its own."""
        known = {(one.run, one.message.id, one.message.attempt) for one in self._endings}
        for flight in self._slots.all():
            at = (flight.key, flight.step, flight.attempt)
            if not flight.given_up and at not in mine and at not in known:
                self._give_up(flight, monotonic)
            known.add(at)
        for key, step, attempt in mine - known:  # taken by an exchange whose answer did not come
            self._endings.append(base.Ending(_lost(Flight(key, step, attempt, 0), self.member), key))

    def _tell_unknown(self, waiting: Sequence[str]) -> None:
        """Say once what waits here that this worker cannot do."""
        unknown = [name for name in waiting if name not in self._names and name not in self._told_unknown]
        for name in unknown:
            self._log.warning(
                "tasks of activity %r wait in %s, and this worker was not given its code; add it, or start a worker that "
                "has it",
                name,
                ", ".join(self._settings.queues),
            )
        self._told_unknown.update(unknown)

    def _exchange(self) -> None:
        """Bring what has ended, as much as is written together, and take what there is room for: one transaction."""
        endings = self._endings[: weight.first_of(map(weight.of_ending, self._endings))]
        self.offered.clear()
        own = self._settings.own
        wants = [base.Want(names, min(self._slots.free(kind), TAKE_MOST), own) for kind, names in self._wants]
        wants = [want for want in wants if want.names and want.limit > 0]
        self._world.crash_point("before-exchange")
        got = self._store.tasks.exchange(self.member, endings, self._settings.queues, wants, self._world.now())
        self._world.crash_point("after-exchange")
        del self._endings[: len(endings)]
        for ending, accepted in zip(endings, got.accepted, strict=True):
            if not accepted:
                message = ending.message
                self._log.info("what attempt %d of [%s] brings comes too late", message.attempt, message.id)
        self._more = bool(got.tasks)
        if endings or any(task.start_by is not None for task in got.tasks):  # it has begun in time: tell it in time
            told = {ending.run for ending in endings} | {task.run for task in got.tasks if task.start_by is not None}
            self._store.post.nudge(told)
        self._begin(got.tasks)

    def _begin(self, tasks: Sequence[TaskRow]) -> None:
        monotonic, now = self._world.monotonic(), self._world.now()
        departures: list[tuple[Flight, str, wire.Task]] = []
        for row in tasks:
            try:
                task = wire.decode_task(row.body)
            except msgspec.MsgspecError as error:
                self._endings.append(_unreadable(row, self.member, now, error))
                continue
            flight = Flight(row.run, row.step, row.attempt, self._slots.kind(row.name), began=now)
            self._slots.occupy(flight)
            self._deadlines.watch(flight, monotonic, task.timeout_ns, task.heartbeat_ns)
            departures.append((flight, row.name, task))
        if departures:
            self._crew.begin(departures)

    def give_up_all(self) -> None:
        """It was taken for dead: others do what it had taken."""
        monotonic = self._world.monotonic()
        for flight in self._slots.all():
            if not flight.given_up:
                self._give_up(flight, monotonic)
        self._outbox.flush()
        self._crew.close()
        with contextlib.suppress(errors.StoreError):  # its row is gone already
            self._store.tasks.leave(self.member)

    def leave(self) -> None:
        """Go. What has not ended is given back: its attempt is lost, and somebody else makes the next.

        Raises:
            base.WorkerGone, errors.StoreError: it could not take its leave; it will be taken for dead.
        """
        for flight in self._slots.all():
            if not flight.given_up:
                flight.given_up = True
                self._crew.give_up(flight)
                self._endings.append(base.Ending(_lost(flight, self.member), flight.key))
        self._outbox.flush()
        self._crew.close()
        weights = [weight.of_ending(ending) for ending in self._endings]
        for part in weight.in_parts(self._endings, weights) if weights else ():
            self._store.tasks.exchange(self.member, part, (), (), self._world.now())
        self._store.tasks.leave(self.member)
        self._store.post.nudge()


def _lender(store: base.Store, activities: "Mapping[str, ActivityDefinition[Any, Any]]", member: int) -> Lender | None:
    """Of connections, if there are activities that want some."""
    if not any(definition.transactional for definition in activities.values()) or store.enlisting is None:
        return None
    return store.enlisting.lender(member)


def _unreadable(row: TaskRow, member: int, now: int, error: Exception) -> base.Ending:
    """An attempt of which nobody knows what to do ends at once. The next one has a task of its own."""
    message = f"what the database holds of this attempt cannot be read ({error}); perdure doctor lists the damage"
    failure = Failure("perdure.errors.StoreCorrupt", message, code=errors.StoreCorrupt.code)
    return base.Ending(msg.AttemptEnded(row.step, row.attempt, member, now, failure=failure), row.run)


def _lost(flight: Flight, member: int) -> msg.AttemptEnded:
    return msg.AttemptEnded(
        flight.step,
        flight.attempt,
        member,
        flight.began,
        failure=overdue.LOST_FAILURE,
        details=flight.details,
    )


def _ending(letter: Letter, message: msg.AttemptEnded) -> base.Ending:
    blobs = [base.BlobRow(letter.key, digest, data) for digest, data in (letter.blobs or {}).items()]
    return base.Ending(message, letter.key, blobs)
