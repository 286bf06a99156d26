"""What anybody may see, from any thread."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from perdure.kernel.attributes import Attribute
from perdure.kernel.project import RunRow, TaskRow
from perdure.stores.base import BacklogRow, DefinitionRow, MemberRow, RunFilter, Stored, WorkerRow
from perdure.stores.filtering_sql import conditions
from perdure.stores.sqlite import rows, streams
from perdure.stores.sqlite.filters import SQLITE
from perdure.stores.sqlite.human import SqliteHumanViews
from perdure.stores.sqlite.lines import Readers
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.rows import NEWEST, OF_REQUEST, RUN_COLUMNS, TASK_FIELDS, VALUES
from perdure.stores.sqlite.trouble import told_to_people
from perdure.stores.sqlite.work import MAIL_OF, load

_ATTRIBUTES = f"SELECT {rows.ATTRIBUTE_COLUMNS} FROM attributes WHERE run IN ({VALUES}) ORDER BY run, name, item"
_MEMBER = "id, host, pid, build, started_at"
_END_OF_CHAIN = f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ? AND ? IN (key, chain) ORDER BY key DESC LIMIT 1"
_WORKERS = "SELECT member, queues, names, beat, coalesce(build, '') FROM workers LEFT JOIN members ON id = member ORDER BY member"
_BARE_TASK = ", ".join("x''" if field == "body" else field for field in TASK_FIELDS)
_TASKS_OF = f"SELECT {_BARE_TASK} FROM tasks WHERE run = ? ORDER BY id"


class SqliteViews:
    def __init__(self, path: str, readers: Readers, lock: OwnerLock) -> None:
        self._path = path
        self._readers = readers
        self._lock = lock
        self.human = SqliteHumanViews(path, readers)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with told_to_people(self._path), self._readers.use() as connection:
            yield connection

    def row(self, id: str) -> RunRow | None:
        return self._one(NEWEST, id)

    def row_of(self, id: str, run_id: bytes) -> RunRow | None:
        return self._one(f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ? AND run_id = ?", id, run_id)

    def row_by_request(self, id: str, request: str) -> RunRow | None:
        return self._one(OF_REQUEST, id, request)

    def end_of_chain(self, key: int) -> RunRow | None:
        row = self._one(f"SELECT {RUN_COLUMNS} FROM runs WHERE key = ?", key)
        if row is None or row.followed_by <= 0:
            return row
        return self._one(_END_OF_CHAIN, row.id, row.chain or key)

    def _one(self, sql: str, *values: Any) -> RunRow | None:
        with self._reading() as connection:
            found = connection.execute(sql, values).fetchone()
        return None if found is None else rows.run_row(found)

    def rows_by_key(self, keys: Sequence[int]) -> dict[int, RunRow]:
        with self._reading() as connection:
            found = rows.read(connection, f"SELECT {RUN_COLUMNS} FROM runs WHERE key IN ({VALUES})", keys)
        return {row.key: row for row in map(rows.run_row, found)}

    def attributes(self, keys: Sequence[int]) -> dict[int, dict[str, Attribute]]:
        with self._reading() as connection:
            return rows.attributes_of(rows.read(connection, _ATTRIBUTES, keys))  # type: ignore[arg-type]

    def search(self, wanted: RunFilter) -> list[RunRow]:
        where, values = conditions(wanted, SQLITE)
        if wanted.before_key is not None:
            where += " AND key < ?"
            values.append(wanted.before_key)
        with self._reading() as connection:
            found = connection.execute(
                f"SELECT {RUN_COLUMNS} FROM runs WHERE {where} ORDER BY key DESC LIMIT ?", (*values, wanted.limit)
            ).fetchall()
        return list(map(rows.run_row, found))

    def count(self, wanted: RunFilter, limit: int = 10_001) -> int:
        where, values = conditions(wanted, SQLITE)
        with self._reading() as connection:
            return connection.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM runs WHERE {where} LIMIT ?)", (*values, limit)
            ).fetchone()[0]

    def prefixed(self, id_prefix: str, limit: int = 10) -> list[str]:
        where, values = conditions(RunFilter(id_prefix=id_prefix), SQLITE)
        with self._reading() as connection:
            found = connection.execute(
                f"SELECT id FROM runs WHERE {where} AND followed_by = 0 ORDER BY key DESC LIMIT ?", (*values, limit)
            ).fetchall()
        return [id for (id,) in found]

    def stored(self, key: int) -> Stored | None:
        with told_to_people(self._path), self._readers.snapshot() as connection:
            stored = load(connection, [key], MAIL_OF).get(key)
            if stored is not None:
                stored.tasks = [TaskRow(*columns) for columns in connection.execute(_TASKS_OF, (key,)).fetchall()]
                stored.streams = streams.of_run(connection, key)
            return stored

    def blob(self, run: int, digest: bytes) -> bytes | None:
        with self._reading() as connection:
            found = connection.execute("SELECT data FROM blobs WHERE run = ? AND digest = ?", (run, digest)).fetchone()
        return None if found is None else found[0]

    def workers(self) -> list[WorkerRow]:
        with self._reading() as connection:
            found = connection.execute(_WORKERS).fetchall()
        return [WorkerRow(row[0], tuple(json.loads(row[1])), tuple(json.loads(row[2])), *row[3:]) for row in found]

    def backlog(self) -> list[BacklogRow]:
        with self._reading() as connection:
            found = connection.execute(
                "SELECT queue, name, sum(member = 0), sum(member > 0) FROM tasks GROUP BY queue, name ORDER BY queue, name"
            ).fetchall()
        return [BacklogRow(*columns) for columns in found]

    def secret(self) -> bytes:
        with self._reading() as connection:
            return connection.execute("SELECT value FROM secret").fetchone()[0]

    def members(self, ids: Iterable[int]) -> dict[int, MemberRow]:
        with self._reading() as connection:
            found = rows.read(connection, f"SELECT {_MEMBER} FROM members WHERE id IN ({VALUES})", ids)
        return {columns[0]: MemberRow(*columns) for columns in sorted(found)}

    def definitions(self) -> list[DefinitionRow]:
        with self._reading() as connection:
            found = connection.execute("SELECT * FROM definitions ORDER BY kind, name").fetchall()
        return [DefinitionRow(*columns) for columns in found]

    def owners(self) -> list[MemberRow]:
        """The newest member that serves no queue, if the lock is held: who takes it becomes a member at once."""
        if not self._lock.is_taken():
            return []
        with self._reading() as connection:
            found = connection.execute(
                f"SELECT {_MEMBER} FROM members WHERE serves = 0 ORDER BY id DESC LIMIT 1"
            ).fetchall()
        return [MemberRow(*row) for row in found]
