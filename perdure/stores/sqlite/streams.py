"""Streams in a file: chunks come in the owner's batches, and from whoever makes attempts; anybody reads them."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from perdure.kernel.streams import ChunkRow
from perdure.stores.base import OwnershipLost
from perdure.stores.sqlite.lines import Line, Readers
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.trouble import told_to_people
from perdure.stores.streaming import Bell, Page, PageRow, StreamRow, Verdict, demand_unclosed, known_verdict, verdict_of

_FIND = "SELECT id, chunks, size_bytes, closed_by, closed_in FROM streams WHERE run = ? AND name = ?"
_OF_RUN = "SELECT name, chunks, size_bytes, closed_by, closed_in FROM streams WHERE run = ? ORDER BY id"
_PLACE = "INSERT INTO streams (run, name, chunks, size_bytes, closed_by, closed_in) VALUES (?, ?, ?, ?, ?, ?)"
_MAKE = "INSERT INTO streams (run, name, chunks, size_bytes) VALUES (?, ?, 0, 0)"
_GROW = "UPDATE streams SET chunks = ?, size_bytes = ?, closed_by = ?, closed_in = ? WHERE id = ?"
_PUT = "INSERT INTO chunks (stream, first, count, step, attempt, body) VALUES (?, ?, ?, ?, ?, ?)"
_LAST = "SELECT attempt, number FROM writers WHERE run = ? AND step = ?"
_COUNT = "INSERT OR REPLACE INTO writers VALUES (?, ?, ?, ?)"
_IS_OPEN = "SELECT 1 FROM runs WHERE key = ? AND closed_at IS NULL"
_IS_TAKEN = "SELECT 1 FROM tasks WHERE run = ? AND step = ? AND attempt = ? AND member = ?"
# The row that holds the offset is the last one that begins at it or before.
_PAGE = (
    "SELECT first, step, attempt, body FROM chunks WHERE stream = ? AND first >= coalesce("
    "(SELECT max(first) FROM chunks WHERE stream = ? AND first <= ?), 0) AND first + count > ? ORDER BY first"
)
_OWN = "SELECT name, sum(count) FROM streams JOIN chunks ON stream = id WHERE run = ? AND step = '' GROUP BY name"
# A row that does not begin where the one before it ends; and a stream that counts other chunks than its rows have.
_GAPS = (
    "SELECT run, name FROM streams JOIN (SELECT stream, first, "
    "coalesce(sum(count) OVER (PARTITION BY stream ORDER BY first ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) "
    "AS expected FROM chunks) ON stream = id WHERE first <> expected "
    "UNION SELECT run, name FROM streams "
    "WHERE chunks <> (SELECT coalesce(sum(count), 0) FROM chunks WHERE stream = streams.id)"
)
_LOST = "SELECT count(*) FROM chunks WHERE stream NOT IN (SELECT id FROM streams)"


class _Found:
    """A stream as it lies there."""

    __slots__ = ("id", "row")

    def __init__(self, name: str, columns: Sequence[int | str | None]) -> None:
        id, chunks, size_bytes, closed_by, closed_in = columns
        self.id = id
        self.row = StreamRow(name, chunks, size_bytes, None if closed_by is None else (closed_by, closed_in))  # type: ignore[arg-type]


class SqliteStreams:
    def __init__(self, path: str, line: Line, readers: Readers, lock: OwnerLock) -> None:
        self._path = path
        self._line = line
        self._readers = readers
        self._lock = lock
        self.bell = Bell()

    def append(self, rows: Sequence[ChunkRow], member: int = 0) -> list[Verdict]:
        if not member and not self._lock.held:
            raise OwnershipLost(f"{self._path}: this store does not own the database")
        with told_to_people(self._path), self._line.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            verdicts: list[Verdict] = [_append(connection, row, member) for row in rows]
            connection.execute("COMMIT")
        self.bell.ring(row.run for row in rows)
        return verdicts

    def of_run(self, run: int) -> list[StreamRow]:
        with told_to_people(self._path), self._readers.use() as connection:
            return of_run(connection, run)

    def page(self, run: int, stream: str, offset: int, most_bytes: int) -> Page:
        with told_to_people(self._path), self._readers.snapshot() as connection:
            run_ended = connection.execute(_IS_OPEN, (run,)).fetchone() is None
            found = _found(connection, run, stream)
            if found is None:
                return Page([], 0, run_ended)
            page = Page([], found.row.chunks, found.row.closed or run_ended)
            size = 0
            if offset >= page.head:
                return page
            cursor = connection.execute(_PAGE, (found.id, found.id, offset, offset))
            for columns in cursor:
                size += len(columns[3])
                if page.rows and size > most_bytes:
                    break
                page.rows.append(PageRow(*columns))
            cursor.close()
            return page

    def close(self) -> None:
        self._line.close()


def of_run(connection: sqlite3.Connection, run: int) -> list[StreamRow]:
    found = connection.execute(_OF_RUN, (run,)).fetchall()
    return [_Found(name, (0, *columns)).row for name, *columns in found]


def place(connection: sqlite3.Connection, key: int, streams: Sequence[StreamRow], chunks: Iterable[ChunkRow]) -> None:
    """Streams of a run that comes from elsewhere; `chunks` one after the other, as they are read."""
    ids: dict[str, int | None] = {}
    for row in streams:
        closed = (None, None) if row.closed_by is None else row.closed_by
        ids[row.name] = connection.execute(_PLACE, (key, row.name, row.chunks, row.size_bytes, *closed)).lastrowid
    firsts = dict.fromkeys(ids, 0)
    for row in chunks:
        first = firsts[row.stream]
        connection.execute(_PUT, (ids[row.stream], first, row.count, row.step, row.attempt, row.body))
        firsts[row.stream] = first + row.count


def _found(connection: sqlite3.Connection, run: int, name: str) -> _Found | None:
    columns = connection.execute(_FIND, (run, name)).fetchone()
    return None if columns is None else _Found(name, columns)


def _append(connection: sqlite3.Connection, row: ChunkRow, member: int) -> Verdict:
    if connection.execute(_IS_OPEN, (row.run,)).fetchone() is None:
        return "unwanted"
    if member and connection.execute(_IS_TAKEN, (row.run, row.step, row.attempt, member)).fetchone() is None:
        return "unwanted"
    if row.number:
        last = connection.execute(_LAST, (row.run, row.step)).fetchone() or (0, 0)
        known = known_verdict(row, *last)
        if known is not None:
            return known
    found = _found(connection, row.run, row.stream)
    if found is None:
        many = connection.execute("SELECT count(*) FROM streams WHERE run = ?", (row.run,)).fetchone()[0]
        verdict = verdict_of(row, None, many)
    else:
        verdict = verdict_of(row, found.row, 0)
    if not verdict:
        _put(connection, row, found)
        if row.number:
            connection.execute(_COUNT, (row.run, row.step, row.attempt, row.number))
    return verdict


def put(connection: sqlite3.Connection, rows: Sequence[ChunkRow]) -> None:
    """Rows of the owner's, within its transaction; full streams take them, too.

    Raises:
        CommitRefused: an activity has closed the stream.
    """
    for row in rows:
        found = _found(connection, row.run, row.stream)
        demand_unclosed(row, found and found.row)
        _put(connection, row, found)


def _put(connection: sqlite3.Connection, row: ChunkRow, found: _Found | None) -> None:
    if found is None:
        id = connection.execute(_MAKE, (row.run, row.stream)).lastrowid
        first = size = 0
    else:
        id, first, size = found.id, found.row.chunks, found.row.size_bytes
    closed = (row.step, row.attempt) if row.closes else (None, None)
    connection.execute(_GROW, (first + row.count, size + row.size_bytes, *closed, id))
    if row.count:
        connection.execute(_PUT, (id, first, row.count, row.step, row.attempt, row.body))


def own_counts(connection: sqlite3.Connection, run: int) -> dict[str, int]:
    """Of each stream, how many chunks the workflow itself has written."""
    return dict(connection.execute(_OWN, (run,)).fetchall())


def contradictions(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with streams by themselves."""
    for run, name in connection.execute(_GAPS).fetchall():
        yield f"the stream {name!r} of the run with key {run} has other offsets than the chunks it counts"
    lost = connection.execute(_LOST).fetchone()[0]
    if lost:
        yield f"chunks: {lost:,} rows of a stream that does not exist"
