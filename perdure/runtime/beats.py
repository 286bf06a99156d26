"""Heartbeats of the attempts in this process, until their details are stored: all of them together, once a second."""

import logging
from collections import deque

from perdure.errors import PayloadError
from perdure.kernel.events import Payload
from perdure.payload import Coder
from perdure.runtime.slots import Flight
from perdure.runtime.threads import Threads
from perdure.runtime.world import World

_log = logging.getLogger("perdure")


class Beats:
    """Told from any thread. A codec makes what is stored of details, on threads that may wait."""

    def __init__(self, world: World, coder: Coder, threads: Threads, payload_max_bytes: int) -> None:
        self._world = world
        self._coder = coder
        self._threads = threads
        self._max_bytes = payload_max_bytes
        self._new: deque[Flight] = deque()
        self._plain: dict[Flight, Payload] = {}
        self._coming: set[Flight] = set()

    def heard(self, flight: Flight, details: Payload | None) -> None:
        """The attempt lives."""
        flight.heard = self._world.monotonic()
        if details is None:
            return
        if self._coder.codec is None:
            self._keep(flight, details)
            return
        self._plain[flight] = details
        if flight not in self._coming:
            self._coming.add(flight)
            self._threads.run(lambda: self._encode(flight))

    def taken(self) -> list[Flight]:
        """Attempts with details that are not stored yet, each once."""
        return [self._new.popleft() for _ in range(len(self._new))]

    def has_new(self) -> bool:
        """Whether there are such."""
        return bool(self._new)

    def owes(self, flight: Flight) -> bool:
        """Whether `finish` has to be called, where one may wait, before the attempt ends: its last details go along."""
        return flight in self._plain

    def finish(self, flight: Flight) -> None:
        self._encode(flight)
        self._plain.pop(flight, None)

    def _encode(self, flight: Flight) -> None:
        """Details that the codec cannot do, or makes too large, are dropped: they are a hint."""
        self._coming.discard(flight)
        plain = self._plain.get(flight)
        if plain is None:
            return
        try:
            coded = self._coder.seal(plain.data, _nowhere, self._max_bytes, "the details of a heartbeat")
        except PayloadError as error:
            _log.warning("%s", error)
            return
        if not coded.ref:
            self._keep(flight, coded)

    def _keep(self, flight: Flight, details: Payload) -> None:
        flight.details = details
        if not flight.beaten:
            flight.beaten = True
            self._new.append(flight)


def _nowhere(digest: bytes, data: bytes) -> None:
    """What is too large to be kept with an attempt is dropped."""
