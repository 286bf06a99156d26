"""What an attempt logs with the standard `logging` is kept with it, up to a bound."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from perdure.activities import attempt_context
from perdure.kernel.events import LogRecord, Logs
from perdure.kernel.limits import ATTEMPT_LOG_BYTES, ATTEMPT_LOG_RECORDS

_text = logging.Formatter("%(message)s")


class AttemptLog:
    """The records of one attempt. Threads and tasks that the attempt starts log into it, too.

    `dropped` counts those beyond the bound. `told` hears of each that is kept.
    """

    __slots__ = ("_records", "_size", "_told", "dropped")

    def __init__(self, told: Callable[[LogRecord], None] | None = None) -> None:
        self._records: list[LogRecord] | None = None
        self._size = 0
        self._told = told
        self.dropped = 0

    def keep(self, record: logging.LogRecord) -> None:
        if self._size >= ATTEMPT_LOG_BYTES or (self._records and len(self._records) >= ATTEMPT_LOG_RECORDS):
            self.dropped += 1
            return
        try:
            text = _text.format(record)
        except Exception as error:  # noqa: BLE001  arguments that do not fit their message are no reason to fail
            text = f"{record.msg!r} ({type(error).__name__} while formatting it)"
        kept = text.encode("utf-8", "backslashreplace")[: ATTEMPT_LOG_BYTES - self._size]
        self._size += len(kept)
        text = kept.decode("utf-8", "ignore")  # a character may have been cut
        self.put(LogRecord(int(record.created * 1e6) * 1000, record.levelno, record.name, text))

    def put(self, record: LogRecord) -> None:
        """Keep a record that is within the bound."""
        if self._records is None:
            self._records = []
        self._records.append(record)
        if self._told is not None:
            self._told(record)

    def taken(self) -> Logs | None:
        """All records so far; None if there are none."""
        if not self._records:
            return None
        return Logs(tuple(self._records), self.dropped)


class _Factory:
    """Makes log records as before, and gives each to the attempt that runs in its context, if one does.

    Not a handler on the root logger: with one there, Python prints no warnings of programs that have set up nothing,
    `logging.basicConfig` does nothing, and records of loggers that do not propagate are not seen.
    """

    def __init__(self, before: Callable[..., logging.LogRecord]) -> None:
        self.before = before
        self.active = True

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.before(*args, **kwargs)
        attempt = attempt_context.get(None) if self.active else None
        if attempt is not None:
            attempt.keep(record)
        return record


_factory: _Factory | None = None
_users = 0
_lock = threading.Lock()


def install() -> None:
    """Begin to keep records; as often as `remove`."""
    global _users, _factory
    with _lock:
        _users += 1
        if _users == 1:
            _factory = _Factory(logging.getLogRecordFactory())
            logging.setLogRecordFactory(_factory)


def remove() -> None:
    """Stop keeping them. If somebody has put another factory before ours meanwhile, ours stays behind it, idle."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0 and _factory is not None:
            _factory.active = False
            if logging.getLogRecordFactory() is _factory:
                logging.setLogRecordFactory(_factory.before)
