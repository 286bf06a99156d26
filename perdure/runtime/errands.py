"""Attempts on their way through processes of their own: what lies between the worker and the pool."""

from collections.abc import Callable
from functools import partial
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
        threads: read arguments that are large, or encoded, with `plain`; and encode results, with `sealed`, if there is a
            codec.
        now: when an attempt begins.
        end: takes the result, or why there is none; without either somebody else brings them.
    """

    def __init__(
        self,
        processes: Processes,
        threads: Threads,
        payload_max_bytes: int,
        now: Callable[[], int],
        plain: "Callable[[Attempt], bytes]",
        sealed: "Callable[[Attempt, bytes], Payload] | None",
        end: "Callable[[Attempt, Payload | None, Failure | None], None]",
    ) -> None:
        self._processes = processes
        self._threads = threads
        self._max_bytes = payload_max_bytes
        self._now = now
        self._plain = plain
        self._sealed = sealed
        self._end = end
        self._out: dict[Flight, Errand] = {}

    def begin(self, attempt: "Attempt") -> None:
        errand = self._out[attempt.flight] = Errand(self, attempt)
        if not attempt.is_elsewhere:
            self._processes.run(errand)
            return
        try:
            self._threads.run(lambda: self._begin_with_large(errand))
        except RuntimeError as error:  # the system has no more threads; when it is tried again, perhaps
            self.back(errand, None, failure_of(error))

    def _begin_with_large(self, errand: "Errand") -> None:
        attempt = errand.attempt
        try:
            errand.large = self._plain(attempt)
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

    def stored(self, errand: "Errand", size_bytes: int) -> None:
        self._processes.tell_stored(errand, size_bytes)

    def refused(self, errand: "Errand") -> None:
        """What it writes is not taken: it is told that nobody wants its result, and its failure says why."""
        self._processes.cancel(errand)

    def job(self, errand: "Errand", serial: int) -> Job:
        attempt = errand.attempt
        attempt.started_at = self._now()
        place, info, token = place_of(attempt.definition), attempt.info(), attempt.token()
        input = attempt.task.input
        if attempt.is_elsewhere:
            input = Payload(b"", ref=True)  # it was fetched and decoded here: the child knows no codec
        return Job(serial, place, input, errand.large, info, token, self._max_bytes)

    def landed(self, errand: "Errand", ended: Ended) -> None:
        result = ended.result
        if result is None or self._sealed is None:
            if result is not None and result.ref:
                errand.attempt.put(result.data, ended.large)
            self.back(errand, result, ended.failure)
            return
        data = ended.large if result.ref else result.data
        try:
            self._threads.run(lambda: self._back_sealed(errand, data))
        except RuntimeError as error:  # the system has no more threads
            self.back(errand, None, failure_of(error))

    def _back_sealed(self, errand: "Errand", data: bytes) -> None:
        assert self._sealed is not None
        try:
            result = self._sealed(errand.attempt, data)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the outcome of the attempt
            self.back(errand, None, failure_of(error))
        else:
            self.back(errand, result, None)

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
        self.attempt.log().put(record)

    def wrote(self, stream: str, data: bytes | None) -> None:
        if self.attempt.spool is None:
            self.attempt.spooled(partial(self._errands.stored, self))
        try:
            self.attempt.write(stream, data)
        except BaseException:  # noqa: BLE001  it is what the attempt fails with: there is nobody here to be told
            self._errands.refused(self)

    def ended(self, ended: Ended) -> None:
        if ended.dropped:
            self.attempt.log().dropped = ended.dropped
        self._errands.landed(self, ended)
