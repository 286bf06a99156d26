"""Human tasks in a file: how a commit writes them, and how they are found."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from perdure.kernel.human_rows import HumanTaskRow
from perdure.stores.base import Batch
from perdure.stores.human import HumanFilter
from perdure.stores.sqlite.lines import Readers
from perdure.stores.sqlite.rows import VALUES
from perdure.stores.sqlite.trouble import told_to_people

FIELDS = HumanTaskRow.__struct_fields__
COLUMNS = ", ".join(FIELDS)
_BARE = ", ".join("x''" if field == "body" else field for field in FIELDS)
_INSERT = f"INTO human ({COLUMNS}) SELECT * FROM ({VALUES}) WHERE column1 IS NOT NULL"
_INSERT_PEOPLE = f"INSERT INTO human_people (person, run, step) SELECT * FROM ({VALUES}) WHERE column1 IS NOT NULL"
_TABLES = ("human", "human_people")


def writes_of(batch: Batch) -> list[tuple[str, Sequence[tuple[Any, ...]]]]:
    """Statements, each with its rows, in the order of the contract."""
    writes: list[tuple[str, Sequence[tuple[Any, ...]]]] = []
    if batch.human_gone_of:
        keys = [(key,) for key in batch.human_gone_of]
        writes += [(f"DELETE FROM {table} WHERE run IN ({VALUES})", keys) for table in _TABLES]
    last = {(row.run, row.step): row for row in batch.human}
    if batch.human_gone:
        writes += [(f"DELETE FROM {table} WHERE (run, step) IN ({VALUES})", batch.human_gone) for table in _TABLES]
    if last:
        people = [(person, row.run, row.step) for row in last.values() for person in row.people]
        writes.append((f"DELETE FROM human_people WHERE (run, step) IN ({VALUES})", list(last)))
        writes.append((f"REPLACE {_INSERT}", [_columns(row) for row in last.values()]))
        if people:
            writes.append((_INSERT_PEOPLE, people))
    return writes


def _columns(row: HumanTaskRow) -> tuple[Any, ...]:
    return tuple(json.dumps(row.assignees) if field == "assignees" else getattr(row, field) for field in FIELDS)


def _row(columns: Sequence[Any]) -> HumanTaskRow:
    row = HumanTaskRow(*columns)
    row.assignees = tuple(json.loads(columns[3]))
    row.overdue = bool(row.overdue)
    return row


def insert(connection: sqlite3.Connection, tasks: Sequence[HumanTaskRow]) -> None:
    """Of a run that has none yet."""
    for task in tasks:
        marks = ", ".join("?" * len(FIELDS))
        connection.execute(f"INSERT INTO human ({COLUMNS}) VALUES ({marks})", _columns(task))
        people = [(person, task.run, task.step) for person in task.people]
        connection.executemany("INSERT INTO human_people (person, run, step) VALUES (?, ?, ?)", people)


def of_run(connection: sqlite3.Connection, run: int) -> list[HumanTaskRow]:
    """All of a run, with their bodies."""
    return [_row(columns) for columns in connection.execute(f"SELECT {COLUMNS} FROM human WHERE run = ?", (run,))]


class SqliteHumanViews:
    """What anybody may see of them, from any thread."""

    def __init__(self, path: str, readers: Readers) -> None:
        self._path = path
        self._readers = readers

    def find(self, wanted: HumanFilter) -> list[HumanTaskRow]:
        where, values = _conditions(wanted)
        sql = f"SELECT {_BARE} FROM human WHERE {where} ORDER BY opened_at, run, step LIMIT ?"
        with told_to_people(self._path), self._readers.use() as connection:
            return [_row(columns) for columns in connection.execute(sql, (*values, wanted.limit)).fetchall()]

    def one(self, run: int, step: str) -> HumanTaskRow | None:
        sql = f"SELECT {COLUMNS} FROM human WHERE run = ? AND step = ?"
        with told_to_people(self._path), self._readers.use() as connection:
            found = connection.execute(sql, (run, step)).fetchone()
        return None if found is None else _row(found)


def _conditions(wanted: HumanFilter) -> tuple[str, list[Any]]:
    """The WHERE of a filter, and its parameters."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    if wanted.people:
        marks = ", ".join("?" * len(wanted.people))
        parts.append(f"(run, step) IN (SELECT run, step FROM human_people WHERE person IN ({marks}))")
        values += wanted.people
    if wanted.run is not None:
        parts.append("run = ?")
        values.append(wanted.run)
    if wanted.due_by is not None:
        parts.append("due_at IS NOT NULL AND due_at <= ?")
        values.append(wanted.due_by)
    return " AND ".join(parts), values
