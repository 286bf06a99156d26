"""A child process as its parent sees it: started, spoken to, ended, and buried."""

import enum
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import Protocol

from perdure.kernel.events import Failure, LogRecord, Payload
from perdure.kernel.limits import TRACEBACK_CHARS
from perdure.runtime.child_wire import CANCEL, Ended, Job, Line, stored_order

_PROGRAM = (
    "import sys; del sys.argv[0]; count = int(sys.argv.pop(0)); sys.path[:] = sys.argv[:count]; del sys.argv[:count]; "
    "from perdure.runtime.child_main import main; main()"
)
"""Finds modules where the parent does; then come descriptors, and the arguments of the parent."""

REAP_SECONDS = 5.0
"""How long a killed process may take to be gone."""


class Errand(Protocol):
    """An attempt that is to be made in a child. Called on the thread of the pool; nothing may raise but `job`."""

    def job(self, serial: int) -> Job:
        """What the child has to know. The attempt begins now."""
        ...

    def beat(self, details: Payload | None) -> None: ...

    def logged(self, record: LogRecord) -> None: ...

    def wrote(self, stream: str, data: bytes | None) -> None: ...

    def ended(self, ended: Ended) -> None:
        """The last that is heard of it, and always heard."""
        ...


class State(enum.Enum):
    STARTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    LEAVING = enum.auto()


class Child:
    """A process that has been started.

    `errand` is what it does. At `patience_until` (seconds of the monotonic clock) something has to be done about it.
    `killed_for` is why it was killed, if the parent did that. `doom` is a descriptor that becomes readable at its death,
    where the system has such a thing; elsewhere the end of the line has to do, which others may hold open.

    Raises:
        OSError: the system has no more processes or descriptors.
    """

    __slots__ = (
        "_faults",
        "_held",
        "_orders",
        "_process",
        "_serial",
        "doom",
        "errand",
        "killed_for",
        "line",
        "patience_until",
        "state",
    )

    def __init__(self) -> None:
        with ExitStack() as held, ExitStack() as given:
            ours, theirs = socket.socketpair()
            held.callback(ours.close)
            given.callback(theirs.close)
            orders, self._orders = _pipe(given, held)
            lifeline, _ = _pipe(given, held)
            self._faults, faults = _pipe(held, given)
            descriptors = (theirs.fileno(), orders, lifeline, faults)
            path = [entry for entry in sys.path if isinstance(entry, str)]  # Python passes over the rest
            self._process = subprocess.Popen(
                [*_interpreter(), "-c", _PROGRAM, str(len(path)), *path, *map(str, descriptors), *sys.argv],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                process_group=0,  # with what attempts start; and a terminal's Ctrl-C is for the parent
            )
            self.doom = _doom(self._process.pid)
            if self.doom is not None:
                held.callback(os.close, self.doom)
            self._held = held.pop_all()
        os.set_blocking(self._orders, False)
        os.set_blocking(self._faults, False)
        self.line = Line(ours)
        self.state = State.STARTING
        self.errand: Errand | None = None
        self.patience_until: float | None = None
        self.killed_for = ""
        self._serial = 0

    def give(self, errand: Errand) -> None:
        """Raises: what `errand.job` does."""
        self._serial += 1
        job = errand.job(self._serial)
        self.errand = errand
        self.state = State.BUSY
        self.line.send(job)

    def is_current(self, serial: int) -> bool:
        """Whether what is told of a job concerns the errand; not if a thread that it left behind tells it."""
        return self.errand is not None and serial == self._serial

    def cancel(self) -> None:
        """Nobody wants the result of the errand."""
        with suppress(OSError):  # it is dead, or does not listen, and will be killed for that
            os.write(self._orders, CANCEL.pack(self._serial))

    def tell_stored(self, size_bytes: int) -> None:
        """So much of what the errand has written to streams is stored."""
        with suppress(OSError):  # as above; the next one says it all
            os.write(self._orders, stored_order(self._serial, size_bytes))

    def leave(self) -> None:
        """Ask it to end. It does once it has nothing to do."""
        self.state = State.LEAVING
        with suppress(OSError):
            self.line.socket.shutdown(socket.SHUT_WR)

    def kill(self, why: str = "") -> None:
        """With all that it has started."""
        self.killed_for = self.killed_for or why
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def bury(self) -> str:
        """Free all that it held. How it ended, in words."""
        self.kill()  # what it has started, before its number can be another's
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)
        if self.line.garbled:
            return "wrote to a descriptor that belongs to the engine, and was killed"
        return _told(self._process.returncode)

    def last_words(self) -> str:
        """Where it was, if it has crashed in a way that Python can tell."""
        try:
            text = os.read(self._faults, TRACEBACK_CHARS).decode("utf-8", "replace")
        except OSError:
            return ""
        return "".join(line for line in text.splitlines(keepends=True) if _is_theirs(line))

    def close(self) -> None:
        """Give the descriptors back."""
        self._held.close()


def crashed(how: str, where: str) -> Failure:
    """The failure of an attempt whose process has died under it."""
    return Failure(
        "perdure.errors.ActivityCrashed",
        f"the process in which this attempt ran {how}; whether the step took effect is unknown",
        where,
        code="activity-crashed",
    )


def not_started(why: str) -> Failure:
    """The failure of an attempt for which there was no process."""
    return Failure(
        "perdure.errors.ProcessNotStarted",
        f"no process could be started for this attempt: {why}",
        code="process-not-started",
    )


def cancelled(when: str) -> Failure:
    return Failure("asyncio.CancelledError", f"cancelled {when}")


def _interpreter() -> list[str]:
    return [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def _doom(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _told(status: int | None) -> str:
    if status is None:
        return "does not answer and cannot be killed"
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (sent by somebody, or by the system when it ran out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


_OURS = os.path.dirname(__file__)


def _is_theirs(line: str) -> bool:
    """Whether a line of a crash report is about the user's code."""
    return _OURS not in line and 'File "<string>"' not in line and not line.startswith("Extension modules")
