"""Log records away from the engine, bounded."""

import logging
import threading
from collections.abc import Iterator

import pytest

from perdure.runtime.log_queue import WAITING_RECORDS, LogQueue


class Slow(logging.Handler):
    """Handles nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.may.wait(300)
        self.texts.append(record.getMessage())


@pytest.fixture
def slow() -> Iterator[Slow]:
    handler, logger = Slow(), logging.getLogger("perdure")
    logger.addHandler(handler)
    yield handler
    handler.may.set()
    logger.removeHandler(handler)


def test_records_are_handled_in_order_on_another_thread_and_all_before_it_is_closed(slow: Slow) -> None:
    queue = LogQueue()
    for number in range(100):
        queue.logger.warning("%d", number)
    slow.may.set()
    queue.close(300)

    assert slow.texts == [str(number) for number in range(100)]


def test_records_that_slow_handlers_cannot_take_are_counted_and_told(slow: Slow) -> None:
    queue = LogQueue()
    for number in range(WAITING_RECORDS + 50):
        queue.logger.warning("%d", number)
    slow.may.set()
    queue.close(300)

    kept = len([text for text in slow.texts if text.isdigit()])
    assert WAITING_RECORDS <= kept <= WAITING_RECORDS + 1, "one may have been in the handler's hands"
    assert (
        slow.texts[-1] == f"{WAITING_RECORDS + 50 - kept} log records were dropped: the handlers are too slow for them"
    )


def test_a_handler_that_raises_loses_its_own_record_only(slow: Slow) -> None:
    slow.may.set()
    queue = LogQueue()
    queue.logger.warning("%d", "no number")
    queue.logger.warning("next")
    queue.close(300)

    assert slow.texts == ["next"]
