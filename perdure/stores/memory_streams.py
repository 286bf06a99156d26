"""Streams of a store in memory: what it means to append, and to follow."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING

from perdure.kernel.streams import ChunkRow
from perdure.stores import base, streaming
from perdure.stores.streaming import Page, PageRow, StreamRow, Verdict, known_verdict, verdict_of

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf


class HeldStream:
    """One stream, whole."""

    def __init__(self, name: str) -> None:
        self.row = StreamRow(name, 0, 0)
        self.parts: list[tuple[int, ChunkRow]] = []

    def put(self, row: ChunkRow) -> None:
        if row.count:
            self.parts.append((self.row.chunks, row))
        self.row.chunks += row.count
        self.row.size_bytes += row.size_bytes
        self.row.closed_by = (row.step, row.attempt) if row.closes else None

    def own(self) -> int:
        """How many of its chunks the workflow itself has written."""
        return sum(row.count for _, row in self.parts if not row.step)


def put_chunks(shelf: "Shelf", row: ChunkRow) -> None:
    shelf.streams.setdefault(row.run, {}).setdefault(row.stream, HeldStream(row.stream)).put(row)


def demand_unclosed(shelf: "Shelf", rows: Sequence[ChunkRow]) -> None:
    """Raises base.CommitRefused if a workflow writes to what an activity has closed."""
    for row in rows:
        held = shelf.streams.get(row.run, {}).get(row.stream)
        streaming.demand_unclosed(row, held and held.row)


def place(shelf: "Shelf", key: int, streams: Sequence[StreamRow], chunks: Iterable[ChunkRow]) -> None:
    """Streams of a run that comes from elsewhere."""
    held = {row.name: HeldStream(row.name) for row in streams}
    for row in chunks:
        held[row.stream].put(row)
    for row in streams:
        held[row.name].row = copy(row)
    if held:
        shelf.streams[key] = held


class MemoryStreams:
    def __init__(self, shelf: "Shelf", owns: Callable[[], bool]) -> None:
        self._shelf = shelf
        self._owns = owns
        self.bell = shelf.bell

    def append(self, rows: Sequence[ChunkRow], member: int = 0) -> list[Verdict]:
        shelf = self._shelf
        with shelf.lock:
            if not member and not self._owns():
                raise base.OwnershipLost("this handle does not own the store")
            verdicts: list[Verdict] = [self._append(row, member) for row in rows]
        self.bell.ring(row.run for row in rows)
        return verdicts

    def _append(self, row: ChunkRow, member: int) -> Verdict:
        shelf = self._shelf
        task = shelf.tasks.get((row.run, row.step))
        taken = task is not None and (task.attempt, task.member) == (row.attempt, member)
        run = shelf.runs.get(row.run)
        if run is None or run.closed_at is not None or (member and not taken):
            return "unwanted"
        known = known_verdict(row, *shelf.writers.get((row.run, row.step), (0, 0)))
        if known is not None:
            return known
        of_run = shelf.streams.get(row.run, {})
        held = of_run.get(row.stream)
        verdict = verdict_of(row, held and held.row, len(of_run))
        if not verdict:
            put_chunks(shelf, row)
            if row.number:
                shelf.writers[row.run, row.step] = (row.attempt, row.number)
        return verdict

    def of_run(self, run: int) -> list[StreamRow]:
        with self._shelf.lock:
            return [copy(held.row) for held in self._shelf.streams.get(run, {}).values()]

    def page(self, run: int, stream: str, offset: int, most_bytes: int) -> Page:
        shelf = self._shelf
        with shelf.lock:
            row = shelf.runs.get(run)
            run_ended = row is None or row.closed_at is not None
            held = shelf.streams.get(run, {}).get(stream)
            if held is None:
                return Page([], 0, run_ended)
            rows: list[PageRow] = []
            size = 0
            for first, part in held.parts:
                if first + part.count > offset and (not rows or size + len(part.body) <= most_bytes):
                    rows.append(PageRow(first, part.step, part.attempt, part.body))
                    size += len(part.body)
                elif rows:
                    break
            return Page(rows, held.row.chunks, held.row.closed or run_ended)
