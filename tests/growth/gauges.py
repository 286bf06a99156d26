"""What a database holds, in bytes and rows, while it is used."""

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

PAGE = os.sysconf("SC_PAGE_SIZE")


class Reading(NamedTuple):
    """At one moment. `live_bytes`: what is in use of a file, or of tables and their indexes all; `log_bytes`: written to the log
    since the beginning; `poll_ms`: the longest poll since the last reading."""

    seconds: float
    runs: int
    rows: int
    dead_rows: int
    live_bytes: int
    log_bytes: int
    memory_bytes: int
    poll_ms: float


class Timed:
    """A part of a store whose polls are timed."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self._lock = threading.Lock()
        self._longest = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    def poll(self, *args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return self._part.poll(*args, **options)
        finally:
            with self._lock:
                self._longest = max(self._longest, time.perf_counter() - began)

    def longest_ms(self) -> float:
        with self._lock:
            longest, self._longest = self._longest, 0.0
        return longest * 1_000


def memory_bytes() -> int:
    """Of this process."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * PAGE if status.exists() else 0


class PostgresGauge:
    def __init__(self, address: str) -> None:
        self._connection = psycopg.connect(address, autocommit=True)
        self._begin = self._one("SELECT pg_current_wal_lsn()")

    def _one(self, sql: str, *values: Any) -> Any:
        row = self._connection.execute(sql.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def read(self, seconds: float, polls: Timed) -> Reading:
        tables = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'perdure' AND c.relkind = 'r'"
        stats = "FROM pg_stat_user_tables WHERE schemaname = 'perdure'"
        return Reading(
            seconds,
            self._one("SELECT count(*) FROM perdure.runs"),
            int(self._one(f"SELECT sum(n_live_tup) {stats}")),
            int(self._one(f"SELECT sum(n_dead_tup) {stats}")),
            int(self._one(f"SELECT sum(pg_total_relation_size(c.oid)) {tables}")),
            int(self._one("SELECT pg_current_wal_lsn() - %s::pg_lsn", self._begin)),
            memory_bytes(),
            polls.longest_ms(),
        )

    def tables(self) -> list[tuple[Any, ...]]:
        """The largest: name, bytes of the table and its large values, bytes of its indexes, rows, dead rows, updates, of these so
        many that touched no index."""
        return self._connection.execute(
            "SELECT relname, pg_table_size(relid), pg_indexes_size(relid), n_live_tup, n_dead_tup, n_tup_upd, n_tup_hot_upd "
            "FROM pg_stat_user_tables WHERE schemaname = 'perdure' ORDER BY pg_total_relation_size(relid) DESC LIMIT 8"
        ).fetchall()

    def close(self) -> None:
        self._connection.close()


class SqliteGauge:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path)

    def _one(self, sql: str) -> int:
        return self._connection.execute(sql).fetchone()[0]

    def read(self, seconds: float, polls: Timed) -> Reading:
        names = [name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = sum(self._one(f"SELECT count(*) FROM {name}") for name in names if not name.startswith("sqlite_"))
        free = self._one("PRAGMA freelist_count")
        log = Path(f"{self._path}-wal")
        return Reading(
            seconds,
            self._one("SELECT count(*) FROM runs"),
            rows,
            free,
            self._path.stat().st_size,
            log.stat().st_size if log.exists() else 0,
            memory_bytes(),
            polls.longest_ms(),
        )

    def tables(self) -> list[tuple[Any, ...]]:
        return []

    def close(self) -> None:
        self._connection.close()
