"""A process that serves queues: takes tasks from the store, runs their attempts, brings their ends.

begin ──► joined ──close──► draining ──► left
            │  ▲
            └──┘ taken for dead (it was silent for too long): what it runs is given up, and it joins again
"""

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel import overdue, wire
from perdure.kernel.project import TaskRow
from perdure.runtime.deadlines import Deadlines, timed_out
from perdure.runtime.inbox import Inbox
from perdure.runtime.letters import Letter
from perdure.runtime.outbox import Outbox
from perdure.runtime.slots import Flight, Slots
from perdure.runtime.worker import Loop, Worker
from perdure.runtime.world import World
from perdure.stores import base

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition

BEAT_SECONDS = 1.0
"""How often a worker tells that it lives, learns what is not wanted any more, and looks for tasks without being told."""

TAKE_MOST = 200
"""Tasks taken at a time: others want some, too, and the database is held meanwhile."""

_INBOX_MOST = 2_000
_PAUSE_SECONDS = (0.05, 1.0)


class QueueSettings:
    """What a worker was asked for: `concurrency` and `threads` attempts at a time, of the tasks in `queues`."""

    __slots__ = ("concurrency", "grace_seconds", "payload_max_bytes", "queues", "threads")

    def __init__(
        self, queues: Sequence[str], concurrency: int, threads: int, payload_max_bytes: int, grace_seconds: float
    ) -> None:
        self.queues = tuple(queues)
        self.concurrency = concurrency
        self.threads = threads
        self.payload_max_bytes = payload_max_bytes
        self.grace_seconds = grace_seconds


class QueueMember:
    """One thread that speaks with the store; attempts run where those of an engine run."""

    def __init__(
        self,
        store: base.Store,
        activities: "Mapping[str, ActivityDefinition[Any, Any]]",
        build: str,
        settings: QueueSettings,
        home: Loop,
        world: World,
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._activities = activities
        self._build = build
        self._settings = settings
        self._home = home
        self._world = world
        self._log = log
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._closing = threading.Event()
        self._drain_seconds = 0.0
        self._deadlines = Deadlines()
        self._endings: list[base.Ending] = []
        self._more = True
        self._beat_at = 0.0
        self._told_unknown: set[str] = set()
        self._thread = threading.Thread(target=self._main, name="perdure-queues", daemon=True)
        self.failure: BaseException | None = None

    # from any thread

    def begin(self) -> None:
        """Join, and start the thread.

        Raises:
            errors.StoreError: the store cannot be written.
        """
        self._join()
        self._thread.start()

    def close(self, drain_seconds: float) -> None:
        """Take nothing more, give what runs so long to end, then leave. Waits for the thread."""
        self._drain_seconds = drain_seconds
        self._closing.set()
        self._inbox.nudge()
        if self._thread.ident is not None:
            self._thread.join()

    def stop(self) -> None:
        """Begin to close without waiting, as when a signal says so."""
        self._closing.set()
        self._inbox.nudge()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the thread has ended, within so long."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # on its own thread

    def _join(self) -> None:
        names = tuple(self._activities)
        self._member = self._store.tasks.join(
            socket.gethostname(), os.getpid(), self._build, self._world.now(), self._settings.queues, names
        )
        self._slots = Slots(self._member, self._activities, self._settings.concurrency, self._settings.threads)
        self._crew = Worker(
            self._activities,
            self._build,
            self._member,
            self._world,
            self._store.views,
            self._settings.payload_max_bytes,
            self._home,
            self._outbox,
            self._inbox.put,
            self._closing.set,
        )
        self._wants = [
            (kind, tuple(name for name in names if self._slots.kind(name) == kind)) for kind in self._slots.kinds()
        ]
        self._store.tasks.listen(self._member, self._inbox.nudge)
        self._store.post.nudge()  # so that the owner knows whom to tell of tasks

    def _main(self) -> None:
        pause, longest = _PAUSE_SECONDS
        try:
            while not self._closing.is_set():
                try:
                    self._round(BEAT_SECONDS)
                    pause = _PAUSE_SECONDS[0]
                except base.WorkerGone:
                    self._join_again()
                except errors.StoreUnreachable as error:
                    self._log.warning("the database does not answer now and is asked again: %s", error)
                    self._closing.wait(pause)
                    pause = min(2 * pause, longest)
            self._drain()
        except BaseException as error:  # noqa: BLE001  whoever waits for the worker is told
            self.failure = error
            self._log.error("the worker stops: %s", error)
        finally:
            self._leave()

    def _round(self, most_seconds: float) -> None:
        monotonic = self._world.monotonic()
        seconds = min(most_seconds, max(self._beat_at - monotonic, 0.0))
        until = self._deadlines.seconds(monotonic)
        if until is not None:
            seconds = min(seconds, until)
        if self._endings or (self._more and self._room()):
            seconds = 0.0
        self._collect(self._inbox.take(seconds, _INBOX_MOST))
        monotonic = self._world.monotonic()
        self._overdue(monotonic)
        look = self._inbox.nudged or self._more
        self._inbox.nudged = False
        if monotonic >= self._beat_at:
            self._beat(monotonic)
            look = True
        if self._endings or (look and self._room() and self._any_waits()):
            self._exchange()
        elif look and self._room():
            self._more = False
        for loop in self._outbox.flush():
            self._crew.loop_is_gone(loop)

    def _any_waits(self) -> bool:
        """A read, so that idle workers do not write."""
        return self._store.tasks.waiting(self._settings.queues, tuple(self._activities))

    def _room(self) -> bool:
        return any(self._slots.free(kind) > 0 for kind, _ in self._wants)

    def _collect(self, letters: Sequence[Any]) -> None:
        """Ends of attempts; what is not wanted any more only frees its slot."""
        for letter in letters:
            message = letter.message
            wanted = self._slots.flies(letter.key, message.id, message.attempt)
            self._slots.land(letter.key, message.id, message.attempt)
            if wanted:
                self._endings.append(_ending(letter, message))

    def _overdue(self, monotonic: float) -> None:
        for flight in self._deadlines.overdue(monotonic):
            if flight.given_up:
                if self._slots.holds(flight) and not self._slots.abandon(flight):
                    self._deadlines.give_up(flight, monotonic, self._settings.grace_seconds)
            elif self._slots.flies(flight.key, flight.step, flight.attempt):
                ended = timed_out(flight, self._member, self._world.now(), monotonic)
                self._endings.append(base.Ending(ended, flight.key))
                self._give_up(flight, monotonic)
        self._deadlines.forget_landed(self._slots)

    def _give_up(self, flight: Flight, monotonic: float) -> None:
        self._deadlines.give_up(flight, monotonic, self._settings.grace_seconds)
        self._crew.give_up(flight)

    def _beat(self, monotonic: float) -> None:
        """Tell that it lives and how far its attempts are; give up those that are not its own any more."""
        details: list[tuple[int, str, int, bytes]] = []
        for flight in self._crew.beats():
            flight.beaten = False
            if flight.details is not None:
                details.append((flight.key, flight.step, flight.attempt, wire.encode(flight.details)))
        mine = self._store.tasks.beat(self._member, details)
        self._beat_at = monotonic + BEAT_SECONDS
        ending = {(one.run, one.message.id, one.message.attempt) for one in self._endings}
        for flight in self._slots.all():
            at = (flight.key, flight.step, flight.attempt)
            if not flight.given_up and at not in mine and at not in ending:
                self._give_up(flight, monotonic)
        self._tell_unknown()

    def _tell_unknown(self) -> None:
        """Say once what waits here that this worker cannot do."""
        unknown = set(self._store.tasks.unknown(self._settings.queues, tuple(self._activities)))
        for name in sorted(unknown - self._told_unknown):
            self._log.warning(
                "tasks of activity %r wait in %s, and this worker was not given its code; add it, or start a worker that "
                "has it",
                name,
                ", ".join(self._settings.queues),
            )
        self._told_unknown |= unknown

    def _exchange(self) -> None:
        """Bring what has ended, take what there is room for: one transaction."""
        endings = self._endings
        wants = [base.Want(names, min(self._slots.free(kind), TAKE_MOST)) for kind, names in self._wants]
        wants = [want for want in wants if want.names and want.limit > 0]
        self._world.crash_point("before-exchange")
        got = self._store.tasks.exchange(self._member, endings, self._settings.queues, wants, self._world.now())
        self._world.crash_point("after-exchange")
        self._endings = []
        for ending, accepted in zip(endings, got.accepted, strict=True):
            if not accepted:
                message = ending.message
                self._log.info("what attempt %d of [%s] brings comes too late", message.attempt, message.id)
        self._more = bool(got.tasks)
        if endings:
            self._store.post.nudge()
        self._begin(got.tasks)

    def _begin(self, tasks: Sequence[TaskRow]) -> None:
        monotonic, now = self._world.monotonic(), self._world.now()
        departures: list[tuple[Flight, str, wire.Task]] = []
        for row in tasks:
            task = wire.decode_task(row.body)
            flight = Flight(row.run, row.step, row.attempt, self._slots.kind(row.name), began=now)
            self._slots.occupy(flight)
            self._deadlines.watch(flight, monotonic, task.timeout_ns, task.heartbeat_ns)
            departures.append((flight, row.name, task))
        if departures:
            self._crew.begin(departures)

    def _join_again(self) -> None:
        """It was taken for dead: others do what it had taken."""
        self._log.warning("this worker was silent for too long and taken for dead; what it runs is given up")
        monotonic = self._world.monotonic()
        for flight in self._slots.all():
            if not flight.given_up:
                self._give_up(flight, monotonic)
        self._endings.clear()
        self._outbox.flush()
        self._crew.close()
        self._join()
        self._more = True

    def _drain(self) -> None:
        self._slots.closed = True
        end = self._world.monotonic() + self._drain_seconds
        while self._slots.in_air() or self._endings:
            left = end - self._world.monotonic()
            if left <= 0:
                break
            self._round(min(left, 0.1))

    def _leave(self) -> None:
        """What has not ended is given back: its attempt is lost, and somebody else makes the next."""
        for flight in self._slots.all():
            if not flight.given_up:
                self._crew.give_up(flight)
                flight.given_up = True
                lost = msg.AttemptEnded(
                    flight.step,
                    flight.attempt,
                    self._member,
                    flight.began,
                    failure=overdue.LOST_FAILURE,
                    details=flight.details,
                )
                self._endings.append(base.Ending(lost, flight.key))
        self._outbox.flush()
        try:
            if self._endings:
                self._store.tasks.exchange(self._member, self._endings, (), (), self._world.now())
            self._store.tasks.leave(self._member)
            self._store.post.nudge()
        except (base.WorkerGone, errors.StoreError) as error:
            self._log.info("the worker could not take its leave: %s", error)
        self._crew.close()


def _ending(letter: Letter, message: msg.AttemptEnded) -> base.Ending:
    blobs = [base.BlobRow(letter.key, digest, data) for digest, data in (letter.blobs or {}).items()]
    return base.Ending(message, letter.key, blobs)
