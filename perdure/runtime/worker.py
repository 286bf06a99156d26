"""Runs attempts: coroutine functions on an event loop, plain functions in threads, or in processes. User code runs here,
and only here.

Each attempt ends in exactly one letter to the engine, whatever it does: that is how its slot comes back.
"""

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from perdure.activities import ActivityInfo, CompleteLater, attempt_context, no_transaction
from perdure.errors import DefinitionError, StoreCorrupt, StoreUnreachable
from perdure.failures import failure_of
from perdure.kernel import messages as msg
from perdure.kernel.events import Failure, Payload
from perdure.kernel.wire import Task
from perdure.payload import Coder
from perdure.runtime.attempt_logs import AttemptLog
from perdure.runtime.beats import Beats
from perdure.runtime.letters import Letter
from perdure.runtime.outage import Outage
from perdure.runtime.outbox import Outbox
from perdure.runtime.outlet import Outlet
from perdure.runtime.slots import Flight
from perdure.runtime.threads import Threads
from perdure.runtime.tokens import Named, token_of
from perdure.runtime.world import World
from perdure.stores.base import Views

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition
    from perdure.runtime.errands import Errands
    from perdure.runtime.outflow import Append, Spool
    from perdure.runtime.transactions import Borrowed, Transactions
    from perdure.stores.lending import Lender

_log = logging.getLogger("perdure")
_log_made = threading.Lock()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Attempt:
    """One try of an activity, with all that is needed to make it."""

    __slots__ = (
        "_worker",
        "blobs",
        "borrowed",
        "definition",
        "details",
        "flight",
        "logs",
        "over",
        "spool",
        "started_at",
        "task",
    )

    def __init__(
        self, worker: "Worker", flight: Flight, definition: "ActivityDefinition[Any, Any]", task: Task
    ) -> None:
        self._worker = worker
        self.flight = flight
        self.definition = definition
        self.task = task
        self.details = task.details
        self.started_at = 0
        self.logs: AttemptLog | None = None
        self.blobs: dict[bytes, bytes] | None = None
        self.spool: Spool | None = None
        self.borrowed: Borrowed | None = None
        self.over = False

    @property
    def is_elsewhere(self) -> bool:
        """Whether its arguments are to be fetched, or anything of it to be decoded."""
        input, details = self.task.input, self.task.details
        return input.ref or bool(input.encoding) or (details is not None and bool(details.encoding))

    def info(self) -> ActivityInfo:
        """Made when it is asked for: most attempts never ask."""
        task = self.task
        return ActivityInfo(
            id=task.id,
            run_id=task.run_id.hex(),
            workflow=task.workflow,
            activity=self.definition.name,
            step=self.flight.step,
            attempt=self.flight.attempt,
            scheduled_at=_EPOCH + timedelta(microseconds=task.scheduled_at // 1000),
            timeout=_delta(task.timeout_ns),
            heartbeat_timeout=_delta(task.heartbeat_ns),
            heartbeat_details=None if self.details is None else msgspec.json.decode(self.details.data),
            queue=task.queue,
        )

    def heartbeat(self, details: Payload | None) -> None:
        self._worker.heard(self.flight, details)

    def cancelled(self) -> bool:
        return self.flight.given_up

    def token(self) -> str:
        flight = self.flight
        return self._worker.token(Named(flight.key, self.task.run_id, flight.step, flight.attempt))

    def connection(self) -> Any:
        if self.borrowed is None:
            raise no_transaction(self.definition.name)
        return self.borrowed.connection()

    def write(self, stream: str, data: bytes | None) -> bool:
        if self.borrowed is not None:
            raise DefinitionError(
                f"activity {self.definition.name} is transactional, and a stream is written outside of its transaction, at once; write "
                "to it from another activity, or from the workflow"
            )
        if self.over:
            from perdure.languages.python.streaming import left_behind  # nearly nobody comes here

            raise left_behind(stream)
        return self._worker.outlet.flow.write(self.spooled(), stream, data)

    def wait_for_room(self) -> None:
        there_is = threading.Event()
        self.when_room(there_is.set)
        there_is.wait()

    def when_room(self, call: Callable[[], object]) -> None:
        self._worker.outlet.flow.when_room(self.spooled(), call)

    def spooled(self, told: Callable[[int], object] | None = None) -> "Spool":
        """What it writes to streams goes by; and writing is a heartbeat, too."""
        self._worker.heard(self.flight, None)
        return self.spool or self._worker.outlet.spool_of(self, told)

    def keep(self, record: logging.LogRecord) -> None:
        self.log().keep(record)

    def log(self) -> AttemptLog:
        """Made when something is logged: most attempts log nothing."""
        if self.logs is None:
            with _log_made:  # threads of the attempt may log at the same time
                self.logs = self.logs or AttemptLog()
        return self.logs

    def put(self, digest: bytes, data: bytes) -> None:
        if self.blobs is None:
            self.blobs = {}
        self.blobs[digest] = data


def _delta(ns: int | None) -> timedelta | None:
    return None if ns is None else timedelta(microseconds=ns // 1000)


class Loop:
    """The event loop attempts run on, and the context they begin in: that of whoever entered the engine."""

    __slots__ = ("context", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context) -> None:
        self.loop = loop
        self.context = context


class Worker:
    """The crew of one engine.

    Args:
        grace_seconds: how long an attempt in a process may go on when nobody wants its result; then it is killed.
        home: the loop for coroutine functions.
        send: takes the letter that ends an attempt.
        on_loop_gone: called when the loop was closed while the engine still needs it.
        append: stores chunks of streams.
        lender: of connections to transactional activities, whose attempts are tasks of queues: only a worker of those has one.
        nudge: hints to owners of runs that there is mail for them.
    """

    def __init__(
        self,
        activities: "Mapping[str, ActivityDefinition[Any, Any]]",
        build: str,
        member: int,
        world: World,
        views: Views,
        payload_max_bytes: int,
        grace_seconds: float,
        coder: Coder,
        home: Loop,
        outbox: Outbox,
        send: Callable[[Letter], None],
        on_loop_gone: Callable[[], None],
        append: "Append",
        lender: "Lender | None" = None,
        nudge: Callable[[list[int]], None] = lambda keys: None,
    ) -> None:
        self._activities = activities
        self._build = build
        self._member = member
        self._world = world
        self._views = views
        self._max_bytes = payload_max_bytes
        self._coder = coder
        self._home = home
        self._outbox = outbox
        self._send = send
        self._on_loop_gone = on_loop_gone
        self._threads = Threads("perdure-activity")
        self.outlet = Outlet(append, coder, world, self._threads)
        self._errands: Errands | None = None
        if any(definition.in_process for definition in activities.values()):
            from perdure.runtime import errands  # slow to import, and most programs have no such activities
            from perdure.runtime.nursery import Patience
            from perdure.runtime.processes import Processes

            self._errands = errands.Errands(
                Processes(Patience(grace=grace_seconds)),
                self._threads,
                payload_max_bytes,
                world.now,
                self._plain,
                None if coder.codec is None else self._sealed,
                self._end,
            )
        self._transactions: Transactions | None = None
        if lender is not None:
            from perdure.runtime import transactions  # most programs have no such activities

            self._transactions = transactions.Transactions(
                lender,
                member,
                self._threads,
                self._enter,
                self._plain,
                self._sealed,
                lambda attempt, result: self._told(attempt, result, None),
                self._end,
                send,
                nudge,
                world,
            )
        self._tasks: dict[Flight, asyncio.Task[None]] = {}
        self.heartbeats = Beats(world, coder, self._threads, payload_max_bytes)
        self._secret = b""

    # on the engine's thread

    def begin(self, departures: Sequence[tuple[Flight, str, Task]]) -> None:
        on_loop: list[Attempt] = []
        for flight, name, task in departures:
            attempt = Attempt(self, flight, self._activities[name], task)
            if attempt.definition.is_async:
                on_loop.append(attempt)
            elif self._errands is not None and attempt.definition.in_process:
                self._errands.begin(attempt)
            else:
                self._begin_in_thread(attempt)
        if on_loop:
            self._outbox.post(self._home.loop, self._start, on_loop)

    def _begin_in_thread(self, attempt: Attempt) -> None:
        try:
            self._threads.run(lambda: self._home.context.copy().run(self._in_thread, attempt))
        except RuntimeError as error:  # the system has no more threads; when it is tried again, perhaps
            self._end(attempt, None, failure_of(error))

    def give_up(self, flight: Flight) -> None:
        if self._errands is None or not self._errands.give_up(flight):
            self._outbox.post(self._home.loop, self._cancel, flight)
        if self._transactions is not None:
            self._transactions.give_up(flight)

    def beats(self) -> list[Flight]:
        return self.heartbeats.taken()

    def loop_is_gone(self, loop: Any) -> None:
        if loop is self._home.loop:
            self._on_loop_gone()

    def close(self) -> None:
        self.outlet.close()
        self._threads.close()
        if self._errands is not None:
            self._errands.close()
        if self._transactions is not None:
            self._transactions.close()

    # from any thread

    def heard(self, flight: Flight, details: Payload | None) -> None:
        """The attempt lives."""
        self.heartbeats.heard(flight, details)

    def token(self, named: Named) -> str:
        if not self._secret:
            self._secret = self._views.secret()
        return token_of(self._secret, named)

    # on the loop

    def _start(self, attempts: list[Attempt]) -> None:
        loop, context, tasks = self._home.loop, self._home.context, self._tasks
        for attempt in attempts:
            # The task copies the context it is made in. Not every task factory knows a parameter for that.
            task = context.run(loop.create_task, self._on_loop(attempt), name=attempt.definition.name)
            if not task.done():  # a task factory may have run it at once
                tasks[attempt.flight] = task

    def _cancel(self, flight: Flight) -> None:
        task = self._tasks.get(flight)
        if task is None:
            return
        task.cancel()
        coroutine = task.get_coro()
        if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            del self._tasks[flight]  # it will not even begin, and so cannot say that it has ended
            failure = Failure("asyncio.CancelledError", "cancelled before it began")
            ended = msg.AttemptEnded(flight.step, flight.attempt, self._member, self._world.now(), failure=failure)
            self._send(Letter(flight.key, ended))

    async def _on_loop(self, attempt: Attempt) -> None:
        try:
            if self._transactions is not None and attempt.definition.transactional:
                await self._transactions.on_loop(attempt)
                return
            args, kwargs = self._enter(
                attempt, await self._threads.beside(lambda: self._plain(attempt)) if attempt.is_elsewhere else None
            )
            value = await attempt.definition.fn(*args, **kwargs)
            data = attempt.definition.result.encode(value)
            if self._coder.codec is None:
                result = self._sealed(attempt, data)
            else:
                result = await self._threads.beside(lambda: self._sealed(attempt, data))
        except KeyboardInterrupt:
            self._end(attempt, None, _interrupted())
            raise
        except CompleteLater:
            self._end(attempt, None, None)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the outcome of the attempt
            self._end(attempt, None, failure_of(error))
        else:
            self._end(attempt, result, None)
        finally:
            self._tasks.pop(attempt.flight, None)

    # in a thread

    def _in_thread(self, attempt: Attempt) -> None:
        if self._transactions is not None and attempt.definition.transactional:
            self._transactions.in_thread(attempt)
            return
        try:
            args, kwargs = self._enter(attempt, self._plain(attempt) if attempt.is_elsewhere else None)
            value = attempt.definition.fn(*args, **kwargs)
            result = self._sealed(attempt, attempt.definition.result.encode(value))
        except CompleteLater:
            self._end(attempt, None, None)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the outcome of the attempt
            self._end(attempt, None, failure_of(error))
        else:
            self._end(attempt, result, None)

    # all

    def _enter(self, attempt: Attempt, data: bytes | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`data` are the arguments, if the attempt does not have them as they are."""
        if attempt.definition.transactional and attempt.borrowed is None:
            raise DefinitionError(
                f"this call of activity {attempt.definition.name} was recorded when the activity was not transactional: it is no task, "
                "and its end cannot be part of a transaction. Give the transactional one another name, and keep this one for such calls"
            )
        attempt.started_at = self._world.now()
        attempt_context.set(attempt)
        return attempt.definition.parameters.decode(attempt.task.input.data if data is None else data)

    def _plain(self, attempt: Attempt) -> bytes:
        """The arguments, fetched and decoded, and so are the details of the latest heartbeat: on a thread that may wait."""
        if attempt.details is not None:  # never kept apart
            attempt.details = Payload(self._coder.unseal(attempt.details, lambda digest: b"null"))
        return self._coder.unseal(attempt.task.input, lambda digest: self._blob(attempt))

    def _blob(self, attempt: Attempt) -> bytes:
        digest = attempt.task.input.data
        outage = Outage(self._world, _log, endless=True, closing=lambda: attempt.flight.given_up)
        while True:
            try:
                data = self._views.blob(attempt.flight.key, digest)
                break
            except StoreUnreachable as error:  # not the fault of the attempt
                if not outage.failed(error, 0):
                    raise
        if data is None:
            raise StoreCorrupt(
                f"the arguments of {attempt.definition.name} (sha256:{digest.hex()}) are not in the database; "
                "restore a backup"
            )
        return data

    def _sealed(self, attempt: Attempt, data: bytes) -> Payload:
        what = f"the result of activity {attempt.definition.name}"
        return self._coder.seal(data, attempt.put, self._max_bytes, what)

    def _end(self, attempt: Attempt, result: Payload | None, failure: Failure | None) -> None:
        """Without result and failure: somebody else brings them."""
        attempt.over = True
        if attempt.spool is not None and not attempt.spool.is_stored:
            self.outlet.flow.when_stored(attempt.spool, lambda: self._end(attempt, result, failure))
            return
        refused = None if attempt.spool is None else attempt.spool.failure
        # A child has only been cancelled.
        if refused is not None and (failure is None or attempt.definition.in_process):
            result, failure = None, failure_of(refused())
        flight = attempt.flight
        if not self.heartbeats.owes(flight):
            self._end_now(attempt, result, failure)
            return

        def end() -> None:
            self.heartbeats.finish(flight)
            self._end_now(attempt, result, failure)

        self._threads.run(end)

    def _end_now(self, attempt: Attempt, result: Payload | None, failure: Failure | None) -> None:
        self._send(Letter(attempt.flight.key, self._told(attempt, result, failure), blobs=attempt.blobs))

    def _told(self, attempt: Attempt, result: Payload | None, failure: Failure | None) -> msg.AttemptEnded:
        flight = attempt.flight
        if self.heartbeats.owes(flight):  # of a transactional activity, on a thread that may wait
            self.heartbeats.finish(flight)
        return msg.AttemptEnded(
            flight.step,
            flight.attempt,
            self._member,
            attempt.started_at or self._world.now(),
            result,
            failure,
            None if attempt.logs is None else attempt.logs.taken(),
            build=self._build,
            details=flight.details,
            deferred=result is None and failure is None,
        )


def _interrupted() -> Failure:
    return Failure("KeyboardInterrupt", "the process was interrupted while the attempt ran")
