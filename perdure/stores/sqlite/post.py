"""What any process may write, each call one small transaction."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from perdure.kernel.messages import Start
from perdure.kernel.project import RunRow
from perdure.stores.base import MailRow, Placed, ReplyRow
from perdure.stores.enlisting import carried
from perdure.stores.sqlite import human, rows, streams
from perdure.stores.sqlite.enlisting import FOLLOW, INSERT_ATTRIBUTE, INSERT_MAIL, INSERT_RUN, NEXT_ODD_KEY, submitted
from perdure.stores.sqlite.hints import Nudger, socket_path
from perdure.stores.sqlite.lines import Line, Readers
from perdure.stores.sqlite.trouble import told_to_people

_INSERT_ATTEMPT = f"INSERT INTO attempts ({rows.ATTEMPT_COLUMNS}) VALUES ({', '.join('?' * len(rows.ATTEMPT_FIELDS))})"


class SqlitePost:
    def __init__(self, path: str, line: Line, readers: Readers) -> None:
        self._path = path
        self.line = line
        self._readers = readers
        self._nudger = Nudger()
        self._owner = socket_path(path)

    def submit(self, row: RunRow, mail: MailRow, again: bool = False) -> RunRow:
        start = mail.message
        assert isinstance(start, Start)
        with self._transaction() as connection:
            talk = submitted(row, start, mail.reply_to, again)
            placed = carried(talk, lambda asked: connection.execute(*asked).fetchall())
        mail.run = row.key
        return placed

    def send(self, mail: MailRow) -> None:
        with self._transaction() as connection:
            connection.execute(INSERT_MAIL, rows.mail_columns(mail))

    def place(self, runs: Sequence[Placed]) -> list[bool | None]:
        try:
            with self._transaction() as connection:
                placing = _Placing(connection)
                fates = [placing.place(run) for run in runs]
                if None in fates:
                    raise _Taken(fates)  # which rolls back
        except _Taken as taken:
            return taken.fates
        return fates

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Committed at the end; the line rolls back what does not get there."""
        with told_to_people(self._path), self.line.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def take_reply(self, request: str) -> ReplyRow | None:
        with told_to_people(self._path), self._readers.use() as connection:
            found = connection.execute("SELECT * FROM replies WHERE request = ?", (request,)).fetchone()
        return None if found is None else ReplyRow(*found)

    def nudge(self, keys: Collection[int] = ()) -> None:
        self._nudger.nudge(self._owner)

    def close(self) -> None:
        self._nudger.close()
        self.line.close()


class _Taken(Exception):
    """Ids of runs to be placed belong to others."""

    def __init__(self, fates: list[bool | None]) -> None:
        super().__init__()
        self.fates = fates


class _Placing:
    """Puts runs in, one after the other, within a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._keys: dict[tuple[str, int], int] = {}
        self._ours: set[int] = set()

    def place(self, run: Placed) -> bool | None:
        execute = self._connection.execute
        row = run.row
        there = execute("SELECT min(key) FROM runs WHERE id = ? AND run_id = ?", (row.id, row.run_id)).fetchone()[0]
        if there is not None:
            self._keys[row.id, row.key] = there
            self._ours.add(there)
            return False
        newest = execute("SELECT key FROM runs WHERE id = ? AND followed_by = 0", (row.id,)).fetchone()
        if newest is not None and newest[0] not in self._ours:
            return None
        key = execute(NEXT_ODD_KEY).fetchone()[0]
        chain = self._keys.get((row.id, row.chain), 0)
        self._keys[row.id, row.key] = key
        self._ours.add(key)
        if newest is not None:
            execute(FOLLOW, (key, newest[0]))
        placed = msgspec.structs.replace(row, key=key, chain=chain, followed_by=0, parent=0, root=0)
        execute(INSERT_RUN, msgspec.structs.astuple(placed))
        self._fill(key, run)
        return True

    def _fill(self, key: int, run: Placed) -> None:
        many = self._connection.executemany
        if run.history is not None:
            many("INSERT INTO history (run, seq, events) VALUES (?, 1, ?)", [(key, run.history)])
        attempts = [msgspec.structs.astuple(msgspec.structs.replace(attempt, run=key)) for attempt in run.attempts]
        many(_INSERT_ATTEMPT, attempts)
        many(INSERT_ATTRIBUTE, [columns for each in run.attributes for columns in rows.attribute_columns(key, each)])
        many("INSERT INTO blobs (run, digest, data) VALUES (?, ?, ?)", [(key, *blob) for blob in run.blobs])
        streams.place(self._connection, key, run.streams, run.chunks)
        human.insert(self._connection, [msgspec.structs.replace(task, run=key) for task in run.human])
        for table, found in (("updates", run.updates), ("published", run.published)):
            for row in found:
                columns = msgspec.structs.astuple(msgspec.structs.replace(row, run=key))
                many(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", [columns])
        many(INSERT_MAIL, [rows.mail_columns(MailRow(0, key, message)) for message in run.mail])
