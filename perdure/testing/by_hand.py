"""An attempt without an engine: an activity's function, run by hand, can ask who it is, log, and send heartbeats."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from perdure.activities import ActivityDefinition, ActivityInfo, attempt_context, no_transaction
from perdure.errors import DefinitionError
from perdure.kernel.events import Payload
from perdure.languages.python.streaming import closed
from perdure.runtime import attempt_logs

RUN_ID = "00000000000000000000000000000001"
"""Of the run that the attempt is said to belong to."""

SCHEDULED_AT = datetime(2024, 1, 1, tzinfo=UTC)


class AttemptByHand:
    """What the attempt is told, and what was heard of it: `heartbeats` are the details of each, `records` what it logged,
    `streams` what it wrote to each."""

    def __init__(self, told: ActivityInfo, connection: Any = None) -> None:
        self.told = told
        self._connection = connection
        self.heartbeats: list[Any] = []
        self.records: list[logging.LogRecord] = []
        self.streams: dict[str, list[Any]] = {}
        self._closed: set[str] = set()
        self._cancelled = False

    def cancel(self) -> None:
        """Let the attempt learn that nobody wants its result: by `activity.cancelled()`, and by its next heartbeat if it is
        a plain function. A coroutine's task is cancelled by whoever runs it."""
        self._cancelled = True

    def info(self) -> ActivityInfo:
        return self.told

    def heartbeat(self, details: Payload | None) -> None:
        self.heartbeats.append(None if details is None else msgspec.json.decode(details.data))

    def cancelled(self) -> bool:
        return self._cancelled

    def token(self) -> str:
        return f"token-of-{self.told.idempotency_key}:{self.told.attempt}"

    def connection(self) -> Any:
        if self._connection is None:
            raise no_transaction(self.told.activity)
        return self._connection

    def write(self, stream: str, data: bytes | None) -> bool:
        written = self.streams.setdefault(stream, [])
        if data is None:
            self._closed.add(stream)
        elif stream in self._closed:
            raise closed(stream)
        else:
            written.append(msgspec.json.decode(data))
        return True

    def wait_for_room(self) -> None:
        """There is always some."""

    def when_room(self, call: Callable[[], object]) -> None:
        call()

    def keep(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        """What it logged, as texts."""
        return [record.getMessage() for record in self.records]


@contextmanager
def activity_context(
    activity: ActivityDefinition[..., Any],
    *,
    id: str = "test",
    run_id: str = RUN_ID,
    workflow: str = "test",
    step: str = "0:1",
    attempt: int = 1,
    scheduled_at: datetime = SCHEDULED_AT,
    heartbeat_details: Any = None,
    connection: Any = None,
) -> Iterator[AttemptByHand]:
    """Within the block the function of an activity can be called as if an engine made an attempt of it:

        with activity_context(charge, attempt=2) as attempt:
            charge.fn("acct", 10)

    Also for coroutine functions, which are awaited in it. The arguments are what `activity.info()` tells, and the
    `connection` what `activity.connection(...)` gives; whether it commits is up to the test.

    Raises:
        errors.DefinitionError: there is no such attempt.
    """
    if not isinstance(activity, ActivityDefinition):
        raise DefinitionError(f"activity_context is given the activity that is run in it, not {activity!r}")
    if attempt < 1:
        raise DefinitionError(f"attempts are counted from 1 on, there is no attempt {attempt!r}")
    terms = activity.terms
    told = ActivityInfo(
        id=id,
        run_id=run_id,
        workflow=workflow,
        activity=activity.name,
        step=step,
        attempt=attempt,
        scheduled_at=scheduled_at,
        timeout=_delta(activity.timeout_ns),
        heartbeat_timeout=None if terms is None else _delta(terms.heartbeat_ns),
        heartbeat_details=heartbeat_details,
        queue="" if terms is None else terms.queue,
    )
    by_hand = AttemptByHand(told, connection)
    attempt_logs.install()
    before = attempt_context.set(by_hand)
    try:
        yield by_hand
    finally:
        attempt_context.reset(before)
        attempt_logs.remove()


def _delta(ns: int | None) -> timedelta | None:
    return None if ns is None else timedelta(microseconds=ns // 1000)
