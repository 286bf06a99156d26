"""What workflow code must not call, refused on its own thread and only while it runs.

One audit hook, permanent and for the whole process: Python reports each call that touches the system to it, before it
happens. What it reports for others, and from other threads, passes at the cost of a look into a table.
"""

import os
import sys
from _thread import get_ident
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from perdure.errors import NotDeterministic
from perdure.languages.python.guard import DEBUGGERS, IMPORTING, Stretch, comes_from, frames_of_stretch, stretches


class Reason(NamedTuple):
    """Why a call is refused, and what to write instead."""

    why: str
    instead: str


FILE = Reason(
    "what is there may be different when the workflow is replayed",
    "do it in an activity and await that; for a quick look write workflow.side_effect(lambda: ...)",
)
NETWORK = Reason(
    "what comes back may be different when the workflow is replayed", "do it in an activity and await that"
)
PROCESS = Reason("processes would be started again by every replay", "do it in an activity and await that")
ENVIRONMENT = Reason(
    "it would change the process that other runs share", "pass the value as an argument of the workflow or an activity"
)
INTERPRETER = Reason("it would change the process that other runs share", "do it once, where your program starts")
END = Reason("it would end the process, with all runs that it has", "return, or raise an exception")
THREAD = Reason(
    "threads take turns in no order that can be repeated",
    "write the work as `@activity def ...`, which runs in a thread, and await that; asyncio.gather does several at once",
)
TERMINAL = Reason("nobody answers again when the workflow is replayed", "ask in an activity and await that")
CHANCE = Reason(
    "nobody may be able to repeat a secret, and replay has to",
    "write workflow.random() for numbers and workflow.uuid4() for ids, or "
    "workflow.side_effect(secrets.token_hex) for a secret that is recorded",
)
SLEEP = Reason("it would stop every run of this engine", "write await asyncio.sleep({0})")
WAIT = Reason(
    "it would stop every run of this engine until another thread comes",
    "await an activity that waits, or an asyncio one",
)
ADDRESS = Reason("it is another one on another machine", "write workflow.side_effect(uuid.getnode)")

_EVENTS: dict[Reason, str] = {
    FILE: "open os.chdir os.chflags os.chmod os.chown os.fwalk os.getxattr os.link os.listdir os.listxattr os.lockf "
    "os.mkdir os.remove os.removexattr os.rename os.rmdir os.scandir os.setxattr os.symlink os.truncate os.utime os.walk "
    "glob.glob pathlib.Path.glob pathlib.Path.rglob shutil.chown shutil.copyfile shutil.copymode shutil.copystat "
    "shutil.copytree shutil.make_archive shutil.move shutil.rmtree shutil.unpack_archive tempfile.mkdtemp "
    "tempfile.mkstemp fcntl.fcntl fcntl.flock fcntl.ioctl fcntl.lockf sqlite3.connect",
    NETWORK: "socket.__new__ socket.bind socket.connect socket.getaddrinfo socket.gethostbyaddr socket.gethostbyname "
    "socket.gethostname socket.getnameinfo socket.getservbyname socket.getservbyport socket.sendmsg socket.sendto "
    "socket.sethostname urllib.Request http.client.connect http.client.send ftplib.connect imaplib.open poplib.connect "
    "smtplib.connect webbrowser.open",
    PROCESS: "subprocess.Popen os.exec os.fork os.forkpty os.kill os.killpg os.posix_spawn os.spawn os.startfile "
    "os.system pty.spawn signal.pthread_kill",
    ENVIRONMENT: "os.putenv os.unsetenv",
    THREAD: "_thread.start_new_thread _thread.start_joinable_thread",
    TERMINAL: "builtins.input",
    SLEEP: "time.sleep",
}
_NAMES = {
    "_thread.start_new_thread": "starting a thread",
    "_thread.start_joinable_thread": "starting a thread",
    "builtins.input": "input()",
    "os.putenv": "setting os.environ",
    "os.unsetenv": "deleting from os.environ",
    "socket.__new__": "socket.socket()",
}
"""What people call it where that is not the name of the event."""

EXEMPT = IMPORTING | DEBUGGERS | {"linecache", "logging", "zoneinfo._common", "weakref"}
"""Packages and modules that may touch the system on behalf of workflow code: what they do decides nothing in it.

Modules that are loaded late, the source lines of a traceback, the handlers of a log, time zones, a debugger; and
finalizers, which the collector runs wherever it happens to be.
"""


def refusal(call: str, reason: Reason, *args: object) -> NotDeterministic:
    """The error for a call; `args` are put into the line to write instead."""
    return NotDeterministic(f"{call} cannot be called in a workflow: {reason.why}; {reason.instead.format(*args)}")


def refuse_here(call: str, reason: Reason, *args: object) -> None:
    """Raise NotDeterministic if it is workflow code that calls this, by way of a function that asks."""
    stretch = stretches.get(get_ident())
    if stretch is not None and stretch.loop is not None and not _serves(sys._getframe(2)):
        raise refusal(call, reason, *args)


def install() -> None:
    """Let Python report to us, once per process and for as long as it lives."""
    global _installed
    if not _installed:
        _installed = True
        os.register_at_fork(after_in_child=_forget_other_threads)
        sys.addaudithook(_hook())


_installed = False


def _hook() -> Callable[[str, tuple[Any, ...]], None]:
    reasons: dict[str, Reason | None] = {event: why for why, events in _EVENTS.items() for event in events.split()}
    reasons["import"] = None

    # Its names are bound here: at the end of the process, when modules have lost theirs, it is still asked.
    def hook(
        event: str,
        args: tuple[Any, ...],
        known: dict[str, Reason | None] = reasons,
        find: Callable[[int], Stretch | None] = stretches.get,
        here: Callable[[], int] = get_ident,
    ) -> None:
        if event in known:
            stretch = find(here())
            if stretch is not None and stretch.loop is not None:
                reason = known[event]
                if reason is None:
                    stretch.imports = True
                else:
                    _check(event, args, reason, sys._getframe(1))

    return hook


def _check(event: str, args: tuple[Any, ...], reason: Reason, frame: FrameType) -> None:
    """Refuse a call of workflow code, unless it serves one that is allowed."""
    if event == "open" and (isinstance(args[0], int) or _is_zone(args)):
        return
    if not _serves(frame):
        raise refusal(_NAMES.get(event) or f"{event}({_first(args)})", reason, *args)


def _serves(frame: FrameType) -> bool:
    return comes_from(frame, EXEMPT) or any(each.f_code.co_name == "__del__" for each in frames_of_stretch(frame))


def _is_zone(args: tuple[Any, ...]) -> bool:
    """Whether an opened file has the rules of a time zone: zoneinfo opens them without a frame of its own."""
    path, mode = args[0], args[1]
    return mode in ("r", "rb") and "zoneinfo" in os.fsdecode(path).split(os.sep)[:-1]


def _first(args: tuple[Any, ...]) -> str:
    """Of the arguments the one that tells which call it was."""
    for arg in args:
        if isinstance(arg, str | bytes | os.PathLike | tuple | int | float):
            text = repr(os.fsdecode(arg) if isinstance(arg, bytes | os.PathLike) else arg)
            return text if len(text) <= 80 else f"{text[:77]}..."
    return ""


def _forget_other_threads() -> None:
    """After a fork: threads of the parent are none of the child's, whose own will have their numbers."""
    for thread in set(stretches) - {get_ident()}:
        del stretches[thread]
