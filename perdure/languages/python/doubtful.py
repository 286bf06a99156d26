"""What calls replay cannot repeat: known by the objects that code would call, whatever names it has for them."""

import builtins
import os
import random
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from perdure.languages.python.refused import ADDRESS, CHANCE, FILE, NETWORK, PROCESS, SLEEP, TERMINAL, THREAD, Reason
from perdure.languages.python.replaced import Replacement

CLOCK = Reason("it asks the machine's clock, whose answer replay does not repeat", "write workflow.now()")
TODAY = Reason(CLOCK.why, "write workflow.now().date()")
EARLY = Reason("it was imported before the engine could make it the run's own", "write import {0}, and {0}.{1}()")
MACHINE = Reason(
    "it may be different in the next process", "pass it as an argument, or write workflow.side_effect(lambda: ...)"
)
ORDER = Reason("the order of a set is another one in the next process", "write sorted(...)")
STATE = Reason("it has a state that replay does not repeat", "write workflow.random()")

_PACKAGES: dict[Reason, str] = {
    NETWORK: "socket requests httpx aiohttp urllib3 urllib.request http.client smtplib ftplib imaplib poplib websockets "
    "grpc boto3 botocore redis psycopg psycopg2 asyncpg pymongo",
    PROCESS: "subprocess multiprocessing pty asyncio.subprocess",
    FILE: "shutil glob tempfile sqlite3",
    THREAD: "concurrent.futures asyncio.threads",
    CHANCE: "secrets",
    MACHINE: "platform",
    STATE: "numpy.random",
}
_CALLS: dict[Reason, str] = {
    FILE: "os.walk os.fwalk os.scandir os.listdir os.stat os.lstat os.access os.readlink os.statvfs os.open os.mkdir "
    "os.makedirs os.remove os.unlink os.rename os.replace os.rmdir os.removedirs os.truncate os.utime os.path.exists "
    "os.path.isfile os.path.isdir os.path.islink os.path.ismount os.path.lexists os.path.samefile os.path.getsize "
    "os.path.getmtime os.path.getctime os.path.getatime os.path.realpath os.path.expanduser",
    PROCESS: "os.system os.popen os.fork os.kill os.execv os.execve os.spawnv os.spawnve os.posix_spawn",
    MACHINE: "os.getenv os.getpid os.getppid os.getcwd os.cpu_count os.process_cpu_count os.uname os.getlogin os.getuid",
    CHANCE: "os.urandom os.getrandom random.SystemRandom",
    THREAD: "threading.Thread threading.Timer _thread.start_new_thread",
    SLEEP: "time.sleep",
    ADDRESS: "uuid.getnode",
    NETWORK: "asyncio.streams.open_connection asyncio.streams.start_server webbrowser.open",
}
_EARLY = {
    "time": "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time "
    "thread_time_ns clock_gettime clock_gettime_ns localtime gmtime ctime asctime strftime",
    "random": "random getrandbits seed getstate setstate",
}
"""Functions in C that are replaced in their modules, and remain what they were where they were imported from them."""

_CLOCKS = {"now": CLOCK, "utcnow": CLOCK, "today": TODAY}
_PATH_METHODS = {
    FILE: "exists is_file is_dir is_symlink stat lstat open read_text read_bytes write_text write_bytes iterdir glob rglob "
    "mkdir touch unlink rename replace rmdir resolve walk owner group samefile",
    MACHINE: "cwd home absolute expanduser",
}
_HARMLESS = frozenset({"secrets.compare_digest", "glob.escape", "socket.htons", "socket.htonl", "socket.inet_aton"})
_ALIASES = {"posix": "os", "posixpath": "os.path", "genericpath": "os.path", "_socket": "socket", "_sqlite3": "sqlite3"}
"""Modules that define what another one is known for."""


def _by_word(table: Mapping[Reason, str]) -> dict[str, Reason]:
    return {word: reason for reason, words in table.items() for word in words.split()}


_IN_PACKAGE, _NAMED, _OF_PATH = _by_word(_PACKAGES), _by_word(_CALLS), _by_word(_PATH_METHODS)


class Unloaded(str):
    """What an import would bind that nobody has made yet: known by its name only."""

    __slots__ = ()


class Doubt(NamedTuple):
    """Why a call is doubtful, and what goes into the line to write instead."""

    reason: Reason
    words: tuple[str, ...] = ()


def doubt_about(value: Any, owner: Any = None, name: str = "") -> Doubt | None:
    """What is to be said of a call of `value`, which was found as `owner.name`, or alone.

    Args:
        value: what is called; None if it is not known.
        owner: a module, a class or an object of which it is an attribute.
    """
    if name == "run_in_executor":
        return Doubt(THREAD)
    if _is(owner, date) and name in _CLOCKS:
        return Doubt(_CLOCKS[name])
    if _is(owner, PurePath) and name in _OF_PATH:
        return Doubt(_OF_PATH[name])
    if owner is os.environ and name in ("get", "items", "keys", "values", "copy"):
        return Doubt(MACHINE)
    if owner is not None and owner is sys.stdin:
        return Doubt(TERMINAL)
    if owner is None:
        early = _doubt_about_early(value)
        if early is not None:
            return early
    for full in _names(value, owner, name):
        reason = _NAMED.get(full) or _by_package(full)
        if reason is not None and full not in _HARMLESS:
            return Doubt(reason, ("...",))
    return None


def _is(owner: Any, kind: type) -> bool:
    return issubclass(owner if isinstance(owner, type) else type(owner), kind)


def _doubt_about_early(value: Any) -> Doubt | None:
    """A name of its own for what is replaced where it comes from."""
    if value is builtins.open:
        return Doubt(FILE)
    if value is builtins.input:
        return Doubt(TERMINAL)
    holder, name = getattr(value, "__self__", None), getattr(value, "__name__", "")
    if isinstance(value, BuiltinFunctionType) and isinstance(holder, type) and issubclass(holder, date):
        return Doubt(_CLOCKS[name]) if name in _CLOCKS else None
    if isinstance(value, BuiltinFunctionType) and value.__module__ == "time" and name in _EARLY["time"].split():
        return Doubt(EARLY, ("time", name))
    shared = holder is random._inst  # type: ignore[attr-defined]
    if shared and isinstance(value, BuiltinFunctionType | MethodType) and name in _EARLY["random"].split():
        return Doubt(EARLY, ("random", name))
    return None


def _names(value: Any, owner: Any, name: str) -> list[str]:
    """Full names under which a call may be in the tables."""
    found = [str(value)] if isinstance(value, Unloaded) else []
    if isinstance(owner, ModuleType):
        found.append(f"{owner.__name__}.{name}")
    elif owner is not None:
        found.append(f"{(owner if isinstance(owner, type) else type(owner)).__module__}.")
    if isinstance(value, type | FunctionType | BuiltinFunctionType | Replacement):
        found.append(f"{value.__module__}.{value.__name__}")
    return [_aliased(full) for full in found]


def _aliased(full: str) -> str:
    module, _, name = full.rpartition(".")
    return f"{_ALIASES.get(module, module)}.{name}"


def _by_package(full: str) -> Reason | None:
    while full:
        reason = _IN_PACKAGE.get(full)
        if reason is not None:
            return reason
        full = full.rpartition(".")[0]
    return None


def lookup(owner: Any, name: str) -> Any:
    """An attribute of a module, a class or something of ours; of other things nothing is asked."""
    if isinstance(owner, Unloaded):
        return Unloaded(f"{owner}.{name}")
    if isinstance(owner, ModuleType):
        found: Mapping[str, Any] = vars(owner)
        return found[name] if name in found else Unloaded(f"{owner.__name__}.{name}")
    if type(owner).__module__.startswith("perdure."):
        owner = type(owner)
    return getattr(owner, name, None) if isinstance(owner, type) else None
