"""Bugs in how what attempts write to streams is stored, planted into the store in memory and into the runtime."""

from collections.abc import Sequence
from typing import Any

from pytest import MonkeyPatch

from perdure.errors import StoreUnreachable
from perdure.kernel.streams import ChunkRow
from perdure.runtime.outflow import Outflow, Spool
from perdure.stores import memory_streams
from perdure.stores.memory_streams import MemoryStreams, put_chunks
from perdure.stores.streaming import Verdict
from tests.simulation.mutants import Mutants, planter

MUTANTS: Mutants = {}
mutant = planter(MUTANTS)


@mutant("tales")
def nothing_is_known_again(patch: MonkeyPatch) -> None:
    """what is brought twice is stored twice."""
    patch.setattr(memory_streams, "known_verdict", lambda row, attempt, number: None)


@mutant("tales", "cancel tales")
def runs_that_have_ended_are_written_to(patch: MonkeyPatch) -> None:
    """a stream grows when its run has ended."""

    def append(self: MemoryStreams, row: ChunkRow, member: int) -> Verdict:
        run = self._shelf.runs.get(row.run)
        if run is not None and run.closed_at is not None:
            put_chunks(self._shelf, row)
            return ""
        return right(self, row, member)

    right = MemoryStreams._append
    patch.setattr(MemoryStreams, "_append", append)


@mutant("tales")
def what_is_not_answered_counts_as_stored(patch: MonkeyPatch) -> None:
    """rows are not brought again when the store has not answered."""

    def stored(self: Outflow, rows: Sequence[ChunkRow]) -> Sequence[Verdict]:
        try:
            return self._append(rows)
        except StoreUnreachable:
            return [""] * len(rows)

    patch.setattr(Outflow, "_stored", stored)


@mutant("tales")
def nobody_waits_until_it_is_stored(patch: MonkeyPatch) -> None:
    """an attempt ends before what it has written is stored."""
    patch.setattr(Spool, "is_stored", property(lambda self: True))


@mutant("tales")
def rows_are_counted_anew(patch: MonkeyPatch) -> None:
    """what an attempt brings later has the numbers of what it has brought first."""
    rows = Outflow._rows

    def anew(self: Outflow, spool: Spool, entries: Any) -> list[ChunkRow]:
        spool.rows = 0
        return rows(self, spool, entries)

    patch.setattr(Outflow, "_rows", anew)


@mutant("tales")
def the_last_comes_first(patch: MonkeyPatch) -> None:
    """what is stored together is stored the other way round."""
    rows = Outflow._rows
    patch.setattr(Outflow, "_rows", lambda self, spool, entries: rows(self, spool, entries[::-1]))


@mutant("tales")
def what_is_brought_again_has_other_numbers(patch: MonkeyPatch) -> None:
    """rows get new numbers when the store has not answered."""
    append = MemoryStreams.append
    seen: dict[tuple[int, str, int], int] = {}

    def renumbered(self: MemoryStreams, rows: Sequence[ChunkRow], member: int = 0) -> list[Verdict]:
        for row in rows:
            attempt = (row.run, row.step, row.attempt)
            row.number = self._shelf.writers.get(attempt[:2], (0, 0))[1] + 1 if attempt in seen else row.number
            seen[attempt] = row.number
        return [each for row in rows for each in append(self, [row], member)]

    patch.setattr(MemoryStreams, "append", renumbered)
