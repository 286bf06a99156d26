"""A process that takes part: one thread that stands by, owns, and lets go.

begin ──► standing by ──try_own──► owning ──close──► over
              │                       │
              └────────close──────────┴── a full disk, a lost lock, a damaged file: over, with `failure`

Where several share the store, one that was taken for dead, or could not begin as the database did not answer, stands by again.
"""

import logging
import os
import socket
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from perdure import errors
from perdure.kernel.program import Language
from perdure.payload import PLAIN, Coder
from perdure.runtime import collector
from perdure.runtime.clock import Clock
from perdure.runtime.coding import Coding
from perdure.runtime.equipment import Bounds, Company, Definitions, OwnWorker, no_worker
from perdure.runtime.inbox import Inbox
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.liveness import LEASE_SECONDS
from perdure.runtime.outage import Outage
from perdure.runtime.outbox import Outbox, Receiver
from perdure.runtime.owner import Owner
from perdure.runtime.waiters import Waiters
from perdure.runtime.worker import Loop, Worker
from perdure.runtime.world import World
from perdure.stores import base

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition
    from perdure.workflows import WorkflowDefinition

STANDBY_SECONDS = 0.1
"""How often one that stands by tries to own, and looks how the runs get on that its callers wait for."""

_CLOSED = "the engine is closed; use it within its block, or enter another one"


class Settings(msgspec.Struct, frozen=True):
    """What an engine was asked for. `forgetful` is for tests: see `Turns`."""

    concurrency: int
    threads: int
    processes: int
    payload_max_bytes: int
    cached_runs: int
    awake_runs: int
    grace_seconds: float
    lease_seconds: float = LEASE_SECONDS
    forgetful: bool = False
    coder: Coder = PLAIN
    retention_ns: int | None = None


class Member:
    """Owns the store as soon as nobody else does, and moves its runs then."""

    def __init__(
        self,
        store: base.Store,
        workflows: "Mapping[str, WorkflowDefinition[Any, Any]]",
        activities: "Mapping[str, ActivityDefinition[Any, Any]]",
        languages: Mapping[str, Language],
        build: str,
        settings: Settings,
        home: Loop,
        world: World,
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._workflows = workflows
        self._activities = activities
        self._languages = languages
        self._build = build
        self._settings = settings
        self._home = home
        self._world = world
        self._log = log
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._drain_seconds = 0.0
        self._hurried = threading.Event()
        self._over = False
        self._mourners: list[Receiver] = []
        self._worker: Worker | None = None
        self._coding: Coding | None = None
        self._first: int | None = None
        self._thread = threading.Thread(target=self._main, name="perdure-engine", daemon=True)
        self.waiters = Waiters()
        self.own_worker: OwnWorker = no_worker
        self.owns = False
        self.failure: BaseException | None = None

    # from any thread

    def begin(self) -> None:
        """Own if that is possible at once, and start the thread.

        Raises:
            errors.StoreError: the store cannot be owned by anybody here (it is read-only, say).
        """
        member = _own_if_free(self._store, self._build, self._settings, self._world, self._log)
        if member is not None:
            self.owns = self.waiters.mending = True
        self._first = member
        self._thread.start()

    def ask(self, request: StartRequest | Letter) -> bool:
        """Hand a start, or a message, to the owner in this process; false if it is none, and the store has to carry it.

        Raises:
            errors.EngineNotRunning: it is being closed.
        """
        if self._closing.is_set():
            raise errors.EngineNotRunning("the engine is being closed and takes nothing more")
        with self._lock:
            if not self.owns or self._over:
                return False
            self._inbox.put(request)
            return True

    def thread(self) -> int | None:
        """The number of the thread that runs workflow code; None before there is one."""
        return self._thread.ident

    def now(self) -> int:
        return self._world.now()

    def nudge(self) -> None:
        self._inbox.nudge()

    def untold(self) -> errors.EngineNotRunning | None:
        """The fault that has stopped the engine, if nobody has heard of it yet."""
        return self.stopped() if self.failure is not None and not self._outbox.told_end else None

    def told(self) -> errors.EngineNotRunning | None:
        """What `stopped` says, to somebody who is going to be told."""
        stopped = self.stopped()
        self._outbox.told_end = self._outbox.told_end or stopped is not None
        return stopped

    def when_over(self, receiver: Receiver) -> None:
        """Tell the receiver once nothing happens here any more: with the error if it was a fault."""
        with self._lock:
            if not self._over:
                self._mourners.append(receiver)
                return
        outbox = Outbox()
        outbox.answer(receiver, True, self.told() if self.failure is not None else None)
        outbox.flush()

    def close(self, drain_seconds: float) -> None:
        """Finish what is in flight if that takes no longer than so, then let go of the store. Waits for the thread."""
        self._drain_seconds = drain_seconds
        self._closing.set()
        self._inbox.nudge()
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join()

    def stop_by(self, error: BaseException) -> None:
        """Another part of the engine cannot go on: nor does this one. Does not wait for the thread."""
        if self.failure is None and not self._closing.is_set():
            self._fail(error)
            self._closing.set()
            self._inbox.nudge()

    def hurry(self) -> None:
        """Somebody who closes cannot wait any longer."""
        self._hurried.set()
        self._inbox.nudge()

    def stopped(self) -> errors.EngineNotRunning | None:
        """Why nothing happens here any more; None while it does."""
        if self.failure is not None:
            advice = "; nothing is lost. Mend that, then start it again"
            if isinstance(self.failure, errors.StoreError):
                advice = ""  # it has its own
            error = errors.EngineNotRunning(f"the engine has stopped: {self.failure}{advice}")
            error.__cause__ = self.failure
            return error
        return errors.EngineNotRunning(_CLOSED) if self._over else None

    # on its own thread

    def _main(self) -> None:
        try:
            member = self._stand_by()
            while member is not None:
                try:
                    self._own(member)
                    break
                except base.OwnershipLost as lost:
                    if self._store.membership is None:
                        raise
                    if self._closing.is_set():
                        self._log.warning("silent for too long before it left, others have taken over: %s", lost)
                        break
                    # Others took this member for dead, and go on with its runs: nothing is lost by that.
                    self._log.warning("this process begins anew as another member: %s", lost)
                except errors.StoreUnreachable as error:
                    if self._store.membership is None:
                        raise
                    if self._closing.is_set():
                        self._log.warning("left while the database does not answer, others take over: %s", error)
                        break
                    self._log.warning("this process begins anew as another member: %s", error)
                self._put_down()
                self._first = None
                member = self._stand_by()
        except (errors.StoreError, base.StoreFull, base.OwnershipLost) as error:
            self._fail(error)
        except BaseException as error:  # noqa: BLE001  a bug of ours must not leave callers waiting
            self._log.critical("the engine has stopped by a bug of its own; please report it", exc_info=error)
            self._fail(error)
        finally:
            self._end()

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, base.StoreFull):
            error = errors.StoreFull(str(error))
        self.failure = error
        if not self._closing.is_set():
            self._log.error("the engine stops: %s", error)

    def _stand_by(self) -> int | None:
        """Until it can own, tell callers how their runs get on elsewhere. None if it was closed meanwhile."""
        member = self._first
        outage = Outage(self._world, self._log, self._store.membership is not None, self._closing.is_set)
        while member is None and not self._closing.is_set():
            try:
                self.waiters.look(self._store.views, self._outbox)
                self.waiters.answers.look(self._store, self._outbox, self.waiters.is_blocked)
                self._outbox.flush()
                self._closing.wait(STANDBY_SECONDS)
                if not self._closing.is_set():
                    member = _own_if_free(self._store, self._build, self._settings, self._world, self._log)
                outage.over()
            except errors.StoreUnreachable as error:
                if not outage.failed(error, 0):
                    raise
        self.waiters.mending = True
        return member

    def _own(self, member: int) -> None:
        settings = self._settings
        if settings.coder.codec is not None:
            self._coding = Coding(settings.coder, settings.payload_max_bytes)
        self._worker = worker = Worker(
            self._activities,
            self._build,
            member,
            self._world,
            self._store.views,
            settings.payload_max_bytes,
            settings.grace_seconds,
            settings.coder,
            self._home,
            self._outbox,
            self._inbox.put,
            self._closing.set,
            self._store.streams.append,
        )
        self._store.admin.listen(self._inbox.nudge)
        owner = Owner(
            self._store,
            member,
            Definitions(self._build, self._workflows, self._activities, self._languages),
            Bounds(
                (settings.concurrency, settings.threads, settings.processes),
                settings.cached_runs,
                settings.awake_runs,
                settings.grace_seconds,
                settings.lease_seconds,
                settings.retention_ns,
            ),
            Company(self._inbox, self.waiters, self._outbox, worker, lambda tasks: self.own_worker(tasks)),
            self._world,
            self._log,
            self._closing.is_set,
            self._coding,
            settings.forgetful,
        )
        self._publish()
        collector.relax()
        if owner.pulse is not None:
            owner.pulse.begin()
        try:
            owner.take_over()
            with self._lock:
                self.owns = True
            while not self._closing.is_set():
                owner.round()
            owner.drain(self._drain_seconds, self._hurried.is_set)
        finally:
            collector.restore()
            if owner.pulse is not None:
                owner.pulse.end()
            owner.let_go()

    def _publish(self) -> None:
        """Tell clients without code which names there are, and which arguments they take."""
        known = [("workflow", d.name, d.parameters) for n, d in self._workflows.items() if n == d.name]
        known += [("activity", d.name, d.parameters) for n, d in self._activities.items() if n == d.name]
        rows = [base.DefinitionRow(kind, name, msgspec.json.encode(each.published())) for kind, name, each in known]
        own = {name: self._languages[name] for name, workflow in self._workflows.items() if name == workflow.name}
        self._store.admin.publish(rows + heard(own))

    def _end(self) -> None:
        """Nobody may wait for an answer that cannot come."""
        with self._lock:
            self._over = True
        failed = self.stopped() if self.failure is not None else None
        for receiver in self._mourners:
            self._outbox.answer(receiver, True, failed)
        not_begun = failed or errors.EngineNotRunning("the engine was closed before the run began; start it again")
        not_heard = failed or errors.EngineNotRunning(
            "the engine was closed before the message was taken; send it again"
        )
        for item in self._inbox.take(0, sys.maxsize):
            if isinstance(item, StartRequest):
                self._outbox.answer(item.receiver, None, not_begun)
            elif item.receiver is not None:
                self._outbox.answer(item.receiver, None, not_heard)
        not_ended = failed or errors.EngineNotRunning(
            "the engine was closed before the run ended; the run goes on when an engine is started again"
        )
        self.waiters.fail(not_ended, self._outbox)
        self.waiters.answers.fail(not_ended, self._outbox)
        self._outbox.flush()
        self._put_down()
        self._store.admin.close()

    def _put_down(self) -> None:
        if self._worker is not None:
            self._worker.close()
        if self._coding is not None:
            self._coding.close()


def _own_if_free(store: base.Store, build: str, settings: Settings, world: World, log: logging.Logger) -> int | None:
    Clock(world, log).ask(store.admin)
    lease_ns = int(settings.lease_seconds * 1e9)
    return store.admin.try_own(socket.gethostname(), os.getpid(), build, world.now(), lease_ns)


def heard(languages: Mapping[str, Language]) -> list[base.DefinitionRow]:
    """The messages of workflows. Their parts say what belongs to what; the name of a row only has to be its own."""
    rows: dict[tuple[str, str], base.DefinitionRow] = {}
    for workflow, language in languages.items():
        for kind, message, parameters in language.messages():
            name = f"{workflow}.{message}"
            while (kind, name) in rows:
                name += "'"
            parts = {"workflow": workflow, "message": message, **parameters}
            rows[kind, name] = base.DefinitionRow(kind, name, msgspec.json.encode(parts))
    return list(rows.values())
