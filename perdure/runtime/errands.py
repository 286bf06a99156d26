"""Attempts on their way through processes of their own: what lies between the worker and the pool."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.failures import failure_of
from perdure.kernel.events import Failure, LogRecord, Payload
from perdure.runtime.child_places import place_of
from perdure.runtime.child_wire import Ended, Job
from perdure.runtime.processes import Processes
from perdure.runtime.slots import Flight
from perdure.runtime.threads import Threads

if TYPE_CHECKING:
    from perdure.runtime.worker import Attempt


class Errands:
    """Those of one worker.

    Args:
        processes: makes the attempts.
        threads: read large arguments, with `large`.
        now: when an attempt begins.
        end: takes the result, or why there is none; without either somebody else brings them.
    """

    def __init__(
        self,
        processes: Processes,
        threads: Threads,
        payload_max_bytes: int,
        now: Callable[[], int],
        large: "Callable[[Attempt], bytes]",
        end: "Callable[[Attempt, Payload | None, Failure | None], None]",
    ) -> None:
        self._processes = processes
        self._threads = threads
        self._max_bytes = payload_max_bytes
        self._now = now
        self._large = large
        self._end = end
        self._out: dict[Flight, Errand] = {}

    def begin(self, attempt: "Attempt") -> None:
        errand = self._out[attempt.flight] = Errand(self, attempt)
        if not attempt.task.input.ref:
            self._processes.run(errand)
            return
        try:
            self._threads.run(lambda: self._begin_with_large(errand))
        except RuntimeError as error:  # the system has no more threads; when it is tried again, perhaps
            self.back(errand, None, failure_of(error))

    def _begin_with_large(self, errand: "Errand") -> None:
        attempt = errand.attempt
        try:
            errand.large = self._large(attempt)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the outcome of the attempt
            self.back(errand, None, failure_of(error))
            return
        self._processes.run(errand)
        if attempt.flight.given_up:  # before there was anybody who could have been told
            self._processes.cancel(errand)

    def give_up(self, flight: Flight) -> bool:
        """Whether the attempt is on an errand; it is told that nobody wants its result."""
        errand = self._out.get(flight)
        if errand is not None:
            self._processes.cancel(errand)
        return errand is not None

    def close(self) -> None:
        self._processes.close()

    def job(self, errand: "Errand", serial: int) -> Job:
        attempt = errand.attempt
        attempt.started_at = self._now()
        place, info, token = place_of(attempt.definition), attempt.info(), attempt.token()
        return Job(serial, place, attempt.task.input, errand.large, info, token, self._max_bytes)

    def back(self, errand: "Errand", result: Payload | None, failure: Failure | None) -> None:
        del self._out[errand.attempt.flight]
        self._end(errand.attempt, result, failure)


class Errand:
    """One of them. `large` are its arguments, if the attempt has only a reference to them."""

    __slots__ = ("_errands", "attempt", "large")

    def __init__(self, errands: Errands, attempt: "Attempt") -> None:
        self._errands = errands
        self.attempt = attempt
        self.large = b""

    def job(self, serial: int) -> Job:
        return self._errands.job(self, serial)

    def beat(self, details: Payload | None) -> None:
        self.attempt.heartbeat(details)

    def logged(self, record: LogRecord) -> None:
        self.attempt.log.put(record)

    def ended(self, ended: Ended) -> None:
        self.attempt.log.dropped = ended.dropped
        if ended.result is not None and ended.result.ref:
            self.attempt.put(ended.result.data, ended.large)
        self._errands.back(self, ended.result, ended.failure)
