"""What each verb gives: one object that can be awaited, and that has `.wait()` for code without an event loop."""

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from perdure.calls import Lazy, Scheduler
from perdure.errors import NotDeterministic, PerdureError, StoreUnreachable, WaitedTooLong
from perdure.runtime.outage import Outage
from perdure.runtime.outbox import Receiver
from perdure.runtime.threads import ASKING_AT_ONCE, Threads
from perdure.runtime.world import World

_log = logging.getLogger("perdure")
_threads = Threads("perdure-answers", ASKING_AT_ONCE)


def _begin_anew() -> None:
    """A forked process has none of the threads that wait for work."""
    global _threads
    _threads = Threads("perdure-answers", ASKING_AT_ONCE)


os.register_at_fork(after_in_child=_begin_anew)


_PAUSE_SECONDS = (0.05, 1.0)
"""Before a store that has not answered is asked again: at first, and after a while."""


def asking() -> int:
    """How many verbs look into a database now, beside the loops they are awaited on."""
    return _threads.busy


R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

Ask = Callable[[Receiver], Callable[[], object] | None]
"""Asks for the answer, which the receiver gets; gives what makes it be forgotten, if somebody stops waiting."""


class Answer(Lazy[R_co], Generic[R_co]):
    """The answer of a verb, asked for when it is awaited or waited for."""

    __slots__ = ("_verb",)

    def __init__(self, verb: str) -> None:
        super().__init__()
        self._verb = verb

    def wait(self) -> R_co:
        """Block until the answer is there, in code without an event loop.

        Raises:
            RuntimeError: a loop runs on this thread, which would stand still meanwhile.
            errors.NotDeterministic: it is the loop of a workflow.
        """
        self._demand_no_workflow()
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                f"{self._call}.wait() would stop the event loop of this thread; write: await {self._call}"
            )
        self.take()
        return self._waited()

    def __await__(self) -> Generator[Any, Any, R_co]:
        self._demand_no_workflow()
        return super().__await__()

    def _demand_no_workflow(self) -> None:
        """What is asked in a workflow would be asked again by each replay, and its answer is not recorded."""
        if isinstance(asyncio._get_running_loop(), Scheduler):
            self._taken = True
            raise NotDeterministic(
                f"{self._call} cannot be awaited in a workflow: the answer is not recorded. Await the workflow itself, which "
                "is a child then, or start_child(...); speak to other runs by external(id); do the rest in an activity"
            )

    def _waited(self) -> R_co:
        raise NotImplementedError

    def _again(self) -> str:
        return "call the method again"

    def _forgotten(self) -> str:
        return f"{self._verb} was never awaited, so nothing happened; write: await {self._call}, or {self._call}.wait()"

    @property
    def _call(self) -> str:
        """The verb as one writes it, without the run it is about."""
        return self._verb.partition(" of ")[0]

    def __repr__(self) -> str:
        return f"<answer of {self._verb}>"


class Looked(Answer[R_co]):
    """An answer that a blocking function finds: awaited, it runs beside the loop."""

    __slots__ = ("_function",)

    def __init__(self, verb: str, function: Callable[[], R_co]) -> None:
        super().__init__(verb)
        self._function = function

    def _begin(self) -> Generator[Any, Any, R_co]:
        return self._beside().__await__()

    async def _beside(self) -> R_co:
        try:
            return await _threads.beside(self._function)
        except PerdureError as error:
            raise _plain(error) from error.__cause__

    def _waited(self) -> R_co:
        return self._function()


async def beside(function: Callable[[], T]) -> T:
    """What a blocking function gives, run beside the loop as answers are."""
    try:
        return await _threads.beside(function)
    except PerdureError as error:
        raise _plain(error) from error.__cause__


class Asked(Answer[R_co]):
    """An answer that somebody gives later. `read` makes of what was received what the caller gets; it may block, of None
    always, of anything if it is `slow`.
    `late` says what becomes of it if it has not come in `seconds`. `endures`: a store that does not answer when it is to be read there is
    asked again, until it does or the seconds are over; somebody keeps it who sees to that. One that refuses is not.
    `asks_again`: the same if it does not answer at the beginning, as the question changes nothing."""

    __slots__ = ("_ask", "_asks_again", "_endures", "_late", "_read", "_seconds", "_slow")

    def __init__(
        self,
        verb: str,
        ask: Ask,
        read: Callable[[Any], R_co],
        seconds: float | None = None,
        late: Callable[[], str] = lambda: "ask again later",
        slow: bool = False,
        endures: bool = False,
        asks_again: bool = False,
    ) -> None:
        super().__init__(verb)
        self._ask = ask
        self._asks_again = asks_again
        self._read = read
        self._seconds = seconds
        self._late = late
        self._slow = slow
        self._endures = endures

    def _begin(self) -> Generator[Any, Any, R_co]:
        return self._awaited().__await__()

    async def _awaited(self) -> R_co:
        loop = asyncio.get_running_loop()
        until = self._until()
        future: asyncio.Future[Any] = loop.create_future()
        forget: Callable[[], object] | None = None
        asking = _Patience()
        try:
            while True:
                try:
                    forget = asking.over(self._ask(_InLoop(loop, future)))
                    break
                except StoreUnreachable as error:
                    pause = self._before_asking_again(asking, error, until)
                await asyncio.sleep(pause)
            if until is None:
                value = await future
            else:
                async with asyncio.timeout(until - time.monotonic()):
                    value = await future
        except PerdureError as error:
            raise _plain(error) from error.__cause__
        except TimeoutError:
            late = self._too_long()
            raise late from late.__cause__
        finally:
            if forget is not None and (not future.done() or future.cancelled()):
                forget()
        slow, reading = value is None or self._slow, _Patience()
        while True:
            try:
                if not slow:
                    return reading.over(self._read(value))
                return reading.over(await _threads.beside(lambda: self._read(value)))
            except PerdureError as error:
                left = self._outage_left(error, until)
                pause = reading.failed(error, left)
            await asyncio.sleep(pause)
            slow = True

    def _until(self) -> float | None:
        return None if self._seconds is None else time.monotonic() + self._seconds

    def _outage_left(self, error: PerdureError, until: float | None) -> float:
        """How many seconds are left for a store that does not answer. Raises whatever else reading the answer comes to."""
        if not (self._endures and isinstance(error, StoreUnreachable)) or error._lasts:
            raise _plain(error) from error.__cause__
        left = math.inf if until is None else until - time.monotonic()
        if left <= 0:
            raise self._too_long(error) from error
        return left

    def _waited(self) -> R_co:
        receiver = _InThread()
        until = self._until()
        forget = self._asked(receiver, until)
        try:
            if not receiver.arrived.wait(None if until is None else max(until - time.monotonic(), 0.0)):
                late = self._too_long()
                raise late from late.__cause__
        finally:
            if forget is not None and not receiver.arrived.is_set():
                forget()
        if receiver.error is not None:
            raise _plain(receiver.error) if isinstance(receiver.error, PerdureError) else receiver.error
        reading = _Patience()
        while True:
            try:
                return reading.over(self._read(receiver.value))
            except PerdureError as error:
                left = self._outage_left(error, until)
                pause = reading.failed(error, left)
            time.sleep(pause)

    def _asked(self, receiver: Receiver, until: float | None) -> Callable[[], object] | None:
        asking = _Patience()
        while True:
            try:
                return asking.over(self._ask(receiver))
            except StoreUnreachable as error:
                pause = self._before_asking_again(asking, error, until)
            time.sleep(pause)

    def _before_asking_again(self, asking: "_Patience", error: StoreUnreachable, until: float | None) -> float:
        """How long to wait first."""
        if not self._asks_again:
            raise error
        return asking.failed(error, self._outage_left(error, until))

    def _too_long(self, error: StoreUnreachable | None = None) -> WaitedTooLong:
        """`error`: the answer is there, and could not be read. What becomes of the run is none of the question then."""
        late = ""
        if error is None:
            try:
                late = self._late()
            except StoreUnreachable as unreachable:
                error = unreachable
        if error is not None:
            state = "refuses this" if error._lasts else "does not answer, ask again when it does"
            late = f"the database {state}: {error}"
        waited = WaitedTooLong(f"{self._verb}: no answer within {self._seconds:g} s; {late}")
        waited.__cause__ = error
        return waited


class _Patience:
    """Of one question to a store that may be away for a while, or of one answer that is read: the log tells of it."""

    __slots__ = ("_outage", "_pause")

    def __init__(self) -> None:
        self._outage: Outage | None = None
        self._pause = _PAUSE_SECONDS[0]

    def failed(self, error: PerdureError, left: float) -> float:
        """For how many seconds it is waited now, of those that are `left`."""
        if self._outage is None:
            self._outage = Outage(World(), _log, endless=True)
        self._outage.noted(error)
        pause, self._pause = self._pause, min(2 * self._pause, _PAUSE_SECONDS[1])
        return min(pause, left)

    def over(self, answer: T) -> T:
        if self._outage is not None:
            self._outage.over()
        return answer


def _plain(error: PerdureError) -> PerdureError:
    """Without the frames that found it out: what a caller needs is in its message and its cause."""
    return error.with_traceback(None)


class _InLoop:
    __slots__ = ("future", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]") -> None:
        self.loop: asyncio.AbstractEventLoop | None = loop
        self.future = future

    def receive(self, value: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(value)
        else:
            self.future.set_exception(error)


class _InThread:
    __slots__ = ("arrived", "error", "loop", "value")

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.arrived = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def receive(self, value: Any, error: BaseException | None) -> None:
        self.value = value
        self.error = error
        self.arrived.set()
