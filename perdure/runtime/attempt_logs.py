"""What an attempt logs with the standard `logging` is kept with it, up to a bound."""

import logging
import threading

from perdure.activities import attempt_log
from perdure.kernel.events import LogRecord, Logs
from perdure.kernel.limits import ATTEMPT_LOG_BYTES, ATTEMPT_LOG_RECORDS

_text = logging.Formatter("%(message)s")


class AttemptLog:
    """The records of one attempt. Threads and tasks that the attempt starts log into it, too."""

    __slots__ = ("_dropped", "_records", "_size")

    def __init__(self) -> None:
        self._records: list[LogRecord] | None = None
        self._size = 0
        self._dropped = 0

    def keep(self, record: logging.LogRecord) -> None:
        if self._records is None:
            self._records = []
        if len(self._records) >= ATTEMPT_LOG_RECORDS or self._size >= ATTEMPT_LOG_BYTES:
            self._dropped += 1
            return
        try:
            text = _text.format(record)
        except Exception as error:  # noqa: BLE001  arguments that do not fit their message are no reason to fail
            text = f"{record.msg!r} ({type(error).__name__} while formatting it)"
        text = text[: ATTEMPT_LOG_BYTES - self._size].encode("utf-8", "backslashreplace").decode("utf-8")
        self._size += len(text)
        self._records.append(LogRecord(int(record.created * 1e6) * 1000, record.levelno, record.name, text))

    def taken(self) -> Logs | None:
        """All records so far; None if there are none."""
        if not self._records:
            return None
        return Logs(tuple(self._records), self._dropped)


class _Keeper(logging.Handler):
    """On the root logger: gives each record to the attempt that runs in its context, if one does."""

    def handle(self, record: logging.LogRecord) -> bool:
        log = attempt_log.get(None)
        if log is not None:
            log.keep(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.handle(record)


_keeper = _Keeper()
_users = 0
_lock = threading.Lock()


def install() -> None:
    """Begin to keep records; as often as `remove`."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            logging.getLogger().addHandler(_keeper)


def remove() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            logging.getLogger().removeHandler(_keeper)
