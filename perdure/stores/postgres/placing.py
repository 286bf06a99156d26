"""Runs that come from elsewhere are put in by one transaction of several statements, since their streams may be larger than
memory. Nobody waits for it but whoever wants one of their ids."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import psycopg

from perdure.kernel.streams import ChunkRow
from perdure.stores.base import MailRow, Placed
from perdure.stores.postgres.lines import Row
from perdure.stores.postgres.rows import attribute_columns, mail_columns
from perdure.stores.postgres.texts import to_json
from perdure.stores.streaming import StreamRow

CHUNK_ROWS = 64
"""So many rows of streams are sent at a time: each may have some tens of kilobytes."""

_RUNS = "SELECT * FROM perdure.place(%t::jsonb)"
_REST = "SELECT perdure.write_rest(%t::jsonb), perdure.end_rest(%t::jsonb, 0)"
_HISTORY = "INSERT INTO perdure.history (run, seq, events) VALUES (%b, 1, %b)"
_BLOBS = "INSERT INTO perdure.blobs SELECT %b::bigint, * FROM unnest(%b::bytea[], %b::bytea[])"
_STREAM = (
    "INSERT INTO perdure.streams (run, name, chunks, size_bytes, closed_by, closed_in) VALUES (%b, %b, %b, %b, %b, %b) "
    "RETURNING id"
)
_CHUNKS = (
    "INSERT INTO perdure.chunks SELECT * FROM "
    "unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::bytea[])"
)


class Taken(Exception):
    """Ids of runs to be placed belong to others."""

    def __init__(self, fates: list[bool | None]) -> None:
        super().__init__()
        self.fates = fates


def place(connection: psycopg.Connection[Row], runs: Sequence[Placed]) -> list[bool | None]:
    """Within a transaction.

    Raises:
        Taken: and the transaction is to be rolled back.
    """
    found = _ask(connection, _RUNS, to_json([run.row for run in runs]))
    fates: list[bool | None] = [is_new for _, is_new in found]
    if None in fates:
        raise Taken(fates)
    for run, (key, is_new) in zip(runs, found, strict=True):
        if is_new:
            _fill(connection, key, run)
    return fates


def _fill(connection: psycopg.Connection[Row], key: int, run: Placed) -> None:
    if run.history is not None:
        _ask(connection, _HISTORY, key, run.history)
    rest = {
        "attempts": [msgspec.structs.replace(row, run=key) for row in run.attempts],
        "attributes": attribute_columns([(key, each) for each in run.attributes]),
        "updates": [msgspec.structs.replace(row, run=key) for row in run.updates],
        "published": [msgspec.structs.replace(row, run=key) for row in run.published],
        "human": [msgspec.structs.replace(row, run=key) for row in run.human],
        "mail_kept": [mail_columns(MailRow(0, key, message)) for message in run.mail],
    }
    text = to_json({name: rows for name, rows in rest.items() if rows})
    _ask(connection, _REST, text, text)
    if run.blobs:
        _ask(connection, _BLOBS, key, [digest for digest, _ in run.blobs], [data for _, data in run.blobs])
    _put_streams(connection, key, run.streams, run.chunks)


def _put_streams(
    connection: psycopg.Connection[Row], key: int, streams: Sequence[StreamRow], chunks: Iterable[ChunkRow]
) -> None:
    ids: dict[str, int] = {}
    for row in streams:
        closed = (None, None) if row.closed_by is None else row.closed_by
        ids[row.name] = _ask(connection, _STREAM, key, row.name, row.chunks, row.size_bytes, *closed)[0][0]
    firsts = dict.fromkeys(ids, 0)
    for some in _few(chunks):
        columns: list[Row] = []
        for row in some:
            columns.append((ids[row.stream], firsts[row.stream], row.count, row.step, row.attempt, row.body))
            firsts[row.stream] += row.count
        _ask(connection, _CHUNKS, *map(list, zip(*columns, strict=True)))


def _few(chunks: Iterable[ChunkRow]) -> Iterator[list[ChunkRow]]:
    rest = iter(chunks)
    while some := list(islice(rest, CHUNK_ROWS)):
        yield some


def _ask(connection: psycopg.Connection[Row], sql: str, *values: Any) -> list[Row]:
    cursor = connection.execute(sql.encode(), values, binary=True)
    return cursor.fetchall() if cursor.description is not None else []
