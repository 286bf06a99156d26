"""Knows which threads are in workflow code, and interrupts those that do not come back.

`run` is the only way into workflow code and `outside` the only way out in the middle of it, so that there is one
place each where an interrupt may begin and must end: an exception that is injected into a thread a moment too late
would land in the engine.
"""

import asyncio
import ctypes
import sys
import threading
from _thread import get_ident
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from perdure.kernel.program import RunInfo
    from perdure.languages.python.loop import WorkflowLoop

R = TypeVar("R")


class WorkflowInterrupted(BaseException):
    """Raised by the watchdog in workflow code that does not come to an await."""


class Stretch:
    """One uninterrupted stay of a thread in workflow code. `loop` is None while it is out for a side effect."""

    __slots__ = ("imports", "loop", "struck")

    def __init__(self, loop: "WorkflowLoop") -> None:
        self.loop: WorkflowLoop | None = loop
        self.struck = False
        self.imports = False


stretches: dict[int, Stretch] = {}
"""By thread: those that are in workflow code now."""

_striking = threading.Lock()
_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)


def run(loop: "WorkflowLoop", act: Callable[..., R], *args: Any) -> R:
    """Call what is, or calls, workflow code of a run.

    Raises:
        WorkflowInterrupted: the watchdog has lost its patience, whatever the code made of it.
    """
    me = get_ident()
    outer = stretches.get(me)
    stretch = Stretch(loop)
    stretches[me] = stretch
    # Between here and the first line of `finally` an interrupt may come. Python injects exceptions only at calls and
    # jumps backwards, and there is none between the last call in `try` and that line.
    try:
        return act(*args)
    finally:
        stretch.loop = None
        if outer is None:
            del stretches[me]
        else:
            stretches[me] = outer
        if stretch.struck:
            _absorb_all(me)
            raise WorkflowInterrupted


def outside(act: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    """Call from workflow code what is none: as if no loop were running, and without being interrupted."""
    me = get_ident()
    stretch = stretches[me]
    loop = stretch.loop
    stretch.loop = None
    if stretch.struck:
        _absorb_all(me)
    asyncio._set_running_loop(None)
    try:
        return act(*args, **kwargs)
    finally:
        asyncio._set_running_loop(loop)
        stretch.loop = loop


def _absorb_all(thread: int) -> None:
    """Take back an interrupt that was injected and has not come yet."""
    try:
        try:
            _absorb(thread)
        except WorkflowInterrupted:
            _absorb(thread)
    except WorkflowInterrupted:
        _absorb(thread)


def _absorb(thread: int) -> None:
    with _striking:
        _set_async_exc(thread, None)


class Watch:
    """What a watchdog remembers from one tick to the next.

    Args:
        limit_s: how long a thread may stay in workflow code.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._seen: dict[int, tuple[Stretch, float]] = {}

    def tick(self, now_s: float) -> "list[RunInfo]":
        """Interrupt the threads that have not left workflow code since a tick too long ago, and say whose it is."""
        seen, self._seen = self._seen, {}
        struck: list[RunInfo] = []
        for thread, stretch in list(stretches.items()):
            known = seen.get(thread)
            since = known[1] if known is not None and known[0] is stretch else now_s
            self._seen[thread] = (stretch, since)
            if now_s - since >= self.limit_s:
                loop = stretch.loop
                if loop is not None and _strike(thread, stretch):
                    struck.append(loop.info)
        return struck


def _strike(thread: int, stretch: Stretch) -> bool:
    with _striking:
        # First this, then the look: whoever leaves meanwhile has seen it, and waits for the lock.
        stretch.struck = True
        if stretch.loop is None:
            return False
        _set_async_exc(thread, WorkflowInterrupted)
        return True
