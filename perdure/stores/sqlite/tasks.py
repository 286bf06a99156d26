"""Tasks in a file: workers in other processes take attempts and bring their ends, each time in one short transaction."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from perdure.kernel.messages import TaskTaken
from perdure.kernel.project import TaskRow
from perdure.stores import base
from perdure.stores.sqlite import rows
from perdure.stores.sqlite.hints import Listener, Nudger, remove_worker_socket, worker_socket_path
from perdure.stores.sqlite.lines import Line, Readers
from perdure.stores.sqlite.presence import Presence
from perdure.stores.sqlite.rows import TASK_COLUMNS, VALUES
from perdure.stores.sqlite.trouble import told_to_people

_INSERT_MEMBER = "INSERT INTO members (host, pid, build, started_at, serves, used) VALUES (?, ?, ?, ?, 1, 0)"
_USE_MEMBER = "UPDATE members SET used = 1 WHERE id = ? AND used = 0"
_FORGET_MEMBER = "DELETE FROM members WHERE id = ? AND serves = 1 AND used = 0"
_INSERT_MAIL = f"INSERT INTO mail (run, kind, body, reply_to) SELECT * FROM ({VALUES}) WHERE column1 IS NOT NULL"
_INSERT_BLOBS = (
    f"INSERT INTO blobs (run, digest, data) SELECT * FROM ({VALUES}) WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING"
)
_MINE = "SELECT run, step, attempt FROM tasks WHERE member = ? AND member > 0"
_KEEP_DETAILS = (
    f"UPDATE tasks SET details = rows.column4 FROM ({VALUES}) AS rows "
    "WHERE run = rows.column1 AND step = rows.column2 AND attempt = rows.column3 AND member = rows.column5"
)
# The oldest of each activity, and then the oldest of those: an activity that nobody here knows is not even looked at.
_OLDEST = (
    "SELECT * FROM (SELECT id FROM tasks WHERE member = 0 AND queue = ? AND name = ? "
    "AND (start_by IS NULL OR start_by > ?) ORDER BY id LIMIT ?)"
)
_OWN_OLDEST = _OLDEST.replace(
    "ORDER BY",
    "AND EXISTS (SELECT 1 FROM runs WHERE runs.key = tasks.run AND runs.pinned IN ('', ?) "
    "AND runs.workflow IN (SELECT value FROM json_each(?))) ORDER BY",
)
# From one activity to the next by the index, however many tasks of each there are.
_NEXT_NAME = "(SELECT min(name) FROM tasks WHERE tasks.member = 0 AND tasks.queue = {table}.queue{further})"
_WAITING = (
    "WITH RECURSIVE queues (queue) AS ({queues}), waiting (queue, name) AS ("
    f"SELECT queue, {_NEXT_NAME.format(table='queues', further='')} FROM queues UNION ALL "
    f"SELECT queue, {_NEXT_NAME.format(table='waiting', further=' AND tasks.name > waiting.name')} FROM waiting "
    "WHERE name IS NOT NULL) SELECT 0, name, NULL, NULL FROM waiting WHERE name IS NOT NULL"
)
_LOOK = (
    _WAITING + " UNION ALL SELECT 1, run, step, attempt FROM tasks WHERE member = ? AND member > 0 "
    "UNION ALL SELECT 2, lease, NULL, NULL FROM (SELECT lease FROM members WHERE serves = 0 ORDER BY id DESC LIMIT 1) "
    "UNION ALL SELECT 3, member, NULL, NULL FROM workers WHERE member = ?"
)
_ORPHANS = (
    "SELECT run, step, attempt, member, claimed_at, details FROM tasks "
    "WHERE member > 0 AND member NOT IN (SELECT member FROM workers) ORDER BY id"
)


class SqliteTasks:
    def __init__(self, path: str, line: Line, readers: Readers) -> None:
        self._path = path
        self._line = line
        self._readers = readers
        self._presence = Presence(path)
        self._listeners: dict[int, Listener] = {}
        self._nudger = Nudger()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with told_to_people(self._path), self._line.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with told_to_people(self._path), self._readers.use() as connection:
            yield connection

    def join(self, host: str, pid: int, build: str, now: int, queues: Sequence[str], names: Sequence[str]) -> int:
        member = 0
        try:
            with self._transaction() as connection:
                member = connection.execute(_INSERT_MEMBER, (host, pid, build, now)).lastrowid or 0
                values = (member, json.dumps(list(queues)), json.dumps(list(names)))
                connection.execute("INSERT INTO workers VALUES (?, ?, ?, 0)", values)
                self._presence.begin(member)
        except BaseException:
            self._presence.end(member)
            raise
        return member

    def exchange(
        self,
        member: int,
        endings: Sequence[base.Ending],
        queues: Sequence[str],
        wants: Sequence[base.Want],
        now: int,
    ) -> base.Exchanged:
        with self._transaction() as connection:
            _demand(connection, member)
            accepted = _end(connection, member, endings)
            ids = [id for want in wants for id in _oldest(connection, queues, want, now)]
            if ids:
                connection.execute(_USE_MEMBER, (member,))
            return base.Exchanged(accepted, _take(connection, member, ids, now))

    def look(self, member: int, queues: Sequence[str]) -> base.Look:
        with self._reading() as connection:
            return _look(connection, member, queues)

    def beat(self, member: int, queues: Sequence[str], details: Sequence[tuple[int, str, int, bytes]]) -> base.Look:
        with self._transaction() as connection:
            connection.execute("UPDATE workers SET beat = beat + 1 WHERE member = ?", (member,))
            if details:
                rows.write(connection, _KEEP_DETAILS, [(*one, member) for one in details])
            return _look(connection, member, queues)

    def waiting(self, queues: Sequence[str]) -> list[str]:
        with self._reading() as connection:
            return sorted({name for _, name, _, _ in connection.execute(*_about(_WAITING, queues)).fetchall()})

    def leave(self, member: int) -> None:
        listener = self._listeners.pop(member, None)
        if listener is not None:
            listener.close()
        self._presence.end(member)
        self.bury(member)

    def listen(self, member: int, on_nudge: Callable[[], None]) -> None:
        self._listeners[member] = Listener(worker_socket_path(self._path, member), on_nudge)

    def nudge(self, members: Iterable[int]) -> None:
        for member in members:
            self._nudger.nudge(worker_socket_path(self._path, member))

    def dead(self, members: Iterable[int]) -> list[int]:
        return self._presence.gone(members)

    def bury(self, member: int, beat: int | None = None) -> bool:
        with self._transaction() as connection:
            sql = "DELETE FROM workers WHERE member = ? AND beat = coalesce(?, beat)"
            goes = bool(connection.execute(sql, (member, beat)).rowcount) or beat is None
            if goes:
                connection.execute(_FORGET_MEMBER, (member,))
                self._presence.forget(member)
        if goes:
            remove_worker_socket(self._path, member)
        return goes

    def tidy(self, connection: sqlite3.Connection) -> None:
        """In a transaction that writes, so that nobody joins meanwhile: files of workers that died while they joined go."""
        self._presence.sweep({member for (member,) in connection.execute("SELECT member FROM workers")})

    def orphans(self) -> list[base.Orphan]:
        with self._reading() as connection:
            return [base.Orphan(*columns) for columns in connection.execute(_ORPHANS).fetchall()]

    def close(self) -> None:
        """The locks go last, and in any case: they say which workers are here."""
        try:
            for listener in list(self._listeners.values()):  # a worker may be leaving
                listener.close()
            self._nudger.close()
            self._line.close()
        finally:
            self._presence.close()


def _look(connection: sqlite3.Connection, member: int, queues: Sequence[str]) -> base.Look:
    waiting: set[str] = set()
    look = base.Look([], set())
    is_there = False
    for kind, first, step, attempt in connection.execute(*_about(_LOOK, queues, member, member)).fetchall():
        match kind:
            case 0:
                waiting.add(first)
            case 1:
                look.taken.add((first, step, attempt))
            case 2:
                look.lease_ns = first
            case _:
                is_there = True
    if not is_there:
        raise _gone(member)
    look.waiting = sorted(waiting)
    return look


def _about(sql: str, queues: Sequence[str], *values: int) -> tuple[str, tuple[str | int | None, ...]]:
    """A statement about these queues, and its parameters. NULL is none, so that there is one at least."""
    return sql.format(queues="VALUES " + ", ".join(["(?)"] * (len(queues) + 1))), (*queues, None, *values)


def _gone(member: int) -> base.WorkerGone:
    return base.WorkerGone(f"member {member} is no worker (any more)")


def _demand(connection: sqlite3.Connection, member: int) -> None:
    if connection.execute("SELECT 1 FROM workers WHERE member = ?", (member,)).fetchone() is None:
        raise _gone(member)


def end_one(connection: sqlite3.Connection, member: int, ending: base.Ending) -> bool:
    """The same of one, within a transaction of somebody else's; whether the task was with this member still."""
    if connection.execute("SELECT 1 FROM workers WHERE member = ?", (member,)).fetchone() is None:
        return False
    return _end(connection, member, [ending]) == [True]


def _end(connection: sqlite3.Connection, member: int, endings: Sequence[base.Ending]) -> list[bool]:
    """Tasks go and their mail comes; what is not with this member any more changes nothing."""
    if not endings:
        return []
    mine = set(connection.execute(_MINE, (member,)).fetchall())
    accepted: list[bool] = []
    for one in endings:
        at = (one.run, one.message.id, one.message.attempt)
        accepted.append(at in mine)
        mine.discard(at)
    kept = [one for one, is_kept in zip(endings, accepted, strict=True) if is_kept]
    connection.executemany("DELETE FROM tasks WHERE run = ? AND step = ?", [(one.run, one.message.id) for one in kept])
    if kept:
        mail = [rows.mail_columns(base.MailRow(0, one.run, one.message)) for one in kept]
        rows.write(connection, _INSERT_MAIL, mail)
    blobs = [(blob.run, blob.digest, blob.data) for one in kept for blob in one.blobs]
    if blobs:
        rows.write(connection, _INSERT_BLOBS, blobs)
    return accepted


def _oldest(connection: sqlite3.Connection, queues: Sequence[str], want: base.Want, now: int) -> list[int]:
    pairs = [(queue, name) for queue in queues for name in want.names]
    if not pairs or want.limit <= 0:
        return []
    latest = now + base.START_MARGIN_NS
    own_queue = None if want.own is None else want.own.queue
    own = () if want.own is None else (want.own.build, json.dumps(want.own.workflows))
    found: list[int] = []
    for first in range(0, len(pairs), _MOST_PAIRS):
        some = pairs[first : first + _MOST_PAIRS]
        values: list[str | int] = []
        for queue, name in some:
            values += [queue, name, latest, *(own if queue == own_queue else ()), want.limit]
        selects = [_OWN_OLDEST if queue == own_queue else _OLDEST for queue, _ in some]
        sql = " UNION ALL ".join(selects) + " ORDER BY id LIMIT ?"
        found += [id for (id,) in connection.execute(sql, (*values, want.limit)).fetchall()]
    return sorted(found)[: want.limit]


_MOST_PAIRS = 100
"""Selects that SQLite puts together in one statement: up to 500."""


def _take(connection: sqlite3.Connection, member: int, ids: Sequence[int], now: int) -> list[TaskRow]:
    if not ids:
        return []
    connection.executemany(
        "UPDATE tasks SET member = ?, claimed_at = ? WHERE id = ?", [(member, now, id) for id in ids]
    )
    found = rows.read(connection, f"SELECT {TASK_COLUMNS} FROM tasks WHERE id IN ({VALUES}) ORDER BY id", ids)
    tasks = [TaskRow(*columns) for columns in found]
    told = [base.MailRow(0, task.run, TaskTaken(task.step, task.attempt, member)) for task in tasks if task.start_by]
    if told:
        rows.write(connection, _INSERT_MAIL, [rows.mail_columns(mail) for mail in told])
    return tasks
