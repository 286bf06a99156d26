"""Attempts of transactional activities: each with a connection whose commit also records how the attempt has ended.

The function of a `def` finds its transaction begun when it asks for the connection; that of an `async def` when it begins. What
fails is undone, and its failure is brought like any other.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from perdure.activities import CompleteLater
from perdure.errors import DefinitionError
from perdure.failures import failure_of
from perdure.kernel.events import Failure, Payload
from perdure.kernel.messages import AttemptEnded
from perdure.runtime.letters import Letter
from perdure.runtime.threads import Threads
from perdure.stores.base import BlobRow, Ending
from perdure.stores.lending import Lender, Lent, LentOnLoop

if TYPE_CHECKING:
    from perdure.runtime.worker import Attempt

T = TypeVar("T")


class Transactions:
    """Those of one worker, the `member`.

    Args:
        enter: makes an attempt the one that runs in this context, and gives its arguments; `plain` those that are to be fetched
            or decoded, `sealed` its result; both may block.
        told: the message of an attempt that has ended well.
        end: takes the failure of one that has not. send: takes the letter that only says that one has ended.
        nudge: says to whom a run belongs that there is mail.
        crash_point: where a crash would hurt.
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
        crash_point: Callable[[str], None],
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
        self._crash_point = crash_point

    def close(self) -> None:
        self._lender.close()

    def in_thread(self, attempt: "Attempt") -> None:
        borrowed = attempt.borrowed = Borrowed(self._lender)
        try:
            args, kwargs = self._enter(attempt, self._plain(attempt) if attempt.is_elsewhere else None)
            value = attempt.definition.fn(*args, **kwargs)
            ending = self._ending(attempt, attempt.definition.result.encode(value))
            self._crash_point("before-ending")
            is_recorded = borrowed.lent().end(self._member, ending)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the outcome of the attempt
            borrowed.undo()
            self._end(attempt, None, _failure(error))
        else:
            self._landed(attempt, ending.message, is_recorded)

    async def on_loop(self, attempt: "Attempt") -> None:
        lent: LentOnLoop | None = None
        try:
            data = await self._threads.beside(lambda: self._plain(attempt)) if attempt.is_elsewhere else None
            lent, cancelled = await _unbroken(self._lent_on_loop())
            if cancelled is not None:
                raise cancelled
            attempt.borrowed = Borrowed(None, lent.connection)
            args, kwargs = self._enter(attempt, data)
            encoded = attempt.definition.result.encode(await attempt.definition.fn(*args, **kwargs))
            ending = await self._threads.beside(lambda: self._ending(attempt, encoded))
            self._crash_point("before-ending")
            is_recorded, _ = await _unbroken(lent.end(self._member, ending))
        except BaseException as error:
            try:
                if lent is not None:
                    await _unbroken(lent.undo())
            finally:
                self._end(attempt, None, _failure(error))
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            await self._threads.beside(lambda: self._landed(attempt, ending.message, is_recorded))

    async def _lent_on_loop(self) -> LentOnLoop:
        if self._lender.lend_on_loop is not None:
            return await self._lender.lend_on_loop()
        return _Beside(await self._threads.beside(self._lender.lend), self._threads)

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


def _failure(error: BaseException) -> Failure:
    if isinstance(error, CompleteLater):
        error = DefinitionError(
            "complete_later() is not for a transactional activity, whose result is committed when it returns; write another activity"
        )
    return failure_of(error)


class Borrowed:
    """The connection of an attempt; lent when it is asked for first, if it was not before."""

    __slots__ = ("_connection", "_lender", "_lent")

    def __init__(self, lender: Lender | None, connection: Any = None) -> None:
        self._lender = lender
        self._connection = connection
        self._lent: Lent | None = None

    def connection(self) -> Any:
        return self.lent().connection if self._connection is None else self._connection

    def lent(self) -> Lent:
        if self._lent is None:
            assert self._lender is not None
            self._lent = self._lender.lend()
        return self._lent

    def undo(self) -> None:
        if self._lent is not None:
            self._lent.undo()


class _Beside:
    """A connection of threads, lent to a coroutine."""

    def __init__(self, lent: Lent, threads: Threads) -> None:
        self._lent = lent
        self._threads = threads
        self.connection = lent.connection

    async def end(self, member: int, ending: Ending) -> bool:
        return await self._threads.beside(lambda: self._lent.end(member, ending))

    async def undo(self) -> None:
        await self._threads.beside(self._lent.undo)


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
