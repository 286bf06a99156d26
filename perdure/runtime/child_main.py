"""A child: a process of its own that runs attempts, one at a time, and never outlives its parent.

Its main thread takes jobs, so that an attempt costs no hop between threads. Another one listens to the parent, who may
not want a result any more, or be gone.
"""

import asyncio
import contextvars
import faulthandler
import fcntl
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from perdure.activities import ActivityInfo, CompleteLater, attempt_context, no_transaction
from perdure.failures import failure_of
from perdure.kernel.events import Payload
from perdure.kernel.limits import STREAM_CHUNK_COSTS_BYTES, STREAM_UNSTORED_BYTES
from perdure.payload import seal, unseal
from perdure.runtime import attempt_logs
from perdure.runtime.child_places import found_at
from perdure.runtime.child_wire import (
    CANCEL,
    DESCRIPTORS,
    Beat,
    Ended,
    Job,
    Logged,
    Ready,
    Told,
    Wrote,
    framed,
    read_job,
    read_stored,
)

ORPHANED_SECONDS = 5.0
"""How often a child looks whether it still has its parent, for the case that somebody else holds the parent's pipes open."""


def main() -> None:
    """What `Child` starts; the arguments are descriptors, and then those of the parent."""
    jobs, orders, lifeline, faults = (int(number) for number in sys.argv[:DESCRIPTORS])
    del sys.argv[:DESCRIPTORS]
    for number in (jobs, orders, lifeline, faults):
        os.set_inheritable(number, False)
    parent = os.getppid()
    _die_with_parent(lifeline)
    signal.signal(signal.SIGINT, _heard_by_parent)
    signal.signal(signal.SIGTERM, _heard_by_parent)
    os.set_blocking(faults, False)
    faulthandler.enable(faults, all_threads=False)
    attempt_logs.install()
    line = Line(socket.socket(fileno=jobs))
    listener = Listener(orders, parent)
    threading.Thread(target=listener.listen, name="perdure-parent", daemon=True).start()
    line.tell(Ready())
    while (job := line.next()) is not None:
        ended = contextvars.Context().run(_run, Attempt(job, line, listener), job)
        _flush()
        line.tell(ended)
        del job, ended
    line.leave_open()


def _die_with_parent(lifeline: int) -> None:
    """Have the system kill this process, and those it starts, when the parent's end of a pipe is closed: at once, and also
    while a call into C keeps Python's lock. Elsewhere than on Linux the listener has to do."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _heard_by_parent(number: int, frame: Any) -> None:
    """Who tells all processes to stop means the parent, which may let attempts end. Not `SIG_IGN`, which programs that an
    activity starts would inherit."""


def _die() -> None:
    """With all that attempts have started. The parent is gone, and nobody waits for anything."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _flush() -> None:
    for file in (sys.stdout, sys.stderr):
        try:
            file.flush()
        except (OSError, ValueError, AttributeError):
            continue  # closed, or replaced by an attempt


class Line:
    """The child's end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._file: BinaryIO = end.makefile("rb")
        self._lock = threading.Lock()

    def tell(self, message: Told) -> None:
        """From any thread."""
        data = framed(message)
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            _die()

    def leave_open(self) -> None:
        """Until the process is gone: the parent takes the end of the line for its death, and handlers of `atexit` come
        before that."""
        self._socket.detach()

    def next(self) -> Job | None:
        """The next job; None when there will be no more."""
        try:
            return read_job(self._file)
        except OSError:
            return None


class Listener:
    """Hears what the parent says while an attempt runs."""

    def __init__(self, orders: int, parent: int) -> None:
        self._orders = orders
        self._parent = parent
        self.cancelled = 0
        self.serial = 0
        self.stored = 0
        self._heard = threading.Condition()
        self._calls: list[Callable[[], bool]] = []

    def when(self, call: Callable[[], bool]) -> None:
        """Have it called each time that something is heard, and now, until it says that it is done."""
        with self._heard:
            if not call():
                self._calls.append(call)

    def begin(self, serial: int) -> None:
        """What is heard now is about that job."""
        with self._heard:
            self.serial, self.stored, self._calls = serial, 0, []

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self._heard:
            self._heard.wait_for(condition)

    def listen(self) -> None:
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        while os.getppid() == self._parent:
            if poll.poll(ORPHANED_SECONDS * 1000):
                order = os.read(self._orders, CANCEL.size)
                if not order:
                    break
                self._hear(CANCEL.unpack(order)[0])
        _die()

    def _hear(self, order: int) -> None:
        with self._heard:
            stored = read_stored(order, self.serial)
            if stored is None:
                self.cancelled = order
            else:
                self.stored = max(self.stored, stored)
            self._calls = [call for call in self._calls if not call()]
            self._heard.notify_all()


class Attempt:
    """What runs in a child, and can tell about itself."""

    def __init__(self, job: Job, line: Line, listener: Listener) -> None:
        self._serial = job.serial
        self._info = job.info
        self._token = job.token
        self._line = line
        self._listener = listener
        self.log = attempt_logs.AttemptLog(self._logged)
        self.over = False
        self._written = 0
        self._closed: set[str] = set()
        listener.begin(job.serial)

    def info(self) -> ActivityInfo:
        return self._info

    def heartbeat(self, details: Payload | None) -> None:
        self._line.tell(Beat(self._serial, details))

    def cancelled(self) -> bool:
        return self._listener.cancelled == self._serial

    def token(self) -> str:
        return self._token

    def connection(self) -> Any:
        raise no_transaction(self._info.activity)

    def write(self, stream: str, data: bytes | None) -> bool:
        if self.over:
            from perdure.languages.python.streaming import left_behind

            raise left_behind(stream)
        if self.cancelled():
            raise asyncio.CancelledError("what the activity writes is not wanted")
        if stream in self._closed:
            if data is None:
                return True
            from perdure.languages.python.streaming import closed  # nearly nobody comes here

            raise closed(stream)
        if data is None:
            self._closed.add(stream)
        else:
            self._written += len(data) + STREAM_CHUNK_COSTS_BYTES
        self._line.tell(Wrote(self._serial, stream, data))
        return self._has_room()

    def _has_room(self) -> bool:
        return self.cancelled() or self._written - self._listener.stored <= STREAM_UNSTORED_BYTES

    def wait_for_room(self) -> None:
        self._listener.wait_until(self._has_room)

    def when_room(self, call: Callable[[], object]) -> None:
        def look() -> bool:
            has_room = self._has_room()
            if has_room:
                call()
            return has_room

        self._listener.when(look)

    def keep(self, record: logging.LogRecord) -> None:
        self.log.keep(record)

    def _logged(self, record: Any) -> None:
        self._line.tell(Logged(self._serial, record))


def _run(attempt: Attempt, job: Job) -> Ended:
    """One try, from its arguments as bytes to its result as bytes."""
    blobs: dict[bytes, bytes] = {}
    attempt_context.set(attempt)
    ended = Ended()
    try:
        definition = found_at(job.place)
        args, kwargs = definition.parameters.decode(unseal(job.input, lambda digest: job.large))
        job.large = b""
        data = definition.result.encode(definition.fn(*args, **kwargs))
        ended.result = seal(data, blobs.__setitem__, job.max_bytes, f"the result of activity {definition.name}")
        ended.large = next(iter(blobs.values()), b"")
    except CompleteLater:
        pass  # neither result nor failure
    except BaseException as error:  # noqa: BLE001  whatever it is, it is the outcome of the attempt
        ended.failure = failure_of(error)
    attempt.over = True
    ended.dropped = attempt.log.dropped
    return ended
