"""Nudges between processes, by LISTEN and NOTIFY: a channel for each member.

Only a hint: a pooler that gives each transaction another connection loses it, and so does a connection that breaks. Then mail and
tasks are found by polling.
"""

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable, Sequence

import psycopg

from perdure.stores.postgres.place import Place

AGAIN_SECONDS = 1.0
"""After a connection was lost, before the next is tried."""

_JOIN_SECONDS = 1.0

_log = logging.getLogger("perdure")


def channel_of(member: int) -> str:
    return f"perdure_{member}"


class Listener:
    """One connection for all members of a process, and a thread that calls each when it is nudged; it begins with the first.
    Several nudges at once count as one, and after a gap everybody is nudged."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._calls: dict[str, Callable[[], None]] = {}
        self._heard: set[str] = set()
        self._thread: threading.Thread | None = None
        self._awake, self._wake = -1, -1
        self._closed = False

    def add(self, member: int, on_nudge: Callable[[], None]) -> None:
        """Call `on_nudge`, from the thread, when somebody nudges that member."""
        with self._lock:
            if self._closed:
                return
            self._calls[channel_of(member)] = on_nudge
            if self._thread is None:
                self._awake, self._wake = os.pipe()
                self._thread = threading.Thread(target=self._listen, name="perdure-nudges", daemon=True)
                self._thread.start()
        self._rouse()

    def remove(self, member: int) -> None:
        with self._lock:
            self._calls.pop(channel_of(member), None)
        self._rouse()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None:
            return
        self._rouse()
        if thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def _rouse(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._wake >= 0:
                os.write(self._wake, b"!")

    # on the thread

    def _listen(self) -> None:
        try:
            while not self._closed:
                try:
                    with self._place.connect() as connection:
                        self._heard = set()
                        self._follow(connection)
                except psycopg.Error as error:
                    _log.debug("nudges are missed: %s", error)
                except Exception as error:  # noqa: BLE001  without nudges everything is late, and nobody would know why
                    _log.warning("nudges are missed for %g seconds: %r", AGAIN_SECONDS, error, exc_info=error)
                if not self._closed:
                    _ready([self._awake], AGAIN_SECONDS)
                    self._quieten()
        finally:
            with self._lock:
                for end in (self._awake, self._wake):
                    os.close(end)
                self._awake = self._wake = -1

    def _follow(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        while not self._closed:
            with self._lock:
                calls = dict(self._calls)
            for channel in calls.keys() - self._heard:
                connection.execute(f"LISTEN {channel}".encode())
                calls[channel]()  # what came before this moment was told to nobody
            for channel in self._heard - calls.keys():
                connection.execute(f"UNLISTEN {channel}".encode())
            self._heard = set(calls)
            ready = _ready([connection.fileno(), self._awake])
            if self._awake in ready:
                self._quieten()
            if connection.fileno() in ready:
                for channel in {told.channel for told in connection.notifies(timeout=0)}:
                    if channel in calls:
                        calls[channel]()
                if connection.closed:
                    return

    def _quieten(self) -> None:
        os.set_blocking(self._awake, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._awake, 64):
                pass


def _ready(descriptors: Sequence[int], seconds: float | None = None) -> set[int]:
    """Those that can be read, or have ended. They may have any number: `select.select` knows none above 1,023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(None if seconds is None else seconds * 1e3)}
