"""The way of a thread into a workflow's loop and out of it: which loop runs, and who is told of new async generators."""

import asyncio
import sys
from typing import Any

from perdure.languages.python.loop import WorkflowLoop
from perdure.languages.python.places import is_user_code


def enter(loop: WorkflowLoop) -> Any:
    """From now on the loop runs on this thread; what `leave` needs to undo that."""
    previous = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    watched = sys.gettrace(), sys.getprofile()
    hooks = sys.get_asyncgen_hooks()
    if hooks[0] is _keep:
        return previous, None, watched
    sys.set_asyncgen_hooks(_keep, None)
    return previous, hooks if hooks[0] or hooks[1] else None, watched


def leave(before: Any) -> None:
    previous, hooks, watched = before
    if hooks is not None:
        sys.set_asyncgen_hooks(*hooks)
    asyncio._set_running_loop(previous)
    trace, profile = sys.gettrace(), sys.getprofile()
    if trace is not watched[0] and _is_of_user(trace):
        sys.settrace(watched[0])
    if profile is not watched[1] and _is_of_user(profile):
        sys.setprofile(watched[1])


def _is_of_user(watcher: Any) -> bool:
    """Whether the workflow itself has set it, and no debugger: it would look at the engine, and at all other runs."""
    code = getattr(getattr(watcher, "__func__", watcher), "__code__", None)
    package = str(getattr(watcher, "__module__", "")).partition(".")[0]
    return code is not None and is_user_code(code) and package not in _WATCHERS


_WATCHERS = frozenset({"pdb", "bdb", "coverage", "debugpy", "pydevd", "_pydevd_bundle", "_pydevd_frame_eval"})


def _keep(generator: Any) -> None:
    """Python calls this for each new async generator of the thread. It stays when a loop has been left, since setting it
    is dear (each time it is reported to the audit hooks), and does nothing then."""
    loop = asyncio._get_running_loop()
    if type(loop) is WorkflowLoop and not loop.sealed:
        loop.keep_asyncgen(generator)
