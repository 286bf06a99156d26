"""The composition root: puts an engine together and takes it apart. No logic of its own."""

import asyncio
import contextvars
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from perdure import errors
from perdure.client.answer import Answer, Asked
from perdure.client.door import EngineDoor, checked_address
from perdure.client.verbs import Verbs
from perdure.durations import duration_ns
from perdure.kernel.limits import BUILD_CHARS, PAYLOAD_MAX_BYTES
from perdure.languages.python.build import fingerprint
from perdure.languages.python.machine import PythonLanguage
from perdure.options import TRANSACTIONS, Duration, checked_queue, is_whole
from perdure.payload import Coder, PayloadCodec
from perdure.runtime import attempt_logs
from perdure.runtime.child_places import demand_guard, demand_places
from perdure.runtime.liveness import LEASE_LEAST_SECONDS
from perdure.runtime.log_queue import LogQueue
from perdure.runtime.member import Member, Settings
from perdure.runtime.own_loop import OwnLoop
from perdure.runtime.retention import RETENTION_LEAST_SECONDS
from perdure.runtime.slots import processors
from perdure.runtime.threads import Threads
from perdure.runtime.watchdog import Watchdog
from perdure.runtime.worker import Loop
from perdure.runtime.world import World
from perdure.stores.addresses import shown
from perdure.stores.base import Own, Store
from perdure.stores.open import open_store
from perdure.workflows import WorkflowDefinition, definitions_of, distinct

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition
    from perdure.runtime.queue_member import QueueMember
    from perdure.runtime.queue_work import QueueSettings


class Engine(Verbs):
    """Runs workflows. `async with Engine(...)` runs activities on the loop that entered it, `with Engine(...)` on one
    of its own.

    The first engine on a database owns it; a further one stands by, starts and reads runs through the database, and
    takes over within a second of the owner's death. After the block what is in flight has `drain` to finish; the rest
    goes on when an engine is started again.

    Args:
        store: the address of a database, such as "sqlite:///orders.db" or "memory://", or a store that is open.
        definitions: workflows, activities and modules that contain them.
        concurrency: attempts of `async def` activities at the same time in this process.
        threads: the same of plain functions, each in a thread.
        processes: the same of those with runs_in="process"; None is as many as this process may use processors.
        payload_max_bytes: a larger argument or result is refused.
        cached_runs: runs that only wait which stay in memory.
        awake_runs: runs that do something at the same time; further starts wait until there is room.
        stuck_after: a workflow that computes for longer than this (a duration) without an await is interrupted.
        kill_when_hung: end this process if it does not come back to Python for so long (a duration); None never does.
        grace: how long an attempt whose result nobody wants any more keeps its slot, if it does not end (a duration).
        drain: how long to wait, when the engine is closed, for what is in flight (a duration).
        queues: named queues whose tasks this process runs, too; workers elsewhere may share them.
        lease: how long a worker elsewhere may be silent (frozen, or in code that keeps Python's lock) until what it has
            taken is given to others (a duration, from 3 s on); of several engines the shortest counts. So long others
            wait, too, until they take over the runs of this one. On one machine a death is noticed within a second.
        build: names this version of the code, in the place of a fingerprint of it: runs that are pinned, and those that a
            bug has blocked, know code by it, so change it whenever the code changes.
        codec: makes other bytes of arguments and results before they are stored (encryption, compression), and back.
        retention: how long runs are kept that have ended (a duration, from 1 min on); then they go, with all they have,
            unless others of their family or chain are open. None keeps them for ever.
        world: clock and chance; a test may bring its own.

    Raises:
        errors.DefinitionError: definitions or options make no sense.
        errors.StoreError: (when entered) the database cannot be opened or owned.
    """

    def __init__(
        self,
        store: str | Store,
        definitions: Iterable[Any],
        *,
        concurrency: int = 1_000,
        threads: int = 64,
        processes: int | None = None,
        payload_max_bytes: int = PAYLOAD_MAX_BYTES,
        cached_runs: int = 1_000,
        awake_runs: int = 20_000,
        stuck_after: Duration = "2s",
        kill_when_hung: Duration | None = None,
        grace: Duration = "10s",
        drain: Duration = "5s",
        queues: Iterable[str] = (),
        lease: Duration = "10s",
        build: str | None = None,
        codec: PayloadCodec | None = None,
        retention: Duration | None = None,
        world: World | None = None,
    ) -> None:
        processes = processors() if processes is None else processes
        for name, value in (
            ("concurrency", concurrency),
            ("threads", threads),
            ("processes", processes),
            ("cached_runs", cached_runs),
            ("awake_runs", awake_runs),
        ):
            _demand(is_whole(value) and value >= 1, f"{name} must be a whole number from 1 on, not {value!r}")
        _demand(
            is_whole(payload_max_bytes) and payload_max_bytes >= 1_024,
            f"payload_max_bytes must be a whole number from 1,024 on, not {payload_max_bytes!r}",
        )
        self._address = checked_address(store)
        self._payload_max_bytes = payload_max_bytes
        self._settings = Settings(
            concurrency,
            threads,
            processes,
            payload_max_bytes,
            cached_runs,
            awake_runs,
            _seconds("grace", grace),
            _seconds("lease", lease),
        )
        _demand(
            self._settings.lease_seconds >= LEASE_LEAST_SECONDS,
            f"lease must be at least {LEASE_LEAST_SECONDS:g} s: in it workers tell three times that they live, at most once a second",
        )
        self._stuck_after = _seconds("stuck_after", stuck_after)
        self._kill_when_hung = None if kill_when_hung is None else _seconds("kill_when_hung", kill_when_hung)
        _demand(self._stuck_after > 0, "stuck_after must be longer than nothing")
        _demand(
            self._kill_when_hung is None or self._kill_when_hung > self._stuck_after,
            "kill_when_hung must be longer than stuck_after",
        )
        self._drain = _seconds("drain", drain)
        self._queues = listed_queues(queues, "Engine")
        self._build = None if build is None else checked_build(build, "Engine")
        self._coder = Coder(codec)
        self._settings = msgspec.structs.replace(
            self._settings, coder=self._coder, retention_ns=_retention_ns(retention)
        )
        self._world = world or World()
        self._workflows, self._activities = definitions_of(listed(definitions))
        _warn_of_doubts(distinct(self._workflows).values())
        self._own_loop: OwnLoop | None = None
        self._entered = False

    def _open(self) -> Store:
        return open_store(self._address) if isinstance(self._address, str) else self._address

    def _opened_log(self) -> LogQueue:
        return LogQueue()

    def _enter(self, loop: asyncio.AbstractEventLoop | None) -> Self:
        if self._entered:
            raise errors.EngineNotRunning("this engine was entered before; make another one")
        demand_guard()
        demand_places(self._activities.values())
        self._entered = True
        opened = self._open()
        demand_transactions(opened, self._activities.values())
        self._own_loop = OwnLoop() if loop is None else None
        self._log = self._opened_log()
        self._languages = {
            name: PythonLanguage(definition, self._activities, self._payload_max_bytes, self._log.put)
            for name, definition in self._workflows.items()
        }
        build = self._build or fingerprint(self._workflows.values(), self._activities.values())
        home = Loop(self._own_loop.begin() if self._own_loop is not None else _there(loop), contextvars.copy_context())
        member = Member(
            opened,
            self._workflows,
            self._activities,
            self._languages,
            build,
            self._settings,
            home,
            self._world,
            self._log.logger,
        )
        self._watchdog = Watchdog(self._stuck_after, self._kill_when_hung, member.thread)
        self._watchdog.begin()
        try:
            member.begin()
            self._queue_member = self._serve_queues(opened, build, home, member)
        except BaseException:
            member.close(0.0)
            self._watchdog.end()
            self._log.close()
            opened.admin.close()
            if self._own_loop is not None:
                self._own_loop.end()
            raise
        attempt_logs.install()
        self._member = member
        self._own_door = self._door = EngineDoor(opened, member, loop, self._coder)
        return self

    def _serve_queues(self, store: Store, build: str, home: Loop, owner: Member) -> "QueueMember | None":
        if not self._served():
            return None
        from perdure.runtime.queue_member import QueueMember  # most engines serve none

        settings = self._queue_settings(build)
        member = QueueMember(
            store, self._activities, build, settings, home, self._world, self._log.logger, owner.stop_by
        )
        member.begin()
        owner.own_worker = member.offer
        return member

    def _served(self) -> tuple[str, ...]:
        """The queues whose tasks this process runs: those asked for, and that of transactional activities, if it has some."""
        own = (TRANSACTIONS,) if any(each.queue == TRANSACTIONS for each in self._activities.values()) else ()
        return tuple(dict.fromkeys((*self._queues, *own)))

    def _queue_settings(self, build: str) -> "QueueSettings":
        from perdure.runtime.queue_work import QueueSettings

        settings = self._settings
        return QueueSettings(
            self._served(),
            settings.concurrency,
            settings.threads,
            settings.processes,
            settings.payload_max_bytes,
            settings.grace_seconds,
            self._coder,
            Own(TRANSACTIONS, build, tuple(self._workflows)),
        )

    def _leave(self, drain: float) -> None:
        """Close everything; blocks, so a loop that must go on meanwhile calls it from a thread."""
        if self._queue_member is not None:
            self._queue_member.close(drain)
        self._member.close(drain)
        self._watchdog.end()
        attempt_logs.remove()
        self._log.close()
        self._own_door.close()

    def __enter__(self) -> Self:
        if asyncio._get_running_loop() is not None:
            raise errors.EngineNotRunning("a loop runs on this thread; write: async with Engine(...) as engine")
        return self._enter(None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._leave(self._drain if kind is None else 0.0)
        finally:
            if self._own_loop is not None:
                self._own_loop.end()
        self._tell_fault(kind)

    async def __aenter__(self) -> Self:
        return self._enter(asyncio.get_running_loop())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        drain = self._drain if kind is None else 0.0
        leaving = asyncio.ensure_future(Threads("perdure-closing").beside(lambda: self._leave(drain)))
        cancelled: asyncio.CancelledError | None = None
        while not leaving.done():
            try:
                await asyncio.shield(leaving)
            except asyncio.CancelledError as cancellation:
                cancelled = cancellation
                self._member.hurry()
        leaving.result()
        if cancelled is not None:
            raise cancelled  # late, since the engine had to be left first
        self._tell_fault(kind)

    def _tell_fault(self, kind: type[BaseException] | None) -> None:
        """An engine that a fault has stopped is not left in silence: nobody may have asked it anything since."""
        fault = self._member.untold()
        if kind is None and fault is not None:
            raise fault

    def serve(self) -> Answer[None]:
        """Do nothing but work, for runs that others start; returns when the engine is closed.

        Raises:
            errors.EngineNotRunning: a fault has stopped it (a full disk, say); the cause is the fault.
        """
        self._opened()
        return Asked("engine.serve()", self._member.when_over, lambda _: None)

    def demand_running(self) -> None:
        """Raises errors.EngineNotRunning if it is closed, or a fault has stopped it."""
        self._opened().demand_open()

    @property
    def owns(self) -> bool:
        """Whether this engine owns the database now; else it stands by, is closed, or was stopped by a fault."""
        return self._opened() is not None and self._member.stopped() is None and self._member.owns

    def _definition(self, name: str) -> WorkflowDefinition[Any, Any] | None:
        return self._workflows.get(name)

    def __repr__(self) -> str:
        names = ", ".join(self._workflows) or "no workflows"
        return f"<engine of {shown_address(self._address)!r}: {names}>"


def shown_address(store: "str | Store") -> str:
    """Where its runs are, without a password."""
    return shown(store) if isinstance(store, str) else store.address


def _there(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
    assert loop is not None
    return loop


def listed(definitions: Any) -> list[Any]:
    """The definitions, if that is what they are.

    Raises:
        errors.DefinitionError: they are no list.
    """
    if isinstance(definitions, str | bytes) or not isinstance(definitions, Iterable):
        raise errors.DefinitionError(
            f"an engine takes a list of workflows, activities and modules, not {definitions!r}; "
            f"write: [{getattr(definitions, '__name__', '...')}, ...]"
        )
    return list(definitions)


def demand_transactions(store: Store, activities: "Iterable[ActivityDefinition[Any, Any]]") -> None:
    """Refuse transactional activities on a store that is in no database of theirs, and let go of it.

    Raises:
        errors.DefinitionError: one of them is.
    """
    found = next((each for each in activities if each.transactional), None)
    if found is not None and store.enlisting is None:
        address = store.address
        store.admin.close()
        raise errors.DefinitionError(
            f"activity {found.name} is transactional, and {address} is in no database that it could write to; use "
            '"sqlite:///orders.db" or "postgresql://...", or give the test a stand-in for it'
        )


def _warn_of_doubts(workflows: Iterable[WorkflowDefinition[Any, Any]]) -> None:
    """Say what in the code of workflows replay may not be able to repeat, at the line where it stands."""
    from perdure.languages.python.scan import findings  # what it reads code with is slow to import

    for workflow in workflows:
        if workflow.doubts is None:
            workflow.doubts = findings(workflow)
        for finding in workflow.doubts:
            text = f"{finding.call} in a workflow: {finding.why}; {finding.instead}"
            warnings.warn_explicit(text, errors.DeterminismWarning, finding.file, finding.line)


def _seconds(name: str, value: Duration) -> float:
    try:
        return duration_ns(value) / 1e9
    except errors.DefinitionError as error:
        raise errors.DefinitionError(f"Engine: {name}: {error}") from None


def _retention_ns(value: Duration | None) -> int | None:
    if value is None:
        return None
    seconds = _seconds("retention", value)
    _demand(
        seconds >= RETENTION_LEAST_SECONDS,
        f"retention must be at least {RETENTION_LEAST_SECONDS:g} s, so that clients hear how their runs have ended; leave it out to "
        "keep them for ever",
    )
    return int(seconds * 1e9)


def checked_build(value: Any, owner: str) -> str:
    """The name of a build, if it can be one.

    Raises:
        DefinitionError: it cannot.
    """
    fits = isinstance(value, str) and 0 < len(value) <= BUILD_CHARS and value.isprintable() and value == value.strip()
    if not fits:
        raise errors.DefinitionError(
            f"{owner}: a build is named by a text of 1 to {BUILD_CHARS} printable characters, not {value!r}; "
            "leave it out for a fingerprint of the code"
        )
    return str(value)


def listed_queues(queues: Iterable[str], owner: str) -> tuple[str, ...]:
    """Names of queues, each once.

    Raises:
        errors.DefinitionError: one of them cannot be the name of a queue.
    """
    if isinstance(queues, str):
        raise errors.DefinitionError(f'{owner}: queues is a list of names, not {queues!r}; write: queues=["{queues}"]')
    return tuple(dict.fromkeys(checked_queue(queue, owner) for queue in queues))


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise errors.DefinitionError(f"Engine: {message}")
