"""What the attempts of a process write to streams, until it is stored: all of them together, a few times a second.

One thread stores it, as long as there is something. While it waits for the disk more is written, which is stored next, so
that many chunks cost one commit. An attempt ends after what it has written is stored, or known to be refused.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

from perdure.errors import PayloadError, StoreUnreachable, StreamFull
from perdure.kernel.events import Payload
from perdure.kernel.limits import (
    STREAM_CHUNK_BYTES,
    STREAM_CHUNK_COSTS_BYTES,
    STREAM_UNSTORED_BYTES,
    STREAM_UNSTORED_MOST_BYTES,
)
from perdure.kernel.streams import ChunkRow, chunk_rows
from perdure.kernel.wire import Chunk
from perdure.languages.python.streaming import closed, full, too_many
from perdure.payload import Coder
from perdure.runtime.slots import Flight
from perdure.runtime.threads import Threads
from perdure.runtime.world import World
from perdure.stores.streaming import Verdict

FLUSH_SECONDS = 0.05
"""How long a chunk waits at most for others: a first one, after a pause, does not wait."""

FLUSH_BYTES = 256 * 1024
"""With so many bytes they do not wait for more."""

STORE_BYTES = 8 * 1024 * 1024
"""Stored in one commit: others want to write, too."""

IDLE_SECONDS = 5.0
_PAUSE_SECONDS = (0.05, 1.0)

_log = logging.getLogger("perdure")

Append = Callable[[Sequence[ChunkRow]], Sequence[Verdict]]


class Spool:
    """What one attempt has written. `size` is not stored yet, `stored` is; `told` is called when that grows. `rows`: how many rows
    were made of it, which have their numbers by that: the store knows one that is brought again."""

    __slots__ = ("calls", "closed", "entries", "failure", "flight", "rows", "size", "stored", "storing", "told")

    def __init__(self, flight: Flight, told: "Callable[[int], object] | None" = None) -> None:
        self.flight = flight
        self.entries: list[tuple[str, Chunk | None]] = []
        self.rows = 0
        self.size = 0
        self.stored = 0
        self.storing = False
        self.closed: set[str] = set()
        self.failure: Callable[[], BaseException] | None = None
        self.calls: list[tuple[bool, Callable[[], object]]] = []
        self.told = told

    @property
    def is_stored(self) -> bool:
        return self.failure is not None or not (self.entries or self.storing)

    @property
    def has_room(self) -> bool:
        return self.failure is not None or self.size <= STREAM_UNSTORED_BYTES


class Outflow:
    """One for the attempts of an engine, or of a worker. `append` stores rows."""

    def __init__(self, append: Append, coder: Coder, world: World, threads: Threads) -> None:
        self._append = append
        self._coder = coder
        self._world = world
        self._threads = threads
        self._changed = threading.Condition()
        self._waiting: list[Spool] = []
        self._bytes = 0
        self._urgent = False
        self._running = False
        self._closed = False

    # from any thread

    def write(self, spool: Spool, stream: str, data: bytes | None) -> bool:
        """Take a chunk; None closes. Whether there is room for more.

        Raises: as `activities.Attempt.write`.
        """
        with self._changed:
            if spool.failure is not None:
                raise spool.failure()
            if stream in spool.closed:
                if data is None:
                    return spool.has_room
                raise closed(stream)
            if data is None:
                spool.closed.add(stream)
                spool.entries.append((stream, None))
            else:
                size = len(data) + STREAM_CHUNK_COSTS_BYTES
                if spool.size + size > STREAM_UNSTORED_MOST_BYTES:
                    raise _flooded(stream)
                spool.entries.append((stream, Chunk(self._world.now(), Payload(data))))
                spool.size += size
                self._bytes += size
            if len(spool.entries) == 1:
                self._waiting.append(spool)
            self._wake(len(self._waiting) == 1 or self._bytes >= FLUSH_BYTES)
            return spool.has_room

    def when_room(self, spool: Spool, call: Callable[[], object]) -> None:
        self._when(spool, False, call)

    def when_stored(self, spool: Spool, call: Callable[[], object]) -> None:
        """Make the call once all of it is stored, or is known to be refused. Nothing waits for more chunks any more."""
        self._when(spool, True, call)

    def _when(self, spool: Spool, stored: bool, call: Callable[[], object]) -> None:
        with self._changed:
            if not (spool.is_stored if stored else spool.has_room) and not self._closed:
                spool.calls.append((stored, call))
                self._urgent = True
                self._wake(True)
                return
        call()

    def _wake(self, needed: bool) -> None:
        if not self._running and not self._closed:
            self._running = True
            try:
                self._threads.run(self._work)
            except RuntimeError:  # the system has no more threads
                self._running = False
                raise
        elif needed:
            self._changed.notify()

    def close(self) -> None:
        """Nothing is stored any more: what is left belongs to attempts of which nobody hears the end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            left = self._waiting
            self._waiting = []
        for spool in left:
            self._fail(spool, _unwanted)
            self._tell(spool)

    # on a thread of its own

    def _work(self) -> None:
        stored_at = float("-inf")
        while (taken := self._taken(stored_at)) is not None:
            stored_at = time.monotonic()
            self._store(taken)

    def _taken(self, stored_at: float) -> "list[tuple[Spool, list[tuple[str, Chunk | None]]]] | None":
        """What is to be stored now; None once there has been nothing for long, or never will be."""
        with self._changed:
            while True:
                if self._closed:
                    self._running = False
                    return None
                if not self._waiting:
                    if not self._changed.wait(IDLE_SECONDS) and not self._waiting:
                        self._running = False
                        return None
                    continue
                seconds = stored_at + FLUSH_SECONDS - time.monotonic()
                if seconds <= 0 or self._urgent or self._bytes >= FLUSH_BYTES:
                    return self._take()
                self._changed.wait(seconds)

    def _take(self) -> "list[tuple[Spool, list[tuple[str, Chunk | None]]]]":
        taken: list[tuple[Spool, list[tuple[str, Chunk | None]]]] = []
        size = 0
        while self._waiting and size < STORE_BYTES:
            spool = self._waiting.pop(0)
            taken.append((spool, spool.entries))
            size += _size_of(spool.entries)
            spool.entries = []
            spool.storing = True
        self._bytes -= size
        self._urgent = self._urgent and bool(self._waiting)
        return taken

    def _store(self, taken: "Sequence[tuple[Spool, list[tuple[str, Chunk | None]]]]") -> None:
        rows: list[ChunkRow] = []
        owners: list[Spool] = []
        for spool, entries in taken:
            if spool.flight.given_up:
                self._fail(spool, _unwanted)
                continue
            try:
                made = self._rows(spool, entries)
            except PayloadError as error:
                self._fail(spool, _raising(error))
                continue
            rows += made
            owners += [spool] * len(made)
        try:
            verdicts = self._stored(rows) if rows else ()
        except Exception as error:  # noqa: BLE001  the attempts fail with it, whatever it is: nothing else would hear of it
            for spool in owners:
                self._fail(spool, _raising(error))
        else:
            for spool, row, verdict in zip(owners, rows, verdicts, strict=True):
                if verdict:
                    self._fail(spool, _refusal(verdict, row.stream))
        for spool, entries in taken:
            size = _size_of(entries)
            with self._changed:
                spool.storing = False
                spool.size -= size
                spool.stored += size
            self._tell(spool)

    def _rows(self, spool: Spool, entries: "Sequence[tuple[str, Chunk | None]]") -> list[ChunkRow]:
        """One after the other for each stream, as the attempt has written them.

        Raises:
            PayloadError: the codec cannot do it.
        """
        chunks: dict[str, list[Chunk]] = {}
        closes: set[str] = set()
        for stream, chunk in entries:
            if chunk is None:
                chunks.setdefault(stream, [])
                closes.add(stream)
            else:
                chunks.setdefault(stream, []).append(self._coded(stream, chunk))
        flight = spool.flight
        rows: list[ChunkRow] = []
        for stream, of_stream in chunks.items():
            rows += chunk_rows(flight.key, stream, of_stream, stream in closes, flight.step, flight.attempt)
        for row in rows:
            spool.rows += 1
            row.number = spool.rows
        return rows

    def _coded(self, stream: str, chunk: Chunk) -> Chunk:
        if self._coder.codec is None:
            return chunk
        aside: dict[bytes, bytes] = {}
        what = f"a chunk of the stream {stream!r}"
        coded = self._coder.seal(chunk.value.data, aside.__setitem__, 2 * STREAM_CHUNK_BYTES, what)
        return Chunk(chunk.at, Payload(aside[coded.data], coded.encoding) if coded.ref else coded)

    def _stored(self, rows: Sequence[ChunkRow]) -> Sequence[Verdict]:
        """A store that does not answer now is asked again, for as long as this process lives: who writes waits meanwhile. What it
        has stored, without anybody's hearing of it, it knows by the numbers."""
        pause, longest = _PAUSE_SECONDS
        while True:
            try:
                self._world.crash_point("before-chunks")
                verdicts = self._append(rows)
                self._world.crash_point("after-chunks")
                return verdicts
            except StoreUnreachable:
                with self._changed:
                    if self._closed:
                        raise
                    self._changed.wait(pause)
                pause = min(2 * pause, longest)

    def _fail(self, spool: Spool, failure: Callable[[], BaseException]) -> None:
        """What it has written besides goes, too: there is no gap before a later chunk."""
        with self._changed:
            spool.failure = spool.failure or failure
            if spool in self._waiting:
                self._waiting.remove(spool)
                self._bytes -= _size_of(spool.entries)
            spool.entries = []

    def _tell(self, spool: Spool) -> None:
        with self._changed:
            room, stored = spool.has_room or self._closed, spool.is_stored or self._closed
            calls = [call for needs, call in spool.calls if (stored if needs else room)]
            spool.calls = [each for each in spool.calls if not (stored if each[0] else room)]
        if spool.told is not None:
            spool.told(spool.stored)
        for call in calls:
            try:
                call()
            except Exception:  # noqa: BLE001  whatever it was, others are to be told
                _log.exception("an attempt that has written to a stream could not be told that it is stored")


def _size_of(entries: "Sequence[tuple[str, Chunk | None]]") -> int:
    return sum(len(chunk.value.data) + STREAM_CHUNK_COSTS_BYTES for _, chunk in entries if chunk is not None)


def _flooded(stream: str) -> StreamFull:
    return StreamFull(
        f"{STREAM_UNSTORED_MOST_BYTES // 2**20} MiB that were written to the stream {stream!r} and others wait to be stored; "
        "write: await stream(...).write(...), which waits until there is room"
    )


def _raising(error: BaseException) -> Callable[[], BaseException]:
    return lambda: error.with_traceback(None)


def _unwanted() -> BaseException:
    return asyncio.CancelledError("the activity was cancelled, or its time has run out: what it writes is not wanted")


def _refusal(verdict: Verdict, stream: str) -> Callable[[], BaseException]:
    match verdict:
        case "closed":
            return lambda: closed(stream)
        case "full":
            return lambda: full(stream)
        case "too-many":
            return lambda: too_many(stream)
        case _:
            return _unwanted
