"""What asyncio does differently from one Python to the next, done one way in workflows: that of 3.13.

Other loops keep their asyncio: each function and class decides by the loop that is running when it is called.
A module may have bound `from asyncio import gather` before anybody imported this one, so the functions are not
replaced: they keep their identity and get a code of one line that decides.

    gather           3.11 takes one turn of the loop more for futures that are done already
    wait_for         3.11 makes a task of the coroutine, 3.12 awaits it in place (its commands have other ids)
    as_completed     puts bare coroutines into a set: their order is that of their addresses
    TaskGroup        3.13 keeps a cancellation from outside that comes while children fail; aborts in set order
    Semaphore        3.13 is fair when a waiter is cancelled
    Condition        3.13 passes a notification on when its receiver is cancelled
"""

import asyncio
import types
from asyncio import tasks as _tasks
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from perdure.languages.python.groups import WorkflowTaskGroup
from perdure.languages.python.locks import WorkflowBoundedSemaphore, WorkflowCondition, WorkflowSemaphore
from perdure.languages.python.loop import WorkflowLoop
from perdure.languages.python.tasks import Future


class _Gathering(Future):
    """What `gather` returns: cancelled, it cancels what it gathers and ends when all of that has ended."""

    __slots__ = ("gathered", "wants_cancel")

    def __init__(self, gathered: "list[asyncio.Future[Any]]", loop: WorkflowLoop) -> None:
        super().__init__(loop=loop)
        self.gathered = gathered
        self.wants_cancel = False

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        reached = [child.cancel(msg=msg) for child in self.gathered]
        self.wants_cancel = self.wants_cancel or any(reached)
        return any(reached)

    def outcomes(self) -> list[Any]:
        return [_outcome(child) for child in self.gathered]


def _cancellation(future: "asyncio.Future[Any]") -> asyncio.CancelledError:
    try:
        future.exception()
    except asyncio.CancelledError as cancelled:
        return cancelled
    return asyncio.CancelledError()


def _outcome(future: "asyncio.Future[Any]") -> Any:
    if future.cancelled():
        return _cancellation(future)
    error = future.exception()
    return future.result() if error is None else error


def _futures(awaitables: Sequence[Any]) -> "dict[int, asyncio.Future[Any]]":
    """A future for each different awaitable, by identity, in their order."""
    distinct = {id(awaitable): awaitable for awaitable in awaitables}
    try:
        return {key: asyncio.ensure_future(awaitable) for key, awaitable in distinct.items()}
    except BaseException:
        for awaitable in distinct.values():
            if asyncio.iscoroutine(awaitable):
                with suppress(ValueError, RuntimeError):
                    awaitable.close()
        raise


def _gather(*awaitables: Any, return_exceptions: bool = False) -> "asyncio.Future[list[Any]]":
    loop: Any = asyncio.get_running_loop()
    futures = _futures(awaitables)
    outer = _Gathering([futures[id(awaitable)] for awaitable in awaitables], loop)
    left = len(futures)

    def one_done(future: "asyncio.Future[Any]") -> None:
        nonlocal left
        left -= 1
        if outer.done():
            if not future.cancelled():
                future.exception()  # asked for, so that it is not reported as overlooked
            return
        error = _cancellation(future) if future.cancelled() else future.exception()
        if error is not None and not return_exceptions:
            outer.set_exception(error)
        elif not left:
            if outer.wants_cancel:
                outer.set_exception(_cancellation(future) if future.cancelled() else asyncio.CancelledError())
            else:
                outer.set_result(outer.outcomes())

    distinct = list(futures.values())
    for future in distinct:
        if not future.done():
            future.add_done_callback(one_done)
    for future in [future for future in distinct if future.done()]:
        one_done(future)
    if not distinct:
        outer.set_result([])
    return outer


async def _wait_for(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    if timeout is None or timeout > 0:
        async with asyncio.timeout(timeout):
            return await awaitable
    future = asyncio.ensure_future(awaitable)
    if not future.done():
        future.cancel()
        await asyncio.wait([future])
    try:
        return future.result()
    except asyncio.CancelledError as cancelled:
        raise TimeoutError from cancelled


class _AsCompleted:
    """Iterates over awaitables in the order in which they complete, in both of the ways 3.13 knows."""

    def __init__(self, awaitables: Iterable[Any], timeout: float | None) -> None:
        self._done: asyncio.Queue[asyncio.Future[Any] | None] = asyncio.Queue()
        self._todo = dict.fromkeys(_futures(list(awaitables)).values())
        self._left = len(self._todo)
        self._timer: Any = None
        for future in self._todo:
            future.add_done_callback(self._completed)
        if self._todo and timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout, self._timed_out)

    def __iter__(self) -> Iterator[Coroutine[Any, Any, Any]]:
        return self

    def __next__(self) -> Coroutine[Any, Any, Any]:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._result()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> "asyncio.Future[Any]":
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return await self._next()

    async def _result(self) -> Any:
        return (await self._next()).result()

    async def _next(self) -> "asyncio.Future[Any]":
        future = await self._done.get()
        if future is None:
            raise TimeoutError
        return future

    def _completed(self, future: "asyncio.Future[Any]") -> None:
        if future in self._todo:
            del self._todo[future]
            self._done.put_nowait(future)
            if not self._todo and self._timer is not None:
                self._timer.cancel()

    def _timed_out(self) -> None:
        for future in self._todo:
            future.remove_done_callback(self._completed)
            self._done.put_nowait(None)
        self._todo.clear()


def _as_completed(awaitables: Iterable[Any], *, timeout: float | None = None) -> _AsCompleted:
    if asyncio.isfuture(awaitables) or asyncio.iscoroutine(awaitables):
        raise TypeError(f"as_completed takes a list of awaitables, not one {type(awaitables).__name__}")
    return _AsCompleted(awaitables, timeout)


def _deciding(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    def decide(*args: Any, **kwargs: Any) -> Any:
        chosen = ours if type(asyncio._get_running_loop()) is WorkflowLoop else theirs
        return chosen(*args, **kwargs)

    return decide


# The codes of one line. Their global names are looked up in asyncio.tasks, where `install` puts what decides.


def _gather_code(*coros_or_futures, return_exceptions=False):  # type: ignore[no-untyped-def]
    return _perdure_gather(*coros_or_futures, return_exceptions=return_exceptions)  # type: ignore[name-defined]  # noqa: F821


async def _wait_for_code(fut, timeout):  # type: ignore[no-untyped-def]
    return await _perdure_wait_for(fut, timeout)  # type: ignore[name-defined]  # noqa: F821


def _as_completed_code(fs, *, timeout=None):  # type: ignore[no-untyped-def]
    return _perdure_as_completed(fs, timeout=timeout)  # type: ignore[name-defined]  # noqa: F821


_FUNCTIONS: tuple[tuple[str, Callable[..., Any], Any], ...] = (
    ("gather", _gather, _gather_code),
    ("wait_for", _wait_for, _wait_for_code),
    ("as_completed", _as_completed, _as_completed_code),
)
_CLASSES: dict[type, type] = {
    asyncio.TaskGroup: WorkflowTaskGroup,
    asyncio.Semaphore: WorkflowSemaphore,
    asyncio.BoundedSemaphore: WorkflowBoundedSemaphore,
    asyncio.Condition: WorkflowCondition,
}


def _new(cls: type, *args: Any, **kwargs: Any) -> Any:
    if type(asyncio._get_running_loop()) is WorkflowLoop:
        cls = _CLASSES.get(cls, cls)
    return object.__new__(cls)


_installed = False


def install() -> None:
    """Let asyncio decide by the running loop. Once per process; other loops notice nothing."""
    global _installed
    if _installed:
        return
    _installed = True
    for name, ours, code in _FUNCTIONS:
        function: Any = getattr(_tasks, name)
        theirs = types.FunctionType(
            function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
        )
        theirs.__kwdefaults__ = function.__kwdefaults__
        setattr(_tasks, f"_perdure_{name}", _deciding(ours, theirs))
        function.__code__ = code.__code__.replace(co_name=name, co_qualname=name)
    for cls in (asyncio.TaskGroup, asyncio.Semaphore, asyncio.Condition):
        cls.__new__ = staticmethod(_new)  # type: ignore[method-assign,assignment]
