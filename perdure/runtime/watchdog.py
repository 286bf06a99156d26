"""Sees to it that one bad run hurts nobody for longer than its patience: interrupts workflow code that does not come
back, and, if asked to, ends a process in which nothing can be interrupted any more.

A call into C that holds the interpreter lock stops every Python thread, this one included. So a timer of the operating
system's kind is set ahead (`faulthandler`, a thread that needs no Python), and pushed back at each tick: if the ticks
stop, it ends the process. It is not pushed back, either, while workflow code is interrupted in vain: code that waits for
a lock hears nothing. The run that was in its turn is named in the store's marker, which survives.
"""

import faulthandler
import sys
import threading
import time
from collections.abc import Callable

from perdure.languages.python.guard import Watch

TICKS_PER_LIMIT = 4


class Lived:
    """How long a process could have done something. While it was stopped, or got no processor, workflow code could not come
    to an await either: that is no fault of its. Who computes without giving the interpreter lock away has lived.

    Args:
        most: seconds between two looks that count though the process has computed less.
    """

    def __init__(self, most: float, now: float, computed: float) -> None:
        self._most = most
        self._now = now
        self._computed = computed
        self._seconds = 0.0

    def until(self, now: float, computed: float) -> float:
        """Seconds since the beginning. `computed`: of the process, on its processors, so far."""
        self._seconds += min(now - self._now, max(computed - self._computed, self._most))
        self._now, self._computed = now, computed
        return self._seconds


class Watchdog:
    """Ticks while it lives.

    Args:
        stuck_after: seconds that workflow code may run without an await.
        kill_when_hung: seconds without a tick, or with interrupts that have no effect, after which the process ends;
            None never ends it.
        thread: gives the number of the thread that runs the workflow code; without it all are watched.
    """

    def __init__(
        self, stuck_after: float, kill_when_hung: float | None, thread: Callable[[], int | None] | None = None
    ) -> None:
        self._watch = Watch(stuck_after, thread)
        self._tick_seconds = stuck_after / TICKS_PER_LIMIT
        self._kill_when_hung = kill_when_hung
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perdure-watchdog", daemon=True)

    def begin(self) -> None:
        self._push_back()  # before any workflow code can run: it may be the first that hangs
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            struck_since: float | None = None
            lived = Lived(2 * self._tick_seconds, time.monotonic(), time.process_time())
            while not self._ended.wait(self._tick_seconds):
                now = lived.until(time.monotonic(), time.process_time())
                struck_since = (struck_since or now) if self._watch.tick(now) else None
                if struck_since is None:
                    self._push_back()
        finally:
            if self._kill_when_hung is not None:
                faulthandler.cancel_dump_traceback_later()

    def _push_back(self) -> None:
        if self._kill_when_hung is not None:
            file = sys.__stderr__ or sys.stderr
            faulthandler.dump_traceback_later(self._kill_when_hung, exit=True, file=file)
