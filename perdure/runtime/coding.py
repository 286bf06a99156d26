"""A codec between the engine and its payloads. It runs on threads of its own, many payloads at a time; the engine's thread
waits for them, and not for ever.

Workflow code sees plain values, so what a turn needs is decoded before it, and what a turn has made is encoded before its
commit. What a codec cannot do is the fault of the one run whose payload it is.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from perdure.errors import PayloadError, PayloadNotEncodable
from perdure.kernel import events as ev
from perdure.kernel.events import Payload
from perdure.payload import PLAIN, Coder
from perdure.payload.coding import unreadable
from perdure.runtime.threads import Threads

R = TypeVar("R")

AT_ONCE = 8
"""Threads that encode and decode for one engine."""

PATIENCE_SECONDS = 10.0
"""How long the engine waits for a codec of which it hears nothing; what is not done by then has failed."""

_FIELDS = {
    ev.RunStarted: "input",
    ev.ActivityScheduled: "input",
    ev.ActivityCompleted: "result",
    ev.ActivityFailed: "details",
    ev.SideEffectRecorded: "value",
    ev.ChildCompleted: "result",
    ev.SignalReceived: "input",
    ev.UpdateAccepted: "input",
    ev.RunCompleted: "result",
    ev.TaskCompleted: "result",
}
"""Where events of a history have payloads."""


def payloads_in(event: ev.Event) -> "tuple[Payload, ...]":
    """The payload of an event that has one."""
    field = _FIELDS.get(type(event))
    payload = None if field is None else getattr(event, field)
    return () if payload is None else (payload,)


Get = Callable[[bytes], bytes]
Put = Callable[[bytes, bytes], None]


class Coding:
    """Decoded payloads are remembered until `forget`."""

    def __init__(self, coder: Coder, payload_max_bytes: int) -> None:
        self._coder = coder
        self._max_bytes = payload_max_bytes
        self._threads = Threads("perdure-codec", AT_ONCE)
        self._plain: dict[bytes, bytes | PayloadError] = {}

    def plain(self, payload: Payload, get: Get) -> bytes:
        """The bytes of a payload, decoded.

        Raises:
            PayloadNotDecodable: they cannot be.
        """
        if not payload.encoding:
            return self._coder.unseal(payload, get)
        if payload.data not in self._plain:
            self.prepare([(payload, get)])
        found = self._plain[payload.data]
        if isinstance(found, PayloadError):
            raise found
        return found

    def prepare(self, payloads: Iterable[tuple[Payload, Get]]) -> None:
        """Decode what is not decoded yet, all at once."""
        wanted = {each.data: (each, get) for each, get in payloads if each.encoding and each.data not in self._plain}
        calls = [_call(self._coder.unseal, each, get) for each, get in wanted.values()]
        for data, outcome in zip(wanted, self._all(calls), strict=True):
            self._plain[data] = outcome if outcome is not None else unreadable(_LATE)

    def encoded(self, payloads: Sequence[tuple[Payload, Put, str]]) -> list[Payload | PayloadError]:
        """Plain payloads as the codec makes them, in their order; each with where large ones go, and what it is."""
        calls = [_call(self._coder.seal, each.data, put, self._max_bytes, what) for each, put, what in payloads]
        return [outcome if outcome is not None else PayloadNotEncodable(_LATE) for outcome in self._all(calls)]

    def forget(self) -> None:
        self._plain.clear()

    def close(self) -> None:
        self._threads.close()

    def _all(self, calls: Sequence[Callable[[], R | PayloadError]]) -> list[R | PayloadError | None]:
        """What the calls give, None for those that hang. As long as some call comes to its end in time, others are waited
        for: many payloads, or a slow codec, are no fault of anybody's."""
        outcomes: list[R | PayloadError | None] = [None] * len(calls)
        done = threading.Semaphore(0)
        waiting = iter(range(len(calls)))
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    n = next(waiting, None)
                if n is None:
                    return
                outcomes[n] = calls[n]()
                done.release()

        for _ in range(min(AT_ONCE, len(calls))):
            self._threads.run(work)
        for _ in calls:
            if not done.acquire(timeout=PATIENCE_SECONDS):
                with lock:
                    waiting = iter(())  # nobody begins another one
                self._threads = Threads("perdure-codec", AT_ONCE)  # threads that hang are of no use any more
                break
        return list(outcomes)


def plain(coding: Coding | None, payload: Payload, get: Get) -> bytes:
    """What a payload holds, with a codec or without."""
    return PLAIN.unseal(payload, get) if coding is None else coding.plain(payload, get)


_LATE = f"the codec has not answered within {PATIENCE_SECONDS:g} s"


def _call(function: Callable[..., R], *args: object) -> "Callable[[], R | PayloadError]":
    """The call, whose payload errors are its outcome, whatever else it raises too."""

    def call() -> R | PayloadError:
        try:
            return function(*args)
        except PayloadError as error:
            return error
        except Exception as error:  # noqa: BLE001  a store that does not answer, say: the run is blocked, and tried again
            return unreadable(f"{type(error).__name__}: {error}")

    return call
