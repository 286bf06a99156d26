"""Knows which threads are in workflow code, and interrupts those that do not come back.

`run` is the only way into workflow code, and `outside` the only way out in the middle of it: so there is one place each
where an interrupt may begin and where it must end. Injected a moment too late, it would land in the engine.
"""

import asyncio
import ctypes
import os
import sys
import threading
from _thread import get_ident
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from perdure.languages.python.places import is_user_code

if TYPE_CHECKING:
    from perdure.kernel.program import RunInfo
    from perdure.languages.python.loop import WorkflowLoop

P = ParamSpec("P")
R = TypeVar("R")

BRITTLE_TIMES = 10
"""How much longer than others a thread may stay that is importing a module or handles a log record.

An exception in the middle of that leaves half a module or a locked handler to the whole process.
"""


class WorkflowInterrupted(BaseException):
    """Raised by the watchdog in workflow code that does not come to an await."""

    is_signal = True


class _Absorbed(BaseException):
    """Takes the place of an interrupt that nobody needs any more."""


class Stretch:
    """One stay of a thread in workflow code, from `run` to its end.

    `loop` is None while an interrupt must not come; `struck` says where the thread was when it was interrupted;
    `imports` whether a module began to be loaded.
    """

    __slots__ = ("imports", "loop", "struck")

    def __init__(self, loop: "WorkflowLoop") -> None:
        self.loop: WorkflowLoop | None = loop
        self.struck: str | None = None
        self.imports = False


stretches: dict[int, Stretch] = {}
"""By thread, those that are in workflow code now."""
os.register_at_fork(after_in_child=stretches.clear)  # where a new thread may get the number of one that was left behind

_striking = threading.Lock()
_TRACING_ELSEWHERE = "Cannot install a trace function while another trace function is being installed"
"""A RuntimeError of Python 3.11, where one thread of the process at a time may set its trace function; asked again, it does:
https://github.com/python/cpython/blob/v3.11.7/Python/ceval.c (_PyEval_SetTrace). It may come up in place of an interrupt."""
_inject: Any = ctypes.pythonapi["PyThreadState_SetAsyncExc"]
_inject.argtypes = (ctypes.c_ulong, ctypes.py_object)


def run(loop: "WorkflowLoop", act: Callable[..., R], *args: Any) -> R:
    """Call what is workflow code of a run, or calls it.

    Raises:
        WorkflowInterrupted: it stayed too long, whatever it made of the interrupt: its turn is void.
    """
    me = get_ident()
    outer = stretches.get(me)
    stretch = Stretch(loop)
    # From the next line to the first one of `finally` an interrupt may come. Python delivers it only at the beginning
    # of a function, at a jump backwards and after a call into C: there is none between the last call in `try` and there.
    stretches[me] = stretch
    raised: BaseException | None = None
    try:
        return act(*args)
    except BaseException as error:
        raised = error
        raise
    finally:
        stretch.loop = None
        if outer is None:
            del stretches[me]
        else:
            stretches[me] = outer
        if stretch.struck is not None:
            # One interrupt may be due already, and a second one on its way while the lock is waited for: not a third.
            try:
                try:
                    _absorb(me)
                except (WorkflowInterrupted, RuntimeError):  # see _TRACING_ELSEWHERE
                    _absorb(me)
            except (WorkflowInterrupted, RuntimeError):
                _absorb(me)
            # Not sys.exception(): where an interrupt was swallowed, Python 3.11 may go on taking it for being handled.
            swallowed = not isinstance(raised, WorkflowInterrupted)
            raised = None
            if swallowed:
                raise WorkflowInterrupted(stretch.struck)
        raised = None


def _absorb(thread: int) -> None:
    """Take back the interrupt that was injected into this thread and has not come up yet.

    It is replaced by one that is awaited here. Were it cleared, Python 3.11 would go on looking for it, for ever as soon
    as a function is traced: https://github.com/python/cpython/blob/v3.11.7/Python/ceval.c (DO_TRACING, RESUME).
    """
    try:
        with _striking:
            _inject(thread, _Absorbed)
        while True:
            pass
    except _Absorbed:
        pass
    while sys.gettrace() is _interrupt_at_line:
        with suppress(RuntimeError):  # see _TRACING_ELSEWHERE
            sys.settrace(None)


def outside(act: Callable[P, R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
    """Call from workflow code what is none: as if no loop were running, and never interrupted.

    The time it takes counts all the same: a loop of side effects does not get away.
    """
    stretch = stretches[get_ident()]
    loop = stretch.loop
    stretch.loop = None
    if stretch.struck is not None:
        stretch.loop = loop
        raise WorkflowInterrupted(stretch.struck)
    asyncio._set_running_loop(None)
    try:
        return act(*args, **kwargs)
    finally:
        asyncio._set_running_loop(loop)
        stretch.loop = loop


def loop_here() -> "WorkflowLoop | None":
    """The loop whose workflow code calls this, unless it comes from a module that is being imported."""
    stretch = stretches.get(get_ident())
    if stretch is None or (stretch.imports and comes_from(sys._getframe(1), IMPORTING)):
        return None
    return stretch.loop


IMPORTING = frozenset({"importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport"})
DEBUGGERS = frozenset({"pdb", "bdb"})
_BRITTLE = IMPORTING | {"logging"}


def comes_from(frame: FrameType | None, packages: frozenset[str]) -> bool:
    """Whether one of the frames from here out to the beginning of the stretch is of these packages (or modules)."""
    for each in frames_of_stretch(frame):
        name = each.f_globals.get("__name__")
        if isinstance(name, str) and (name in packages or name.partition(".")[0] in packages):
            return True
    return False


def frames_of_stretch(frame: FrameType | None) -> Iterator[FrameType]:
    """From this frame out to where workflow code began."""
    while frame is not None and frame.f_code is not run.__code__:
        yield frame
        frame = frame.f_back


class Watch:
    """What a watchdog remembers from one tick to the next.

    Args:
        limit_s: how long a thread may stay in workflow code.
        thread: gives the number of the one that is watched, None while there is none; without it all are.
    """

    def __init__(self, limit_s: float, thread: Callable[[], int | None] | None = None) -> None:
        self.limit_s = limit_s
        self._thread = thread
        self._seen: dict[int, tuple[Stretch, float]] = {}

    def tick(self, now_s: float) -> "list[RunInfo]":
        """Interrupt the threads that have not left workflow code since a tick too long ago, and say whose code it is.

        One that swallows its interrupt gets another at each further tick, and one it cannot swallow so easily.
        """
        seen, self._seen = self._seen, {}
        struck: list[RunInfo] = []
        watched = None if self._thread is None else self._thread()
        for thread, stretch in stretches.copy().items():
            if self._thread is not None and thread != watched:
                continue  # another engine's, which may have more patience
            known = seen.get(thread)
            since = known[1] if known is not None and known[0] is stretch else now_s
            self._seen[thread] = (stretch, since)
            loop = stretch.loop
            if loop is not None and now_s - since >= self.limit_s and self._strike(thread, stretch, now_s - since):
                struck.append(loop.info)
        return struck

    def _strike(self, thread: int, stretch: Stretch, stayed_s: float) -> bool:
        frame = sys._current_frames().get(thread)
        if (stayed_s < BRITTLE_TIMES * self.limit_s and comes_from(frame, _BRITTLE)) or comes_from(frame, DEBUGGERS):
            return False
        insist = stretch.struck is not None
        place = ""
        for each in frames_of_stretch(frame):
            if is_user_code(each.f_code):
                place = place or f"{each.f_code.co_filename}:{each.f_lineno}"
                if insist:
                    each.f_trace = _interrupt_at_line
        with _striking:
            # First the mark, then the look: who leaves in between finds the mark, and waits for the lock.
            stretch.struck = stretch.struck or place
            if stretch.loop is None:
                return False
            _inject(thread, _Insistent if insist else WorkflowInterrupted)
        return True


def _interrupt_at_line(frame: FrameType, event: str, arg: Any) -> Any:
    """A trace function that raises at the next line of the frames that have it."""
    if event == "call":
        return None
    if event == "line":
        raise WorkflowInterrupted
    return _interrupt_at_line


class _Insistent(WorkflowInterrupted):
    """Comes up, and once more in whatever handles it.

    In `while True: try: ... except BaseException: pass` nearly every place is inside of the `try`, the handler is not.
    Making the exception, in the thread it is injected into, switches on the trace function that raises in the handler.
    """

    __init__ = staticmethod(partial(sys.settrace, _interrupt_at_line))  # type: ignore[assignment]
