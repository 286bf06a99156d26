"""Streams of a run, followed from outside: from any offset, by any process that has the database."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from perdure.calls import Scheduler
from perdure.client.answer import beside
from perdure.client.door import Door, looking, patience_of
from perdure.client.moments import moment
from perdure.client.patience import NONE, Trying
from perdure.errors import DefinitionError, NotDeterministic, PayloadNotDecodable, PerdureError
from perdure.kernel import wire
from perdure.kernel.limits import STREAM_PAGE_BYTES
from perdure.payload import ValueType
from perdure.stores.base import Store
from perdure.stores.health import told_as_damage
from perdure.stores.streaming import Page

T = TypeVar("T")

_LOOK_SECONDS = (0.01, 0.2)
"""How often somebody who follows looks into the database: at first, and when nothing has come for a while."""


class StreamChunk(msgspec.Struct, Generic[T], frozen=True):
    """One value of a stream. `offset` counts from 0.

    `attempt` is that of the activity that has written it, `step` where that is in the run: a larger attempt of the same step
    than before begins anew, after what the one that failed has written. Those of the workflow itself have 0 and "".
    """

    offset: int
    value: T
    attempt: int
    at: datetime
    step: str = ""


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream of a run, and what it holds. `closed`: nothing will come any more."""

    name: str
    chunks: int
    size_bytes: int
    closed: bool


class Following(Generic[T]):
    """The chunks of a stream from an offset on, as they come: `async for`, or `for` in code without a loop. It ends when the
    stream is closed, or its run has ended. Each loop over it begins at its offset."""

    __slots__ = ("_door", "_find", "_follow", "_from", "_name", "_type")

    def __init__(
        self, door: Door, find: Callable[[], int], name: str, from_offset: int, follow: bool, type: Any
    ) -> None:
        self._door = door
        self._find = find
        self._name = name
        self._from = _checked_offset(from_offset)
        self._follow = follow
        self._type = None if type is Any else ValueType.of(type, owner=f"stream {name!r}", noun="the chunk")

    async def __aiter__(self) -> AsyncIterator[StreamChunk[T]]:
        self._demand_no_workflow()
        loop = asyncio.get_running_loop()
        rung = asyncio.Event()

        def ring() -> None:
            try:
                loop.call_soon_threadsafe(rung.set)
            except RuntimeError:
                return  # the loop is closed: nobody follows any more

        reader = _Reader(self, ring)
        try:
            while True:
                rung.clear()
                for chunk in await beside(reader.next):
                    yield chunk
                if reader.ended:
                    return
                if reader.pause:
                    try:
                        async with asyncio.timeout(reader.pause):
                            await rung.wait()
                    except TimeoutError:
                        pass
        finally:
            reader.stop()

    def __iter__(self) -> Iterator[StreamChunk[T]]:
        self._demand_no_workflow()
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "this loop would stop the event loop of this thread; write: async for chunk in handle.stream(...)"
            )
        return self._chunks()

    def _chunks(self) -> Iterator[StreamChunk[T]]:
        rung = threading.Event()
        reader = _Reader(self, rung.set)
        try:
            while True:
                rung.clear()
                yield from reader.next()
                if reader.ended:
                    return
                if reader.pause:
                    rung.wait(reader.pause)
        finally:
            reader.stop()

    def _demand_no_workflow(self) -> None:
        if isinstance(asyncio._get_running_loop(), Scheduler):
            raise NotDeterministic(
                "handle.stream() cannot be read in a workflow: what it gives is not recorded; read it in an activity"
            )

    def __repr__(self) -> str:
        return f"<stream {self._name!r} from offset {self._from:,}>"


class _Reader:
    """Where somebody is in a stream. `pause`: how long to wait, unless the bell rings, until `next` is called again."""

    def __init__(self, following: "Following[Any]", ring: Callable[[], object]) -> None:
        self._of = following
        self._ring = ring
        self._offset = following._from
        self._run = 0
        self._stop: Callable[[], None] | None = None
        self._patience = patience_of(following._door, endless=True) if following._follow else NONE
        self._trying: Trying | None = None
        self.ended = False
        self.pause = 0.0

    def stop(self) -> None:
        if self._stop is not None:
            self._stop()

    def next(self) -> list[StreamChunk[Any]]:
        """What there is since the last call; nothing, if the database is away and comes back. Raises: what a handle's methods do."""
        try:
            chunks = self._next()
        except PerdureError as error:
            trying = self._trying = self._trying or Trying(self._patience)
            trying.again(error)
            self.pause = trying.failed(error)
            return []
        if self._trying is not None:
            self._trying = self._trying.over(None)
        return chunks

    def _next(self) -> list[StreamChunk[Any]]:
        of = self._of
        of._door.demand_open()
        if self._stop is None:
            self._run = looking(of._door, of._find)
            self._stop = of._door.store.streams.bell.listen(self._run, self._ring)
        page = looking(
            of._door, lambda: of._door.store.streams.page(self._run, of._name, self._offset, STREAM_PAGE_BYTES)
        )
        chunks = [] if not page.rows else self._decoded(page)
        if chunks:
            self._offset = chunks[-1].offset + 1
        self.ended = self._offset >= page.head and (page.ended or not of._follow)
        self.pause = _pause(0.0 if chunks else self.pause, self._offset < page.head)
        return chunks

    def _decoded(self, page: Page) -> list[StreamChunk[Any]]:
        decode, plain = self._decode, self._of._door.coder.unseal
        with told_as_damage(f"stream {self._of._name}"):
            return [
                StreamChunk(
                    offset, decode(offset, plain(chunk.value, _nowhere)), row.attempt, moment(chunk.at), row.step
                )
                for row in page.rows
                for offset, chunk in enumerate(wire.decode_chunks(row.body), row.first)
                if offset >= self._offset
            ]

    def _decode(self, offset: int, data: bytes) -> Any:
        kind = self._of._type
        if kind is None:
            return msgspec.json.decode(data)
        try:
            return kind.decode(data)
        except PayloadNotDecodable as error:
            raise PayloadNotDecodable(f"offset {offset:,} of {error}") from error.__cause__


def _pause(before: float, more: bool) -> float:
    first, longest = _LOOK_SECONDS
    return 0.0 if more else min(max(before * 1.5, first), longest)


def _nowhere(digest: bytes) -> bytes:
    raise PayloadNotDecodable("a chunk that is kept apart, which no version writes; the database is damaged")


def _checked_offset(offset: Any) -> int:
    if isinstance(offset, int) and not isinstance(offset, bool) and 0 <= offset < 2**63:
        return offset
    raise DefinitionError(
        f"a stream is read from an offset of 0 or more, not from {offset!r}; the last one read, plus 1, goes on after it"
    )


def streams_of(store: Store, run: int, ended: bool) -> list[StreamInfo]:
    """Those of a run, in the order of their first chunks."""
    return [StreamInfo(row.name, row.chunks, row.size_bytes, row.closed or ended) for row in store.streams.of_run(run)]
