"""What each verb gives: one object that can be awaited, and that has `.wait()` for code without an event loop."""

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from perdure.calls import Lazy, Scheduler
from perdure.client.patience import ENDLESS, NONE, Patience, Trying, plain
from perdure.errors import NotDeterministic, PerdureError, StoreUnreachable, WaitedTooLong
from perdure.runtime.outbox import Receiver
from perdure.runtime.threads import ASKING_AT_ONCE, Threads

_threads = Threads("perdure-answers", ASKING_AT_ONCE)


def _begin_anew() -> None:
    """A forked process has none of the threads that wait for work."""
    global _threads
    _threads = Threads("perdure-answers", ASKING_AT_ONCE)


os.register_at_fork(after_in_child=_begin_anew)


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

    __slots__ = ("_function", "_patience")

    def __init__(self, verb: str, function: Callable[[], R_co], patience: Patience = NONE) -> None:
        super().__init__(verb)
        self._function = function
        self._patience = patience

    def _begin(self) -> Generator[Any, Any, R_co]:
        return self._beside().__await__()

    async def _beside(self) -> R_co:
        trying = Trying(self._patience)
        while True:
            try:
                return trying.over(await _threads.beside(self._function))
            except PerdureError as error:
                trying.again(error)
                pause = trying.failed(error)
            await asyncio.sleep(pause)

    def _waited(self) -> R_co:
        trying = Trying(self._patience)
        while True:
            try:
                return trying.over(self._function())
            except PerdureError as error:
                trying.again(error)
                pause = trying.failed(error)
            time.sleep(pause)


async def beside(function: Callable[[], T]) -> T:
    """What a blocking function gives, run beside the loop as answers are."""
    try:
        return await _threads.beside(function)
    except PerdureError as error:
        raise plain(error) from error.__cause__


class Asked(Answer[R_co]):
    """An answer that somebody gives later. `read` makes of what was received what the caller gets; it may block, of None
    always, of anything if it is `slow`.
    `late` says what becomes of it if it has not come in `seconds`. `endures`: a store that does not answer when it is to be read there is
    asked again, until it does or the seconds are over; somebody keeps it who sees to that. One that refuses is not.
    `patience`: the same while it is asked for. `blocks`: asking may take its time, and is done beside the loop."""

    __slots__ = ("_ask", "_blocks", "_endures", "_late", "_patience", "_read", "_seconds", "_slow")

    def __init__(
        self,
        verb: str,
        ask: Ask,
        read: Callable[[Any], R_co],
        seconds: float | None = None,
        late: Callable[[], str] = lambda: "ask again later",
        slow: bool = False,
        endures: bool = False,
        patience: Patience = NONE,
        blocks: bool = False,
    ) -> None:
        super().__init__(verb)
        self._ask = ask
        self._read = read
        self._seconds = seconds
        self._late = late
        self._slow = slow
        self._endures = endures
        self._patience = patience
        self._blocks = blocks

    def _begin(self) -> Generator[Any, Any, R_co]:
        return self._awaited().__await__()

    async def _awaited(self) -> R_co:
        until = self._until()
        value = await self._received(until)
        slow, reading = value is None or self._slow, Trying(ENDLESS)
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

    async def _received(self, until: float | None) -> Any:
        try:
            if until is None:
                return await self._asked_for(until)
            async with asyncio.timeout(until - time.monotonic()):
                return await self._asked_for(until)
        except PerdureError as error:
            raise plain(error) from error.__cause__
        except TimeoutError:
            late = self._too_long()
            raise late from late.__cause__

    async def _asked_for(self, until: float | None) -> Any:
        asking: Trying | None = None
        while True:
            try:
                if asking is None and not self._blocks:
                    return await self._told()
                value = await self._told_beside()
                return value if asking is None else asking.over(value)
            except PerdureError as error:
                asking = asking or Trying(self._patience)
                pause = self._before_asking_again(asking, error, until)
            await asyncio.sleep(pause)

    async def _told(self) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        forget = self._ask(_InLoop(loop, future))
        try:
            return await future
        finally:
            if forget is not None and (not future.done() or future.cancelled()):
                forget()

    async def _told_beside(self) -> Any:
        """The same, without the loop standing still meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        receiver, question = _InLoop(loop, future), _Question()
        try:
            await _threads.beside(lambda: question.asked(self._ask(receiver)))
            return await future
        finally:
            if not future.done() or future.cancelled():
                question.give_up()

    def _until(self) -> float | None:
        return None if self._seconds is None else time.monotonic() + self._seconds

    def _outage_left(self, error: PerdureError, until: float | None) -> float:
        """How many seconds are left for a store that does not answer. Raises whatever else reading the answer comes to."""
        if not (self._endures and isinstance(error, StoreUnreachable)) or error._lasts:
            raise plain(error) from error.__cause__
        left = math.inf if until is None else until - time.monotonic()
        if left <= 0:
            raise self._too_long(error) from error
        return left

    def _waited(self) -> R_co:
        until = self._until()
        value, reading = self._heard(until), Trying(ENDLESS)
        while True:
            try:
                return reading.over(self._read(value))
            except PerdureError as error:
                left = self._outage_left(error, until)
                pause = reading.failed(error, left)
            time.sleep(pause)

    def _heard(self, until: float | None) -> Any:
        asking = Trying(self._patience)
        while True:
            receiver = _InThread()
            forget: Callable[[], object] | None = None
            try:
                forget = self._ask(receiver)
                if not receiver.arrived.wait(None if until is None else max(until - time.monotonic(), 0.0)):
                    break
                if receiver.error is not None:
                    raise plain(receiver.error) if isinstance(receiver.error, PerdureError) else receiver.error
                return asking.over(receiver.value)
            except PerdureError as error:
                pause = self._before_asking_again(asking, error, until)
            finally:
                if forget is not None and not receiver.arrived.is_set():
                    forget()
            time.sleep(pause)
        late = self._too_long()
        raise late from late.__cause__

    def _before_asking_again(self, asking: Trying, error: PerdureError, until: float | None) -> float:
        """How long to wait first. Raises what is not asked again."""
        asking.again(error)
        left = math.inf if until is None else until - time.monotonic()
        if left <= 0:
            raise self._too_long(error if isinstance(error, StoreUnreachable) else None) from error
        return asking.failed(error, left)

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


class _Question:
    """Asked on one thread, and given up on another one, perhaps before that has come to its end."""

    __slots__ = ("_forget", "_given_up", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._forget: Callable[[], object] | None = None

    def asked(self, forget: Callable[[], object] | None) -> None:
        with self._lock:
            self._forget = forget
            if not self._given_up:
                return
        self._end()

    def give_up(self) -> None:
        with self._lock:
            self._given_up = True
        self._end()

    def _end(self) -> None:
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()


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
