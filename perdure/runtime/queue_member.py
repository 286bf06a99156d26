"""A process that serves queues: one thread, which joins, works, and leaves.

begin ──► joined ──close──► draining ──► left
            │  ▲
            └──┘ taken for dead (it was silent for too long): what it runs is given up, and it joins again
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from perdure import errors
from perdure.runtime.inbox import Inbox
from perdure.runtime.outage import Outage
from perdure.runtime.queue_work import LOOK_SECONDS, QueueSettings, QueueWork
from perdure.runtime.worker import Loop
from perdure.runtime.world import World
from perdure.stores import base

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition


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
        on_fault: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._on_fault = on_fault
        self._store = store
        self._activities = activities
        self._build = build
        self._settings = settings
        self._home = home
        self._world = world
        self._log = log
        self._inbox = Inbox()
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self._end = 0.0
        self._outage = Outage(world, log, endless=True)
        self._work: QueueWork | None = None
        self._thread = threading.Thread(target=self._main, name="perdure-queues", daemon=True)
        self.failure: BaseException | None = None

    # from any thread

    def begin(self) -> None:
        """Join, and start the thread.

        Raises:
            errors.StoreError: the store cannot be written.
        """
        self._work = self._joined()
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more, be it in the round that is on its way; what runs goes on."""
        self._stopping.set()
        work = self._work
        if work is not None:
            work.close_slots()
        self._inbox.nudge()

    def close(self, drain_seconds: float) -> None:
        """Take nothing more, give what runs so long to end, then leave. Waits for the thread."""
        self._end = self._world.monotonic() + drain_seconds
        self._closing.set()
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def offer(self, tasks: Mapping[tuple[str, str], int]) -> bool:
        """There are so many of each (queue, activity): whether this worker is going to take them all, now."""
        work = self._work
        if work is None or self._stopping.is_set() or not work.offered.could_take(tasks):
            return False
        self._inbox.nudge()
        return True

    def wait(self, seconds: float) -> bool:
        """Whether it was told to stop, or a fault has stopped it, within so long."""
        return self._stopping.wait(seconds)

    def idle(self) -> bool:
        """Whether nothing runs here and nothing waits in the queues, as far as can be seen from outside."""
        return self._work is None or self._work.idle()

    # on its own thread

    def _joined(self) -> QueueWork:
        return QueueWork(
            self._store,
            self._activities,
            self._build,
            self._settings,
            self._home,
            self._world,
            self._log,
            self._inbox,
            self._closing.set,
        )

    def _main(self) -> None:
        try:
            while not self._closing.is_set():
                self._round(LOOK_SECONDS)
            while self._work is not None and self._work.busy and (left := self._end - self._world.monotonic()) > 0:
                self._round(min(left, 0.1))
        except BaseException as error:  # noqa: BLE001  whoever waits for the worker is told
            if self._closing.is_set() and isinstance(error, errors.StoreUnreachable):
                return self._log.warning("left while the database does not answer: %s", error)
            self.failure = error
            self._log.error("the worker stops: %s", error)
            self._on_fault(error)
        finally:
            self._stopping.set()
            self._leave()

    def _round(self, most_seconds: float) -> None:
        """One round, whatever it takes: a store that does not answer is asked again, a worker taken for dead joins again."""
        while True:
            try:
                if self._work is None:
                    self._work = self._joined()
                if self._stopping.is_set():
                    self._work.close_slots()
                self._work.round(most_seconds)
                return self._outage.over()
            except base.WorkerGone:
                self._log.warning("this worker was silent for too long and taken for dead; what it runs is given up")
                work, self._work = self._work, None
                if work is not None:
                    work.give_up_all()
            except errors.StoreUnreachable as error:
                if self._closing.is_set() and self._world.monotonic() >= self._end:
                    raise
                self._outage.failed(error, 0)

    def _leave(self) -> None:
        try:
            if self._work is not None:
                self._work.leave()
        except (base.WorkerGone, errors.StoreError) as error:
            self._log.warning("the worker could not take its leave, and will be taken for dead: %s", error)
