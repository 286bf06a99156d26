"""A process that does nothing but run the activities of some queues, for runs that an engine elsewhere moves."""

import asyncio
import contextvars
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from perdure import errors
from perdure.client.answer import Answer, Looked
from perdure.client.door import checked_address
from perdure.durations import duration_ns
from perdure.engine import demand_transactions, listed, listed_queues, shown_address
from perdure.kernel.limits import PAYLOAD_MAX_BYTES
from perdure.languages.python.build import fingerprint
from perdure.options import Duration, is_whole
from perdure.payload import Coder, PayloadCodec
from perdure.runtime import attempt_logs
from perdure.runtime.child_places import demand_guard, demand_places
from perdure.runtime.log_queue import LogQueue
from perdure.runtime.own_loop import OwnLoop
from perdure.runtime.queue_member import QueueMember
from perdure.runtime.queue_work import QueueSettings
from perdure.runtime.slots import processors
from perdure.runtime.threads import Threads
from perdure.runtime.worker import Loop
from perdure.runtime.world import World
from perdure.stores.base import Store
from perdure.stores.open import open_store
from perdure.workflows import definitions_of


class Worker:
    """Runs the activities that are called with one of its queues. As many as are wanted may share a database and a queue,
    in any number of processes; what a worker that dies has begun is tried again elsewhere.

    `async with Worker(...)` runs coroutine functions on the loop that entered it, `with Worker(...)` on one of its own.
    After the block what runs has `drain` to finish; the rest is given back.

    Args:
        store: the address of a database, such as "sqlite:///orders.db", or a store that is open.
        definitions: activities, and modules that contain them. Tasks of others are left to others.
        queues: the names of the queues.
        concurrency: attempts of `async def` activities at the same time.
        threads: the same of plain functions, each in a thread.
        processes: the same of those with `runs_in="process"`; None is one for each processor.
        payload_max_bytes: a larger result is refused.
        grace: how long an attempt whose result nobody wants any more keeps its slot, if it does not end (a duration).
        drain: how long to wait, when the worker is closed, for what it runs (a duration).
        codec: the one the engine has.
        world: clock and chance; a test may bring its own.

    Raises:
        errors.DefinitionError: definitions or options make no sense.
        errors.StoreError: (when entered) the database cannot be opened.
    """

    def __init__(
        self,
        store: str | Store,
        definitions: Iterable[Any],
        *,
        queues: Iterable[str],
        concurrency: int = 1_000,
        threads: int = 64,
        processes: int | None = None,
        payload_max_bytes: int = PAYLOAD_MAX_BYTES,
        grace: Duration = "10s",
        drain: Duration = "5s",
        codec: PayloadCodec | None = None,
        world: World | None = None,
    ) -> None:
        processes = processors() if processes is None else processes
        for name, value in (("concurrency", concurrency), ("threads", threads), ("processes", processes)):
            if not is_whole(value) or value < 1:
                raise errors.DefinitionError(f"Worker: {name} must be a whole number from 1 on, not {value!r}")
        self._address = checked_address(store)
        self._queues = listed_queues(queues, "Worker")
        if not self._queues:
            raise errors.DefinitionError('Worker: it serves at least one queue; write: queues=["thumbnails"]')
        _, self._activities = definitions_of(listed(definitions))
        if not self._activities:
            raise errors.DefinitionError("Worker: there is no activity among its definitions, so it could do nothing")
        self._settings = QueueSettings(
            self._queues, concurrency, threads, processes, payload_max_bytes, _seconds("grace", grace), Coder(codec)
        )
        self._drain = _seconds("drain", drain)
        self._world = world or World()
        self._own_loop: OwnLoop | None = None
        self._member: QueueMember | None = None

    def _enter(self, loop: asyncio.AbstractEventLoop | None) -> Self:
        if self._member is not None:
            raise errors.EngineNotRunning("this worker was entered before; make another one")
        demand_guard()
        demand_places(self._activities.values())
        self._store = open_store(self._address) if isinstance(self._address, str) else self._address
        demand_transactions(self._store, self._activities.values())
        self._own_loop = OwnLoop() if loop is None else None
        self._log = LogQueue()
        running = self._own_loop.begin() if self._own_loop is not None else loop
        assert running is not None
        member = QueueMember(
            self._store,
            self._activities,
            fingerprint((), self._activities.values()),
            self._settings,
            Loop(running, contextvars.copy_context()),
            self._world,
            self._log.logger,
        )
        try:
            member.begin()
        except BaseException:
            self._log.close()
            self._store.admin.close()
            if self._own_loop is not None:
                self._own_loop.end()
            raise
        attempt_logs.install()
        self._member = member
        return self

    def _leave(self, drain: float) -> None:
        """Blocks, so a loop that must go on meanwhile calls it from a thread."""
        assert self._member is not None
        self._member.close(drain)
        attempt_logs.remove()
        self._log.close()
        self._store.admin.close()

    def serve(self) -> Answer[None]:
        """Do nothing but work; returns when the worker is stopped.

        Raises:
            errors.EngineNotRunning: a fault has stopped it; the cause is the fault.
        """
        self.demand_running()
        member = self._member
        assert member is not None

        def wait() -> None:
            while not member.wait(0.2):
                pass  # in slices, so that a signal's handler runs in between
            self.demand_running()

        return Looked("worker.serve()", wait)

    @property
    def activities(self) -> list[str]:
        """The names of the activities it can run."""
        return list(self._activities)

    @property
    def idle(self) -> bool:
        """Whether it runs nothing, and nothing waits for it."""
        return self._member is None or self._member.idle()

    def demand_running(self) -> None:
        """Raises errors.EngineNotRunning if a fault has stopped it; the cause is the fault."""
        member = self._member
        if member is None:
            raise errors.EngineNotRunning("the worker has not been entered; write: with Worker(...) as worker")
        if member.failure is not None:
            raise errors.EngineNotRunning(f"the worker has stopped: {member.failure}") from member.failure

    def stop(self) -> None:
        """Take nothing more, and let `serve` return; what runs has until the end of the block. From any thread, or a
        signal's handler."""
        if self._member is not None:
            self._member.stop()

    def __enter__(self) -> Self:
        if asyncio._get_running_loop() is not None:
            raise errors.EngineNotRunning("a loop runs on this thread; write: async with Worker(...) as worker")
        return self._enter(None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._leave(self._drain)
        finally:
            if self._own_loop is not None:
                self._own_loop.end()

    async def __aenter__(self) -> Self:
        return self._enter(asyncio.get_running_loop())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.shield(Threads("perdure-closing").beside(lambda: self._leave(self._drain)))

    def __repr__(self) -> str:
        return f"<worker of {shown_address(self._address)!r}: {', '.join(self._queues)}>"


def _seconds(name: str, value: Duration) -> float:
    try:
        return duration_ns(value) / 1e9
    except errors.DefinitionError as error:
        raise errors.DefinitionError(f"Worker: {name}: {error}") from None
