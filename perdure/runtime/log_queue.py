"""Log records of the engine and of workflow code, handled on a thread of their own: handlers are nobody's workflow code,
and may take their time."""

import logging
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from perdure.failures import type_name

WAITING_RECORDS = 10_000
"""Records that may wait for slow handlers; those that come then are counted, not kept."""


class _Queued(logging.Logger):
    """Stands before a logger: its records are handled later, elsewhere."""

    def __init__(self, real: logging.Logger, put: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(real.name)
        self._real = real
        self._put = put

    def isEnabledFor(self, level: int) -> bool:
        return self._real.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        self._put(record)


def _tell_lost(record: logging.LogRecord) -> None:
    """Print why, as `logging` does, unless what the record has cannot even be printed."""
    try:
        logging.Handler().handleError(record)
    except BaseException as worse:  # noqa: BLE001  the thread has to go on
        print(f"--- Logging error --- {type_name(type(worse))}, of {record.name}", file=sys.stderr)


class LogQueue:
    """`put` takes a record and returns at once; `logger` is the engine's own, "perdure"."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._dropped = 0
        self.logger: logging.Logger = _Queued(logging.getLogger("perdure"), self.put)
        self._thread: Thread = Thread(target=self._handle, name="perdure-logs", daemon=True)
        self._thread.start()

    def put(self, record: logging.LogRecord) -> None:
        if self._queue.qsize() < WAITING_RECORDS:
            self._queue.put(record)
        else:
            self._dropped += 1

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        text = "%d log records were dropped: the handlers are too slow for them"
        logging.getLogger("perdure").warning(text, dropped)

    def _handle(self) -> None:
        while (record := self._queue.get()) is not None:
            try:
                logging.getLogger(record.name).handle(record)
                if self._dropped and self._queue.empty():
                    self._tell_dropped()
            except BaseException:  # noqa: BLE001  a handler that raises loses its record, and must not lose the others
                if logging.raiseExceptions:
                    _tell_lost(record)
        if self._dropped:
            self._tell_dropped()

    def close(self, seconds: float = 2.0) -> None:
        """Handle what is there; a handler that hangs is left behind."""
        self._queue.put(None)
        self._thread.join(seconds)
