"""What anybody may see, from any thread."""

from collections.abc import Iterable, Sequence
from typing import Any

from perdure.kernel.attributes import Attribute
from perdure.kernel.project import RunRow, TaskRow
from perdure.stores.base import BacklogRow, DefinitionRow, MemberRow, RunFilter, Stored, WorkerRow
from perdure.stores.filtering_sql import conditions
from perdure.stores.postgres import streams
from perdure.stores.postgres.filters import POSTGRES
from perdure.stores.postgres.human import PostgresHumanViews
from perdure.stores.postgres.lines import Lines, Row
from perdure.stores.postgres.rows import RUN_COLUMNS, TASK_COLUMNS, attributes_of, run_row
from perdure.stores.postgres.trouble import told_to_people
from perdure.stores.postgres.work import load

_RUNS = f"SELECT {RUN_COLUMNS} FROM perdure.runs"
_ATTRIBUTES = (
    "SELECT run, name, kind, text, number, float FROM perdure.attributes WHERE run = ANY (%b::bigint[]) "
    "ORDER BY run, name, item"
)
_MEMBER = "id, host, pid, build, started_at"
_OWNERS = (
    f"SELECT {_MEMBER} FROM perdure.members JOIN perdure.beats ON member = id "
    "WHERE alive AND NOT serves AND perdure.is_seen(seen_at, lease) ORDER BY id"
)
_WORKERS = (
    "SELECT w.member, w.queues, w.names, w.beat, coalesce(m.build, '') "
    "FROM perdure.workers w LEFT JOIN perdure.members m ON m.id = w.member "
    "WHERE perdure.is_seen(w.seen_at, w.lease) ORDER BY w.member"
)
_BACKLOG = (
    "SELECT queue, name, count(*) FILTER (WHERE member = 0), count(*) FILTER (WHERE member > 0) FROM perdure.tasks "
    'GROUP BY queue, name ORDER BY queue COLLATE "C", name COLLATE "C"'
)


class PostgresViews:
    def __init__(self, place: str, lines: Lines) -> None:
        self._place = place
        self._lines = lines
        self.human = PostgresHumanViews(place, lines)

    def _read(self, sql: str, *values: Any) -> list[Row]:
        with told_to_people(self._place), self._lines.use() as line:
            return line.read(sql, values)

    def _one(self, where: str, *values: Any) -> RunRow | None:
        found = self._read(f"{_RUNS} WHERE {where}", *values)
        return run_row(found[0]) if found else None

    def row(self, id: str) -> RunRow | None:
        return self._one("id = %b AND followed_by = 0", id)

    def row_of(self, id: str, run_id: bytes) -> RunRow | None:
        return self._one("id = %b AND run_id = %b", id, run_id)

    def row_by_request(self, id: str, request: str) -> RunRow | None:
        return self._one("id = %b AND request = %b AND chain = 0 ORDER BY key + 0 DESC LIMIT 1", id, request)

    def end_of_chain(self, key: int) -> RunRow | None:
        row = self._one("key = %b", key)
        if row is None or row.followed_by <= 0:
            return row
        of_chain, values = "id = %b AND %b::bigint IN (key, chain)", (row.id, row.chain or key)
        # Nearly always it is the newest run of the id. Else by the runs of the id, not by all there are in the order of their keys.
        newest = self._one(f"{of_chain} AND followed_by = 0", *values)
        return newest or self._one(f"{of_chain} ORDER BY key + 0 DESC LIMIT 1", *values)

    def rows_by_key(self, keys: Sequence[int]) -> dict[int, RunRow]:
        found = self._read(f"{_RUNS} WHERE key = ANY (%b::bigint[])", list(keys))
        return {row.key: row for row in map(run_row, found)}

    def attributes(self, keys: Sequence[int]) -> dict[int, dict[str, Attribute]]:
        return attributes_of(self._read(_ATTRIBUTES, list(keys)))

    def search(self, wanted: RunFilter) -> list[RunRow]:
        where, values = conditions(wanted, POSTGRES)
        if wanted.before_key is not None:
            where += " AND key < %b"
            values.append(wanted.before_key)
        found = self._read(f"{_RUNS} WHERE {where} ORDER BY key DESC LIMIT %b", *values, wanted.limit)
        return list(map(run_row, found))

    def count(self, wanted: RunFilter, limit: int = 10_001) -> int:
        where, values = conditions(wanted, POSTGRES)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM perdure.runs WHERE {where} LIMIT %b) AS found"
        found = self._read(sql, *values, limit)
        return found[0][0] if found else 0

    def prefixed(self, id_prefix: str, limit: int = 10) -> list[str]:
        where, values = conditions(RunFilter(id_prefix=id_prefix), POSTGRES)
        sql = f"SELECT id FROM perdure.runs WHERE {where} AND followed_by = 0 ORDER BY key DESC LIMIT %b"
        return [id for (id,) in self._read(sql, *values, limit)]

    def stored(self, key: int) -> Stored | None:
        with told_to_people(self._place), self._lines.use() as line:
            stored = load(line, [key]).get(key)
            if stored is not None:
                bare = TASK_COLUMNS.replace("body", "''::bytea")
                tasks = line.read(f"SELECT {bare} FROM perdure.tasks WHERE run = %b ORDER BY id", (key,))
                stored.tasks = [TaskRow(*columns) for columns in tasks]
                stored.streams = streams.of_run(line, key)
        return stored

    def blob(self, run: int, digest: bytes) -> bytes | None:
        found = self._read("SELECT data FROM perdure.blobs WHERE run = %b AND digest = %b", run, digest)
        return found[0][0] if found else None

    def secret(self) -> bytes:
        return self._read("SELECT value FROM perdure.secret")[0][0]

    def members(self, ids: Iterable[int]) -> dict[int, MemberRow]:
        sql = f"SELECT {_MEMBER} FROM perdure.members WHERE id = ANY (%b::bigint[]) ORDER BY id"
        return {columns[0]: MemberRow(*columns) for columns in self._read(sql, list(ids))}

    def definitions(self) -> list[DefinitionRow]:
        return [
            DefinitionRow(*columns)
            for columns in self._read("SELECT kind, name, parameters FROM perdure.definitions ORDER BY kind, name")
        ]

    def workers(self) -> list[WorkerRow]:
        return [
            WorkerRow(member, tuple(queues), tuple(names), beat, build)
            for member, queues, names, beat, build in self._read(_WORKERS)
        ]

    def backlog(self) -> list[BacklogRow]:
        return [BacklogRow(*columns) for columns in self._read(_BACKLOG)]

    def owners(self) -> list[MemberRow]:
        return [MemberRow(*row) for row in self._read(_OWNERS)]
