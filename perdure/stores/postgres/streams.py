"""Streams of runs: chunks of attempts come by themselves, and anybody reads."""

from collections.abc import Sequence

from perdure.kernel.limits import STREAM_BYTES, STREAM_CHUNKS, STREAMS
from perdure.kernel.streams import ChunkRow
from perdure.stores.base import OwnershipLost
from perdure.stores.postgres.journal import PostgresJournal
from perdure.stores.postgres.lines import Line, Lines
from perdure.stores.postgres.texts import to_json
from perdure.stores.postgres.trouble import told_to_people
from perdure.stores.streaming import Bell, Page, PageRow, StreamRow, Verdict

_APPEND = "SELECT perdure.append_chunks(%b::bigint, %b::bigint, %t::jsonb, %b::bigint, %b::bigint, %b::bigint)"
_OF_RUN = "SELECT name, chunks, size_bytes, closed_by, closed_in FROM perdure.streams WHERE run = %b ORDER BY id"
_PAGE = "SELECT * FROM perdure.page(%b::bigint, %b, %b::bigint, %b::bigint)"


class PostgresStreams:
    def __init__(self, place: str, lines: Lines, journal: PostgresJournal) -> None:
        self._place = place
        self._lines = lines
        self._journal = journal
        self.bell = Bell()

    def append(self, rows: Sequence[ChunkRow], member: int = 0) -> list[Verdict]:
        me = self._journal.member
        if not member and not me:
            raise OwnershipLost(f"{self._place}: this store does not own")
        values = (me, member, to_json(rows), STREAMS, STREAM_CHUNKS, STREAM_BYTES)
        with told_to_people(self._place), self._lines.use() as line:
            verdicts: list[Verdict] = [verdict for (verdict,) in line.ask(_APPEND, values)]
        self.bell.ring(row.run for row in rows)
        return verdicts

    def of_run(self, run: int) -> list[StreamRow]:
        with told_to_people(self._place), self._lines.use() as line:
            return of_run(line, run)

    def page(self, run: int, stream: str, offset: int, most_bytes: int) -> Page:
        with told_to_people(self._place), self._lines.use() as line:
            answer = line.read(_PAGE, (run, stream, offset, most_bytes))
        (head, ended, *_), *found = answer or [(0, False)]
        return Page([PageRow(first, step, attempt, body) for first, _, step, attempt, body in found], head, ended)


def of_run(line: Line, run: int) -> list[StreamRow]:
    return [
        StreamRow(name, chunks, size, None if closed_by is None else (closed_by, closed_in))
        for name, chunks, size, closed_by, closed_in in line.read(_OF_RUN, (run,))
    ]
