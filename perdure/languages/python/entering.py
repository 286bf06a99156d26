"""The way of a thread into a workflow's loop and out of it: which loop runs, and who is told of new async generators."""

import asyncio
import sys
from typing import Any

from perdure.languages.python.loop import WorkflowLoop


def enter(loop: WorkflowLoop) -> Any:
    """From now on the loop runs on this thread; what `leave` needs to undo that."""
    previous = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    hooks = sys.get_asyncgen_hooks()
    if hooks[0] is _keep:
        return previous, None
    sys.set_asyncgen_hooks(_keep, None)
    return previous, hooks if hooks[0] or hooks[1] else None


def leave(before: Any) -> None:
    previous, hooks = before
    if hooks is not None:
        sys.set_asyncgen_hooks(*hooks)
    asyncio._set_running_loop(previous)


def _keep(generator: Any) -> None:
    """Python calls this for each new async generator of the thread. It stays when a loop has been left, since setting it
    is dear (each time it is reported to the audit hooks), and does nothing then."""
    loop = asyncio._get_running_loop()
    if type(loop) is WorkflowLoop and not loop.sealed:
        loop.keep_asyncgen(generator)
