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
from perdure.stores.sqlite.pruning import LAST_KEY
from perdure.stores.sqlite.rows import ATTEMPT_COLUMNS, MAIL_COLUMNS, RUN_COLUMNS, VALUES
from perdure.stores.sqlite.trouble import told_to_people

# "status <> 7" and "wake_at IS NOT NULL" are said where they follow from the rest: the partial indexes ask for them.
_WITH_STATUS = "SELECT key FROM runs WHERE status IN ({statuses}) AND status <> 7 ORDER BY key"
_OPEN_AND_SET = "wake_at IS NOT NULL AND status < 7"
_DUE = (
    f"SELECT wake_at, key, NULL, NULL FROM runs WHERE wake_at <= ? AND {_OPEN_AND_SET}{{further}} "
    "ORDER BY wake_at, key LIMIT ?"
)
# Of blocked (5) and quarantined (6) runs only Terminate (4), Retry (5), Update (10), Query (11) and Move (27); mail of no run at all is the owner's as well.
# The Start (1) of a run that is queued (0) and begins later is found by the time at which it is due.
_MAIL = (
    "SELECT mail.id, mail.run, mail.body, mail.reply_to FROM mail LEFT JOIN runs ON runs.key = mail.run "
    "WHERE (runs.key IS NULL OR runs.status NOT IN (5, 6) OR mail.kind IN (4, 5, 10, 11, 27)) "
    "AND NOT (mail.kind = 1 AND mail.reply_to = '' AND runs.status IS 0 AND runs.wake_at IS NOT NULL "
    "AND runs.followed_by >= 0){further} ORDER BY mail.id LIMIT ?"
)
_POLL = (
    "SELECT 0, * FROM ({due}) UNION ALL SELECT 1, * FROM ({mail}) "
    "UNION ALL SELECT 2, member, beat, NULL, NULL FROM workers"
)
_POLL_ALL = _POLL.format(due=_DUE.format(further=""), mail=_MAIL.format(further=""))
# What a run that has not begun (0) cannot take yet, Start (1) and Cancel (3), must not stand before what others can.
_POLL_WITHOUT_STARTS = _POLL.format(
    due=_DUE.format(further=" AND status <> 0"),
    mail=_MAIL.format(further=" AND mail.kind <> 1 AND NOT (mail.kind = 3 AND runs.status IS 0)"),
)


class SqliteWork:
    def __init__(self, path: str, line: Line) -> None:
        self._path = path
        self._line = line
        self._file = _file_at(path)

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
            found = rows.read(connection, _MAIL_WITH_ID, ids)
        is_all = len(oldest) < limit and sizes[-1] < size_bytes
        return Unread(rows.mail_rows(found, set()), 0 if is_all else ids[-1])  # type: ignore[arg-type]

    def poll(self, now: int, limit: int, starts: bool = True) -> Poll:
        if _file_at(self._path) != self._file:
            raise errors.StoreCorrupt(
                f"{self._path}: the file was deleted or replaced while an engine was using it; what is written now "
                "would be seen by nobody. Put it back from a backup, or start with the new file"
            )
        with self._asking() as connection:
            sql = _POLL_ALL if starts else _POLL_WITHOUT_STARTS
            found = connection.execute(sql, (now, limit, limit)).fetchall()
            unreadable: set[int] = set()
            mail = rows.mail_rows((row[1:] for row in found if row[0] == 1), unreadable)
            due = [row[2] for row in found if row[0] == 0]
            due += [key for (key,) in rows.read(connection, _QUEUED, sorted(unreadable)) if key not in due]
        return Poll(due, mail, {row[1]: row[2] for row in found if row[0] == 2})


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
_MAIL_WITH_ID = f"SELECT {MAIL_COLUMNS} FROM mail WHERE id IN ({VALUES}) ORDER BY id"
# What cannot be read may be what such a run (0) is to begin with: whoever owns it has to look at it.
_QUEUED = f"SELECT key FROM runs WHERE key IN ({VALUES}) AND status = 0"
MAIL_OF = f"SELECT {MAIL_COLUMNS} FROM mail WHERE run IN ({VALUES}) ORDER BY id"
# All but Signal (9), Update (10) and Query (11).
_UNSPOKEN_OF = f"SELECT {MAIL_COLUMNS} FROM mail WHERE run IN ({VALUES}) AND kind NOT IN (9, 10, 11) ORDER BY id"
