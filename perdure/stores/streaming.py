"""The part of a store that keeps streams: named, append-only outputs of runs, each chunk at an offset that counts from 0.

The workflow's own chunks are written by the owner, in the batch that records that they are (`Batch.chunks`). Those of
attempts come by `Streams.append` from whichever process makes the attempt, many together.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from perdure.kernel.limits import STREAM_BYTES, STREAM_CHUNKS, STREAMS
from perdure.kernel.streams import ChunkRow
from perdure.stores.refusing import CommitRefused


class StreamRow(msgspec.Struct):
    """A stream of a run: how much it holds. `closed_by`: the step and the attempt that have said that nothing comes any more,
    ("", 0) is the workflow; that of a run that has ended says nothing about it, and it is closed all the same."""

    name: str
    chunks: int
    size_bytes: int
    closed_by: tuple[str, int] | None = None

    @property
    def closed(self) -> bool:
        return self.closed_by is not None


class PageRow(msgspec.Struct):
    """Chunks of a stream from the offset `first` on, as a `ChunkRow` has them."""

    first: int
    step: str
    attempt: int
    body: bytes


class Page(msgspec.Struct):
    """Chunks that hold an offset or come after it, in order; the first row may begin before it.

    `head` is the offset the next chunk of the stream gets. `ended`: none will come, the stream is closed, or its run is.
    """

    rows: list[PageRow]
    head: int
    ended: bool


Verdict: TypeAlias = Literal["", "unwanted", "closed", "full", "too-many"]
"""What became of chunks: "" they are stored. "unwanted": their attempt is not under way any more, or their run has ended.
"closed": their stream is. "full": they would be too many for it. "too-many": it would be one stream too many for the run.
"""


class Streams(Protocol):
    """Written by whoever makes attempts, read by anybody; from any thread."""

    bell: "Bell"

    def append(self, rows: Sequence[ChunkRow], member: int = 0) -> list[Verdict]:
        """Chunks of attempts, in one small transaction; what became of each row, in their order.

        With `member`, a worker of queues, the attempt's task must be with that still. Without, this store must own.
        A stream that an attempt has closed is open again to the later attempts of the same step.

        Rows that have a number are taken in the order of these, each once: whoever does not hear the answer asks again, and what
        was stored is not stored again. That is known while the run is open.

        Raises: OwnershipLost (base); errors.StoreError.
        """
        ...

    def of_run(self, run: int) -> list[StreamRow]:
        """Its streams, in the order of their first chunks."""
        ...

    def page(self, run: int, stream: str, offset: int, most_bytes: int) -> Page:
        """What there is from an offset on, at least one row if there is one. A stream that is not there yet is empty."""
        ...


def known_verdict(row: ChunkRow, attempt: int, number: int) -> Verdict | None:
    """What a row's number tells: "" it is stored already, "unwanted" one before it is not, or a later attempt of its step has
    written meanwhile; None: it is the next one. The last that was stored is that `number` of that `attempt`, 0 if there is none.
    """
    if not row.number or row.attempt > attempt:
        return None if row.number <= 1 else "unwanted"
    if row.attempt < attempt or row.number > number + 1:
        return "unwanted"
    return "" if row.number <= number else None


UNCLOSED_HINT = (
    "let it write before that, or to a stream of its own, or do not close the stream in the activity; "
    "mended code goes on by itself"
)


def verdict_of(row: ChunkRow, held: StreamRow | None, streams: int) -> Verdict:
    """Whether chunks of an attempt may be appended. `held`: the stream, if it is there; `streams`: how many the run has."""
    if held is None:
        held = StreamRow(row.stream, 0, 0)
        if streams >= STREAMS:
            return "too-many"
    closed_by = held.closed_by
    if closed_by is not None and not (closed_by[0] == row.step and closed_by[1] < row.attempt):
        return "closed"
    if held.chunks + row.count > STREAM_CHUNKS or held.size_bytes + row.size_bytes > STREAM_BYTES:
        return "full"
    return ""


def demand_unclosed(row: ChunkRow, held: StreamRow | None) -> None:
    """A workflow does not write to what one of its activities has closed, whose followers have gone.

    Raises:
        CommitRefused: it does.
    """
    if held is not None and held.closed_by is not None and held.closed_by[0] and row.count and not row.step:
        step, attempt = held.closed_by
        raise CommitRefused(
            f"its workflow writes to the stream {row.stream!r}, which attempt {attempt} of step [{step}] has closed",
            UNCLOSED_HINT,
        )


class Bell:
    """Wakes those who follow streams in this process. It may be late, or silent: followers look by themselves, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[int, list[Callable[[], object]]] = {}

    def listen(self, run: int, call: Callable[[], object]) -> Callable[[], None]:
        """Have `call` called, from any thread, when something has happened to the run. Gives what ends that."""
        with self._lock:
            self._calls.setdefault(run, []).append(call)

        def stop() -> None:
            with self._lock:
                calls = self._calls.get(run, [])
                if call in calls:
                    calls.remove(call)
                if not calls:
                    self._calls.pop(run, None)

        return stop

    def ring(self, runs: Iterable[int]) -> None:
        if not self._calls:
            return  # nearly always
        with self._lock:
            calls = [call for run in set(runs) for call in self._calls.get(run, ())]
        for call in calls:
            call()
