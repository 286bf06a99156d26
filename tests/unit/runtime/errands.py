"""Activities for processes, and errands that remember what becomes of them."""

import atexit
import ctypes
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perdure.activities import ActivityDefinition, ActivityInfo, activity
from perdure.kernel.events import Failure, LogRecord, Payload
from perdure.runtime.child_places import Place, place_of
from perdure.runtime.child_wire import Ended, Job

SECONDS = 300.0


class Try:
    """An attempt of an activity, seen from a test."""

    def __init__(self, definition: "ActivityDefinition[..., Any]", *args: Any, max_bytes: int = 2**24) -> None:
        self._definition = definition
        self._input = Payload(definition.parameters.encode(args, {}))
        self._max_bytes = max_bytes
        self._over = threading.Event()
        self._spoke = threading.Event()
        self.place: Place = place_of(definition)
        self.details: list[Payload | None] = []
        self.records: list[LogRecord] = []
        self.outcome = Ended()

    def job(self, serial: int) -> Job:
        when = datetime(2025, 1, 1, tzinfo=UTC)
        info = ActivityInfo("id", "ab", "workflow", self._definition.name, "0:1", 1, when)
        return Job(serial, self.place, self._input, b"", info, "a-token", self._max_bytes)

    def beat(self, details: Payload | None) -> None:
        self.details.append(details)
        self._spoke.set()

    def logged(self, record: LogRecord) -> None:
        self.records.append(record)

    def ended(self, ended: Ended) -> None:
        assert not self._over.is_set(), "an attempt ends once"
        self.outcome = ended
        self._over.set()

    def wait(self) -> Ended:
        assert self._over.wait(SECONDS), "the attempt does not end"
        return self.outcome

    def wait_for_beat(self) -> Payload | None:
        """The details of its first heartbeat."""
        assert self._spoke.wait(SECONDS), "the attempt does not begin"
        return self.details[0]

    def result(self) -> Any:
        ended = self.wait()
        assert ended.result is not None, ended.failure
        return self._definition.result.decode(ended.large if ended.result.ref else ended.result.data)

    def failure(self) -> Failure:
        failure = self.wait().failure
        assert failure is not None
        return failure


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it does within a time that no working machine needs."""
    until = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not buried does not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return shown.strip()[:1] not in ("", "Z")


def children() -> set[int]:
    """Processes that this one has started, and that run."""
    shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in shown.splitlines()]
    return {int(line[0]) for line in lines if int(line[1]) == os.getpid() and "child_main" in line[-1]}


def say(details: Any) -> None:
    """A heartbeat of one that does not care whether it is wanted."""
    with suppress(activity.Cancelled):
        activity.heartbeat(details)


@activity(runs_in="process")
def pid() -> int:
    return os.getpid()


@activity(runs_in="process")
def echo(text: str) -> str:
    return text


@activity(runs_in="process")
def swell(size: int) -> str:
    return "x" * size


@activity(runs_in="process")
def tell() -> list[str]:
    info = activity.info()
    return [info.id, info.activity, activity.token(), threading.current_thread().name, str(activity.cancelled())]


@activity(runs_in="process")
def leave(status: int) -> None:
    activity.logger.info("about to leave")
    os._exit(status)


@activity(runs_in="process")
def leave_by(number: int) -> None:
    os.kill(os.getpid(), number)
    threading.Event().wait()


@activity(runs_in="process")
def touch_nothing() -> None:
    ctypes.string_at(0)


@activity(runs_in="process")
def hang() -> None:
    """Beats once, and never again."""
    say(os.getpid())
    threading.Event().wait()


@activity(runs_in="process")
def hang_with_a_program() -> None:
    """The same, beside a program that it has started."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    say(sleeper.pid)
    sleeper.wait()


@activity(runs_in="process")
def crash_beside_a_fork() -> None:
    """A copy of the process stays behind, with all its descriptors."""
    copy = os.fork()
    if copy:
        say(copy)
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


@activity(runs_in="process")
def listen() -> str:
    say({"at": 1})
    while not activity.cancelled():
        time.sleep(0.001)
    return "stopped"


@activity(runs_in="process")
def beat_for_ever() -> None:
    while True:
        activity.heartbeat()


@activity(runs_in="process")
def refuse(text: str) -> None:
    try:
        raise KeyError(text)
    except KeyError as error:
        raise LookupError("not here") from error


@activity(runs_in="process")
def quit() -> None:
    sys.exit("enough")


@activity(runs_in="process")
def return_nonsense() -> int:
    return "seven"  # type: ignore[return-value]


@activity(runs_in="process")
def log_much(count: int) -> None:
    for number in range(count):
        logging.getLogger("app").warning("line %d", number)


@activity(runs_in="process")
def garble() -> None:
    """Writes into each descriptor that is a socket."""
    for number in range(3, 200):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.write(number, b"\0\0\0\0\0\0\0\1\xc1")
    threading.Event().wait()


@activity(runs_in="process")
def ignore_signals() -> str:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    return "still here"


@activity(runs_in="process")
def complete_elsewhere() -> None:
    activity.complete_later()


@activity(runs_in="process")
def arguments() -> list[str]:
    return sys.argv


@activity(runs_in="process")
def leave_a_note(path: str) -> None:
    atexit.register(Path(path).write_text, "the process has ended in good order")


@activity(runs_in="process")
def compute_in_c() -> None:
    """A call that gives Python's lock to nobody."""
    say(os.getpid())
    re.match("(a+)+$", "a" * 60 + "b")
