"""Attempts of transactional activities: each with a connection whose commit also records how the attempt has ended.

The function of a `def` finds its transaction begun when it asks for the connection; that of an `async def` when it begins. What
fails is undone, and its failure is brought like any other.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from perdure.activities import CompleteLater
from perdure.errors import DefinitionError, StoreUnreachable
from perdure.failures import failure_of
from perdure.kernel.events import Failure, Payload
from perdure.kernel.messages import AttemptEnded
from perdure.runtime.letters import Letter
from perdure.runtime.outage import Outage
from perdure.runtime.slots import Flight
from perdure.runtime.threads import Threads
from perdure.runtime.world import World
from perdure.stores.base import BlobRow, Ending
from perdure.stores.lending import Lender, Lent, LentOnLoop, ended_by_itself

if TYPE_CHECKING:
    from perdure.runtime.worker import Attempt

T = TypeVar("T")

_log = logging.getLogger("perdure")
_GIVE = "give a connection to a transactional activity"
PAUSE_SECONDS = 0.5
"""Between two tries of a coroutine to get one."""

COURTESY_SECONDS = 1.0
"""A coroutine is cancelled, which ends its statement: so long it may take to undo what it has done."""


class Transactions:
    """Those of one worker, the `member`.

    Args:
        enter: makes an attempt the one that runs in this context, and gives its arguments; `plain` those that are to be fetched
            or decoded, `sealed` its result; both may block.
        told: the message of an attempt that has ended well.
        end: takes the failure of one that has not. send: takes the letter that only says that one has ended.
        nudge: says to whom a run belongs that there is mail.
    """

    def __init__(
        self,
        lender: Lender,
        member: int,
        threads: Threads,
        enter: "Callable[[Attempt, bytes | None], tuple[tuple[Any, ...], dict[str, Any]]]",
        plain: "Callable[[Attempt], bytes]",
        sealed: "Callable[[Attempt, bytes], Payload]",
        told: "Callable[[Attempt, Payload], AttemptEnded]",
        end: "Callable[[Attempt, Payload | None, Failure | None], None]",
        send: Callable[[Letter], None],
        nudge: Callable[[list[int]], None],
        world: World,
    ) -> None:
        self._lender = lender
        self._member = member
        self._threads = threads
        self._enter = enter
        self._plain = plain
        self._sealed = sealed
        self._told = told
        self._end = end
        self._send = send
        self._nudge = nudge
        self._world = world
        self._crash_point = world.crash_point
        self._borrowed: dict[Flight, Borrowed] = {}

    def give_up(self, flight: Flight) -> None:
        """Nobody wants what this attempt does any more: the locks that it has go now, and not when its function comes to an end."""
        borrowed = self._borrowed.get(flight)
        if borrowed is None:
            return

        def break_off() -> None:
            if not (borrowed.is_on_loop and borrowed.over.wait(COURTESY_SECONDS)):
                borrowed.break_off()

        with contextlib.suppress(RuntimeError):  # the system has no more threads: they go later
            self._threads.run(break_off)

    def close(self) -> None:
        self._lender.close()

    def in_thread(self, attempt: "Attempt") -> None:
        borrowed = attempt.borrowed = self._borrowed[attempt.flight] = Borrowed(
            self._lender, self._world, attempt.flight
        )
        try:
            args, kwargs = self._enter(attempt, self._plain(attempt) if attempt.is_elsewhere else None)
            value = attempt.definition.fn(*args, **kwargs)
            ending = self._ending(attempt, attempt.definition.result.encode(value))
            self._crash_point("before-ending")
            is_recorded = borrowed.lent().end(self._member, ending)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the outcome of the attempt
            self._end(attempt, None, _failure(error, borrowed.undo()))
        else:
            self._landed(attempt, ending.message, is_recorded)
        finally:
            self._over(attempt.flight)

    async def on_loop(self, attempt: "Attempt") -> None:
        lent: LentOnLoop | None = None
        try:
            data = await self._threads.beside(lambda: self._plain(attempt)) if attempt.is_elsewhere else None
            lent, cancelled = await _unbroken(self._lent_on_loop(attempt.flight))
            if cancelled is not None:
                raise cancelled
            attempt.borrowed = self._borrowed[attempt.flight] = Borrowed(None, self._world, attempt.flight, lent)
            args, kwargs = self._enter(attempt, data)
            encoded = attempt.definition.result.encode(await attempt.definition.fn(*args, **kwargs))
            ending = await self._threads.beside(lambda: self._ending(attempt, encoded))
            self._crash_point("before-ending")
            is_recorded, _ = await _unbroken(lent.end(self._member, ending))
        except BaseException as error:
            is_undone = True
            try:
                if lent is not None:
                    is_undone, _ = await _unbroken(lent.undo())
            finally:
                self._end(attempt, None, _failure(error, is_undone))
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            await self._threads.beside(lambda: self._landed(attempt, ending.message, is_recorded))
        finally:
            self._over(attempt.flight)

    def _over(self, flight: Flight) -> None:
        borrowed = self._borrowed.pop(flight, None)
        if borrowed is not None:
            borrowed.over.set()

    async def _lent_on_loop(self, flight: Flight) -> LentOnLoop:
        if self._lender.lend_on_loop is None:
            lent = await self._threads.beside(lambda: _lent(self._lender, self._world, flight))
            return _Beside(lent, self._threads)
        outage = Outage(self._world, _log, endless=True)
        while True:
            try:
                return await self._lender.lend_on_loop()
            except StoreUnreachable as error:
                if error._lasts or flight.given_up:
                    raise
                outage.noted(error, _GIVE)
            await asyncio.sleep(PAUSE_SECONDS)

    def _ending(self, attempt: "Attempt", data: bytes) -> Ending:
        """May block."""
        message = self._told(attempt, self._sealed(attempt, data))
        blobs = [BlobRow(attempt.flight.key, digest, data) for digest, data in (attempt.blobs or {}).items()]
        return Ending(message, attempt.flight.key, blobs)

    def _landed(self, attempt: "Attempt", message: AttemptEnded, is_recorded: bool) -> None:
        self._crash_point("after-ending")
        attempt.over = True
        if not is_recorded:
            late = Failure(
                "perdure.errors.AttemptLost", "it was not wanted any more when it ended, and was rolled back"
            )
            self._end(attempt, None, late)
            return
        self._send(Letter(attempt.flight.key, message, recorded=True))
        self._nudge([attempt.flight.key])


def _lent(lender: Lender, world: World, flight: Flight) -> Lent:
    """That none can be had now (the server has as many as it takes, or is just away) is no fault of the attempt."""
    outage = Outage(world, _log, endless=True, closing=lambda: flight.given_up)
    while True:
        try:
            return lender.lend()
        except StoreUnreachable as error:
            if error._lasts or not outage.failed(error, 0, _GIVE):
                raise


def _failure(error: BaseException, is_undone: bool) -> Failure:
    """To try it once more would write once more what is not undone: that is a bug, whatever else has happened."""
    if not is_undone and not isinstance(error, DefinitionError):
        cause, error = error, ended_by_itself()
        error.__cause__ = cause
    if isinstance(error, CompleteLater):
        error = DefinitionError(
            "complete_later() is not for a transactional activity, whose result is committed when it returns; write another activity"
        )
    return failure_of(error)


class Borrowed:
    """The connection of an attempt; lent when it is asked for first, if it was not before."""

    __slots__ = ("_flight", "_lender", "_lent", "_lock", "_world", "is_on_loop", "over")

    def __init__(
        self, lender: Lender | None, world: World, flight: Flight, lent: Lent | LentOnLoop | None = None
    ) -> None:
        self._lender = lender
        self._world = world
        self._flight = flight
        self._lent = lent
        self._lock = threading.Lock()
        self.is_on_loop = lent is not None
        self.over = threading.Event()

    def connection(self) -> Any:
        return (self._lent or self.lent()).connection

    def lent(self) -> Lent:
        """Of a `def`.

        Raises:
            asyncio.CancelledError: it was given up, and nobody would take back what it locks now.
        """
        if self._lent is None:
            assert self._lender is not None
            lent = _lent(self._lender, self._world, self._flight)
            with self._lock:
                is_wanted = not self._flight.given_up
                if is_wanted:
                    self._lent = lent
            if not is_wanted:
                lent.undo()
                raise asyncio.CancelledError(
                    "the activity was cancelled, or its time has run out: its result is not wanted"
                )
        return cast("Lent", self._lent)

    def break_off(self) -> None:
        """It is given up. From any thread."""
        with self._lock:
            lent = self._lent
        if lent is not None:
            lent.break_off()

    def undo(self) -> bool:
        return self._lent is None or cast("Lent", self._lent).undo()


class _Beside:
    """A connection of threads, lent to a coroutine."""

    def __init__(self, lent: Lent, threads: Threads) -> None:
        self._lent = lent
        self._threads = threads
        self.connection = lent.connection

    async def end(self, member: int, ending: Ending) -> bool:
        return await self._threads.beside(lambda: self._lent.end(member, ending))

    async def undo(self) -> bool:
        return await self._threads.beside(self._lent.undo)

    def break_off(self) -> None:
        self._lent.break_off()


async def _unbroken(steps: Coroutine[Any, Any, T]) -> tuple[T, asyncio.CancelledError | None]:
    """What they come to, even if whoever awaits it is cancelled meanwhile: a transaction is not left half way."""
    task = asyncio.ensure_future(steps)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    return task.result(), cancelled
