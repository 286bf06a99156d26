"""What anybody may see, from any thread."""

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from perdure.kernel.attributes import Attribute, Wanted
from perdure.kernel.project import RunRow, TaskRow
from perdure.stores.base import BacklogRow, DefinitionRow, MemberRow, RunFilter, Stored, WorkerRow
from perdure.stores.sqlite import rows, streams
from perdure.stores.sqlite.human import SqliteHumanViews
from perdure.stores.sqlite.lines import Readers
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.rows import NEWEST, OF_REQUEST, RUN_COLUMNS, TASK_FIELDS, VALUES
from perdure.stores.sqlite.trouble import told_to_people
from perdure.stores.sqlite.work import load

_COMPLETED = 7
_ATTRIBUTES = f"SELECT {rows.ATTRIBUTE_COLUMNS} FROM attributes WHERE run IN ({VALUES}) ORDER BY run, name, item"
_MEMBER = "id, host, pid, build, started_at"
_END_OF_CHAIN = f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ? AND ? IN (key, chain) ORDER BY key DESC LIMIT 1"
_WORKERS = "SELECT member, queues, names, beat, coalesce(build, '') FROM workers LEFT JOIN members ON id = member ORDER BY member"
# "root <> 0" is said, as the partial index asks for it; a root itself has 0.
_OF_ROOT = (
    "key IN (SELECT key FROM runs WHERE root <> 0 AND root IN (SELECT key FROM runs WHERE id = ?) "
    "UNION SELECT key FROM runs WHERE id = ? AND root = 0)"
)
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
        where, values = _conditions(wanted)
        if wanted.before_key is not None:
            where += " AND key < ?"
            values.append(wanted.before_key)
        with self._reading() as connection:
            found = connection.execute(
                f"SELECT {RUN_COLUMNS} FROM runs WHERE {where} ORDER BY key DESC LIMIT ?", (*values, wanted.limit)
            ).fetchall()
        return list(map(rows.run_row, found))

    def count(self, wanted: RunFilter, limit: int = 10_001) -> int:
        where, values = _conditions(wanted)
        with self._reading() as connection:
            return connection.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM runs WHERE {where} LIMIT ?)", (*values, limit)
            ).fetchone()[0]

    def prefixed(self, id_prefix: str, limit: int = 10) -> list[str]:
        where, values = _conditions(RunFilter(id_prefix=id_prefix))
        with self._reading() as connection:
            found = connection.execute(
                f"SELECT id FROM runs WHERE {where} AND followed_by = 0 ORDER BY key DESC LIMIT ?", (*values, limit)
            ).fetchall()
        return [id for (id,) in found]

    def stored(self, key: int) -> Stored | None:
        with told_to_people(self._path), self._readers.snapshot() as connection:
            stored = load(connection, [key]).get(key)
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

    def owner(self) -> MemberRow | None:
        """The newest member that serves no queue, if the lock is held: who takes it becomes a member at once."""
        if not self._lock.is_taken():
            return None
        with self._reading() as connection:
            found = connection.execute(
                f"SELECT {_MEMBER} FROM members WHERE serves = 0 ORDER BY id DESC LIMIT 1"
            ).fetchone()
        return None if found is None else MemberRow(*found)


def _conditions(wanted: RunFilter) -> tuple[str, list[Any]]:
    """The WHERE of a filter, and its parameters."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    if wanted.statuses:
        parts.append(f"status IN ({', '.join('?' * len(wanted.statuses))})")
        values += wanted.statuses
        if _COMPLETED not in wanted.statuses:
            parts.append("status <> 7")  # follows, and lets the partial index be used
    if wanted.workflow is not None:
        parts.append("workflow = ?")
        values.append(wanted.workflow)
    if wanted.id_prefix:
        parts.append("id >= ?")
        values.append(wanted.id_prefix)
        beyond = _after_all_with(wanted.id_prefix)
        if beyond is not None:
            parts.append("id < ?")
            values.append(beyond)
    if wanted.started_since is not None:
        parts.append("started_at >= ?")
        values.append(wanted.started_since)
    if wanted.parent is not None:
        parts.append("parent <> 0 AND parent IN (SELECT key FROM runs WHERE id = ?)")
        values.append(wanted.parent)
    if wanted.root is not None:
        parts.append(_OF_ROOT)
        values += (wanted.root, wanted.root)
    for each in wanted.attributes:
        part, more = _has(each)
        parts.append(part)
        values += more
    return " AND ".join(parts), values


def _has(wanted: Wanted) -> tuple[str, list[Any]]:
    """The condition that a run has an attribute, and its parameters."""
    values: list[Any] = [wanted.name]
    choices: list[str] = []
    for choice in wanted.choices:
        terms = [f"kind IN ({', '.join('?' * len(choice.kinds))})"]
        values += choice.kinds
        for bound, sign in ((choice.low, ">" if choice.above else ">="), (choice.high, "<" if choice.below else "<=")):
            if bound is not None:
                terms.append(f"value {sign} ?")
                values.append(bound)
        choices.append(" AND ".join(terms))
    fitting = " OR ".join(f"({each})" for each in choices) or "0"
    return f"key IN (SELECT run FROM attributes WHERE name = ? AND ({fitting}))", values


def _after_all_with(prefix: str) -> str | None:
    """The first text that sorts after everything that begins with the prefix; None if there is no such text."""
    stem = prefix.rstrip(chr(sys.maxunicode))
    if not stem:
        return None
    last = ord(stem[-1]) + 1
    if 0xD800 <= last <= 0xDFFF:  # surrogates are no characters
        last = 0xE000
    return stem[:-1] + chr(last)
