"""What the owner asks, on the connection it writes with."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

from perdure import errors
from perdure.kernel.project import RunRow
from perdure.stores.base import Poll, Stored, Unread
from perdure.stores.sqlite import rows
from perdure.stores.sqlite.lines import Line
from perdure.stores.sqlite.polling import MAIL_WITH_ID, Polling
from perdure.stores.sqlite.pruning import LAST_KEY
from perdure.stores.sqlite.rows import ATTEMPT_COLUMNS, MAIL_COLUMNS, RUN_COLUMNS, VALUES
from perdure.stores.sqlite.trouble import told_to_people

# "status <> 7" is said where it follows from the rest: the partial index asks for it.
_WITH_STATUS = "SELECT key FROM runs WHERE status IN ({statuses}) AND status <> 7 ORDER BY key"


class SqliteWork:
    def __init__(self, path: str, line: Line) -> None:
        self._path = path
        self._line = line
        self._file = _file_at(path)
        self._polling = Polling()

    @contextmanager
    def _asking(self) -> Iterator[sqlite3.Connection]:
        with told_to_people(self._path), self._line.use() as connection:
            yield connection

    def last_key(self) -> int:
        with self._asking() as connection:
            return connection.execute(LAST_KEY).fetchone()[0]

    def load(self, keys: Sequence[int]) -> dict[int, Stored]:
        with self._asking() as connection:
            return load(connection, keys, _UNSPOKEN_OF)

    def find(self, ids: Iterable[str]) -> dict[str, RunRow]:
        with self._asking() as connection:
            found = rows.read(
                connection, f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN ({VALUES}) AND followed_by = 0", ids
            )
        return {row.id: row for row in map(rows.run_row, found)}

    def running(self) -> list[int]:
        return self._with_status("1")

    def held(self) -> list[int]:
        return self._with_status("4")

    def mending(self) -> list[int]:
        return self._with_status("4, 5, 6")

    def _with_status(self, statuses: str) -> list[int]:
        with self._asking() as connection:
            return [key for (key,) in connection.execute(_WITH_STATUS.format(statuses=statuses)).fetchall()]

    def unread(self, keys: Sequence[int], limit: int, size_bytes: int, after: int = 0) -> Unread:
        with self._asking() as connection:
            oldest = sorted(rows.read(connection, _SPOKEN_TO, keys, after, limit, limit))[:limit]
            sizes = [0, *accumulate(size for _, size in oldest)]
            ids = [id for (id, _), earlier in zip(oldest, sizes, strict=False) if earlier < size_bytes]
            found = rows.read(connection, MAIL_WITH_ID, ids)
        is_all = len(oldest) < limit and sizes[-1] < size_bytes
        return Unread(rows.mail_rows(found, set()), 0 if is_all else ids[-1])  # type: ignore[arg-type]

    def poll(self, now: int, limit: int, starts: bool = True) -> Poll:
        if _file_at(self._path) != self._file:
            raise errors.StoreCorrupt(
                f"{self._path}: the file was deleted or replaced while an engine was using it; what is written now "
                "would be seen by nobody. Put it back from a backup, or start with the new file"
            )
        with self._asking() as connection:
            return self._polling.poll(connection, now, limit, starts)


def _file_at(path: str) -> tuple[int, int] | None:
    """Which file has that name now; None without any."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def load(connection: sqlite3.Connection, keys: Sequence[int], mail_of: str) -> dict[int, Stored]:
    """Runs as they lie in the store; the caller sees to it that they do not change meanwhile."""
    found = rows.read(connection, f"SELECT {RUN_COLUMNS} FROM runs WHERE key IN ({VALUES})", keys)
    stored = {row.key: Stored(row, [], [], []) for row in map(rows.run_row, found)}
    for run, events in rows.read(connection, _HISTORY, stored):
        stored[run].history.append(events)
    for columns in rows.read(connection, _ATTEMPTS, stored):
        stored[columns[0]].attempts.append(rows.attempt_row(columns))
    mail = rows.read(connection, mail_of, stored)
    unreadable: set[int] = set()
    for row in rows.mail_rows(mail, unreadable):  # type: ignore[arg-type]
        stored[row.run].mail.append(row)
    for key in unreadable:
        stored[key].is_unreadable = True
    return stored


_HISTORY = f"SELECT run, events FROM history WHERE run IN ({VALUES}) ORDER BY run, seq"
_ATTEMPTS = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE run IN ({VALUES}) ORDER BY run, step, attempt"
# Cancel (3), Signal (9) and Update (10).
_SPOKEN_TO = (
    f"SELECT m.id, length(m.body) FROM ({VALUES}) AS k CROSS JOIN mail AS m WHERE m.id IN "
    "(SELECT id FROM mail WHERE run = k.column1 AND kind IN (3, 9, 10) AND id > ? ORDER BY id LIMIT ?) ORDER BY m.id LIMIT ?"
)
MAIL_OF = f"SELECT {MAIL_COLUMNS} FROM mail WHERE run IN ({VALUES}) ORDER BY id"
# All but Signal (9), Update (10) and Query (11).
_UNSPOKEN_OF = f"SELECT {MAIL_COLUMNS} FROM mail WHERE run IN ({VALUES}) AND kind NOT IN (9, 10, 11) ORDER BY id"
