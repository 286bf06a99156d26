"""Lets go of a program: its coroutines are closed here and now, and nothing they do on the way out counts.

Left to the garbage collector their `finally` blocks would run in the middle of another run's turn.
"""

import asyncio
import ctypes
import warnings
from collections.abc import Callable
from typing import Any

from perdure.languages.python import guard
from perdure.languages.python.entering import enter, leave
from perdure.languages.python.loop import WorkflowLoop
from perdure.languages.python.tasks import Sealed

TRIES = 20
"""How often a coroutine may answer its end with another await."""


_installed = False


def install() -> None:
    """Have Python not complain of a coroutine that cleanup made on its way out, and could not await: the cleanup is
    going to be run for real, where the run goes on. Once per process."""
    global _installed
    complain = getattr(warnings, "_warn_unawaited_coroutine", None)
    if _installed or complain is None:
        return
    _installed = True

    def decide(coro: Any) -> None:
        loop: Any = asyncio._get_running_loop()
        if not (type(loop) is WorkflowLoop and loop.sealed):
            complain(coro)

    warnings._warn_unawaited_coroutine = decide  # type: ignore[attr-defined]


def unwind(loop: WorkflowLoop) -> None:
    """Close all tasks and generators of a loop, the youngest first. Never raises."""
    if loop.sealed:
        return
    loop.sealed = True
    if loop.tasks or loop.asyncgens:
        before = enter(loop)
        try:
            for task in reversed(loop.tasks.values()):
                loop.current = task
                task.context.run(_close, loop, task.coro)
            loop.current = None
            for generator in reversed(loop.asyncgens or ()):
                _close_generator(loop, generator)
        finally:
            leave(before)
    loop.main = None  # the two hold each other: the collector would have to find them
    for values in (loop.tasks, loop.waiting, loop.commands, loop.ready):
        values.clear()
    loop.asyncgens = loop.logs = None


def _close(loop: WorkflowLoop, coro: Any) -> None:
    for _ in range(TRIES):
        stuck = _attempt(loop, coro.close)
        if getattr(coro, "cr_frame", None) is None:
            return
        if stuck:
            break
    _keep_for_ever(coro)


def _close_generator(loop: WorkflowLoop, generator: Any) -> None:
    closer = generator.aclose()
    stuck = _attempt(loop, closer.send, None)
    for _ in range(TRIES):
        if generator.ag_frame is None:
            return
        if stuck:
            break
        stuck = _attempt(loop, closer.throw, Sealed())
    _keep_for_ever((generator, closer))


def _keep_for_ever(thing: object) -> None:
    """Hold what would not end: the collector would run it, and so would the end of the process, which never came."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _attempt(loop: WorkflowLoop, act: Callable[..., object], *args: Any) -> bool:
    """Let user code run on its way out; true if it had to be interrupted. Whatever else it raises means nothing."""
    try:
        guard.run(loop, act, *args)
    except BaseException as error:  # noqa: BLE001
        return isinstance(error, guard.WorkflowInterrupted)
    return False
