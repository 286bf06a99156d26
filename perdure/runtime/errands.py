"""An attempt on its way through a process of its own: what lies between the worker and the pool."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.kernel.events import Failure, LogRecord, Payload
from perdure.runtime.child_places import place_of
from perdure.runtime.child_wire import Ended, Job

if TYPE_CHECKING:
    from perdure.runtime.worker import Attempt


class InProcess:
    """`large` are its arguments, if the attempt has only a reference to them. `now` is asked when it begins, `end` takes the
    result, or why there is none."""

    __slots__ = ("_end", "_max_bytes", "_now", "attempt", "large")

    def __init__(
        self,
        attempt: "Attempt",
        max_bytes: int,
        now: Callable[[], int],
        end: Callable[["InProcess", Payload | None, Failure | None], None],
    ) -> None:
        self.attempt = attempt
        self.large = b""
        self._max_bytes = max_bytes
        self._now = now
        self._end = end

    def job(self, serial: int) -> Job:
        attempt = self.attempt
        attempt.started_at = self._now()
        place, info, token = place_of(attempt.definition), attempt.info(), attempt.token()
        return Job(serial, place, attempt.task.input, self.large, info, token, self._max_bytes)

    def beat(self, details: Payload | None) -> None:
        self.attempt.heartbeat(details)

    def logged(self, record: LogRecord) -> None:
        self.attempt.log.put(record)

    def ended(self, ended: Ended) -> None:
        self.attempt.log.dropped = ended.dropped
        if ended.result is not None and ended.result.ref:
            self.attempt.put(ended.result.data, ended.large)
        self._end(self, ended.result, ended.failure)
