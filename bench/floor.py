"""The floor: bare commits by SQLite alone, as durable as the engine's (WAL, synchronous=FULL), of as many bytes."""

import os
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec


class Written(msgspec.Struct, frozen=True):
    """What an engine has written: commits, rows of history, and bytes of both history and summaries."""

    commits: int
    rows: int
    size_bytes: int

    def per_commit(self) -> "Written":
        """A usual commit of them."""
        return Written(1, round(self.rows / self.commits), round(self.size_bytes / self.commits))

    def __sub__(self, earlier: "Written") -> "Written":
        return Written(self.commits - earlier.commits, self.rows - earlier.rows, self.size_bytes - earlier.size_bytes)


def written(database: Path, commits: int) -> Written:
    """What lies in an engine's database now. `commits` are known to whoever counted them (`bench.counted`)."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows, history = connection.execute("SELECT count(*), coalesce(sum(length(events)), 0) FROM history").fetchone()
        summary = connection.execute(
            "SELECT coalesce(avg(length(id) + length(run_id) + length(workflow) + length(note) + length(build)), 0) + 40 "
            "FROM runs"
        ).fetchone()[0]
    finally:
        connection.close()
    return Written(commits, rows, round(history + rows * summary))  # each row of history comes with a new summary


class BareCommits:
    """A database with one table, and commits of so many rows and bytes."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA fullfsync = ON")
        self._connection.execute("PRAGMA wal_autocheckpoint = 4000")
        self._connection.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")

    def commit(self, of: Written) -> float:
        """Seconds that a usual commit of them takes when nothing else is done."""
        each = of.per_commit()
        rows = max(each.rows, 1)
        data = [(os.urandom(max(each.size_bytes // rows, 1)),) for _ in range(rows)]
        began = time.perf_counter()
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO bare (data) VALUES (?)", data)
        self._connection.execute("COMMIT")
        return time.perf_counter() - began

    def commits(self, of: Written, count: int) -> list[float]:
        return [self.commit(of) for _ in range(count)]

    def rows(self) -> int:
        """How many rows there are by now."""
        return self._connection.execute("SELECT count(*) FROM bare").fetchone()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
