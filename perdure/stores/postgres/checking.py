"""A deep check: every run beside its history, read once in the order of keys. At no time more than one run is in memory, however
many there are; what others commit meanwhile is not seen."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec
import psycopg

from perdure.kernel import wire
from perdure.kernel.project import HistoryRow
from perdure.stores.health import lost_rows, problems_of, unreadable_mail
from perdure.stores.postgres.human import COLUMNS as HUMAN_COLUMNS
from perdure.stores.postgres.human import human_row
from perdure.stores.postgres.lines import Row
from perdure.stores.postgres.rows import RUN_COLUMNS, attributes_of, run_row

ISOLATION = b"REPEATABLE READ, READ ONLY"
ROWS = 500
"""So many are fetched at a time."""

_RUNS = f"SELECT {RUN_COLUMNS} FROM perdure.runs ORDER BY key"
_HISTORY = "SELECT run, seq, events FROM perdure.history ORDER BY run, seq"
_ATTRIBUTES = "SELECT run, name, kind, text, number, float FROM perdure.attributes ORDER BY run, name, item"
_STREAMED = (
    "SELECT s.run, s.name, sum(c.count)::bigint FROM perdure.streams s JOIN perdure.chunks c ON c.stream = s.id "
    "WHERE c.step = '' GROUP BY s.run, s.name ORDER BY s.run"
)
_HUMAN = f"SELECT {HUMAN_COLUMNS} FROM perdure.human ORDER BY run, step"
# A row that does not begin where the one before it ends; and a stream that counts other chunks than its rows have.
_GAPS = (
    "SELECT s.run, s.name FROM perdure.streams s JOIN (SELECT stream, first, coalesce(sum(count) OVER ("
    "PARTITION BY stream ORDER BY first ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS expected "
    "FROM perdure.chunks) AS c ON c.stream = s.id WHERE c.first <> c.expected "
    "UNION SELECT s.run, s.name FROM perdure.streams s WHERE s.chunks <> "
    "(SELECT coalesce(sum(c.count), 0) FROM perdure.chunks c WHERE c.stream = s.id) ORDER BY 1, 2"
)
_LOST_CHUNKS = (
    "SELECT count(*) FROM perdure.chunks c WHERE NOT EXISTS (SELECT 1 FROM perdure.streams s WHERE s.id = c.stream)"
)
_LOST = (
    "SELECT DISTINCT t.run FROM perdure.{table} t WHERE NOT EXISTS (SELECT 1 FROM perdure.runs r WHERE r.key = t.run) "
    "ORDER BY 1"
)
_MAIL = "SELECT id, run, body FROM perdure.mail ORDER BY id"
_OF_RUNS = (
    "history",
    "attempts",
    "attributes",
    "tasks",
    "human",
    "streams",
    "writers",
    "blobs",
    "updates",
    "published",
    "mail",
)


def problems(connection: psycopg.Connection[Row]) -> Iterator[str]:
    """One line for each, within a transaction that sees one state of the database."""
    history = _ByRun(_rows(connection, "histories", _HISTORY))
    attributes = _ByRun(_rows(connection, "attributes", _ATTRIBUTES))
    streamed = _ByRun(_rows(connection, "streamed", _STREAMED))
    human = _ByRun(_rows(connection, "human", _HUMAN))
    for columns in _rows(connection, "runs", _RUNS):
        row = run_row(columns)
        yield from problems_of(
            row,
            [HistoryRow(*part) for part in history.of(row.key)],
            attributes_of(attributes.of(row.key)).get(row.key, {}),
            {name: count for _, name, count in streamed.of(row.key)},
            [human_row(task) for task in human.of(row.key)],
        )
    for run, name in _rows(connection, "gaps", _GAPS):
        yield f"the stream {name!r} of the run with key {run} has other offsets than the chunks it counts"
    for (lost,) in _rows(connection, "chunks", _LOST_CHUNKS):
        if lost:
            yield f"chunks: {lost:,} rows of a stream that does not exist"
    for table in _OF_RUNS:
        for (run,) in _rows(connection, f"lost_{table}", _LOST.format(table=table)):
            yield lost_rows(table, run)
    for id, run, body in _rows(connection, "mail", _MAIL):
        try:
            wire.decode_mail(body)
        except msgspec.MsgspecError:
            yield unreadable_mail(id, run)


def _rows(connection: psycopg.Connection[Row], name: str, sql: str) -> Iterator[Row]:
    with connection.cursor(name, binary=True) as cursor:
        cursor.itersize = ROWS
        cursor.execute(sql.encode())
        yield from cursor


class _ByRun:
    """Rows that begin with the key of their run, in its order: those of one run after the other."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._groups = groupby(rows, key=lambda row: row[0])
        self._next = next(self._groups, None)

    def of(self, key: int) -> list[Row]:
        """Asked with keys that grow; rows of runs that are not asked for are passed over."""
        while self._next is not None and self._next[0] < key:
            self._next = next(self._groups, None)
        if self._next is None or self._next[0] > key:
            return []
        return list(self._next[1])
