"""Log records of the engine and of workflow code, handled on a thread of their own: handlers are nobody's workflow code,
and may take their time."""

import logging
from queue import SimpleQueue
from threading import Thread
from typing import Any


class _Queued(logging.Logger):
    """Stands before a logger: its records are handled later, elsewhere."""

    def __init__(self, real: logging.Logger, queue: "SimpleQueue[logging.LogRecord | None]") -> None:
        super().__init__(real.name)
        self._real = real
        self._queue = queue

    def isEnabledFor(self, level: int) -> bool:
        return self._real.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        self._queue.put(record)


class LogQueue:
    """`put` takes a record and returns at once; `logger` is the engine's own, "perdure"."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self.put: Any = self._queue.put
        self.logger: logging.Logger = _Queued(logging.getLogger("perdure"), self._queue)
        self._thread: Thread = Thread(target=self._handle, name="perdure-logs", daemon=True)
        self._thread.start()

    def _handle(self) -> None:
        while (record := self._queue.get()) is not None:
            try:
                logging.getLogger(record.name).handle(record)
            except Exception:  # noqa: BLE001  a handler that raises loses its record, and must not lose the others
                if logging.raiseExceptions:
                    logging.Handler().handleError(record)

    def close(self, seconds: float = 2.0) -> None:
        """Handle what is there; a handler that hangs is left behind."""
        self._queue.put(None)
        self._thread.join(seconds)
