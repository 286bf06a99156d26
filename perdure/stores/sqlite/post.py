"""What any process may write, each call one small transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from perdure.kernel.ids import Claim, claim
from perdure.kernel.messages import Start
from perdure.kernel.project import RunRow, unplaced
from perdure.stores.base import MailRow, ReplyRow
from perdure.stores.sqlite import rows
from perdure.stores.sqlite.hints import Nudger, socket_path
from perdure.stores.sqlite.lines import Line, Readers
from perdure.stores.sqlite.rows import NEWEST, OF_REQUEST, RUN_COLUMNS, RUN_FIELDS
from perdure.stores.sqlite.trouble import told_to_people

_INSERT_RUN = f"INSERT INTO runs ({RUN_COLUMNS}) VALUES ({', '.join('?' * len(RUN_FIELDS))})"
_INSERT_MAIL = "INSERT INTO mail (run, kind, body, reply_to) VALUES (?, ?, ?, ?)"
_INSERT_ATTRIBUTE = f"INSERT INTO attributes ({rows.ATTRIBUTE_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
_FOLLOW = "UPDATE runs SET followed_by = ? WHERE key = ?"
_NEXT_ODD_KEY = "SELECT (coalesce(max(key), 0) + 1) | 1 FROM runs"


class SqlitePost:
    def __init__(self, path: str, line: Line, readers: Readers) -> None:
        self._path = path
        self._line = line
        self._readers = readers
        self._nudger = Nudger()
        self._owner = socket_path(path)

    def submit(self, row: RunRow, mail: MailRow) -> RunRow:
        with self._transaction() as connection:
            if row.request:
                made = connection.execute(OF_REQUEST, (row.id, row.request)).fetchone()
                if made is not None:
                    return rows.run_row(made)
            row.key = mail.run = connection.execute(_NEXT_ODD_KEY).fetchone()[0]
            row.followed_by = 0
            found = connection.execute(NEWEST, (row.id,)).fetchone()
            if found is not None:
                newest, start = rows.run_row(found), mail.message
                assert isinstance(start, Start)
                match claim(newest.status, start.id_conflict, start.id_reuse):
                    case Claim.FOLLOW:
                        connection.execute(_FOLLOW, (row.key, newest.key))
                    case Claim.REPLACE:
                        row.followed_by = unplaced(row.key)
                    case _:
                        return newest
            connection.execute(_INSERT_RUN, msgspec.structs.astuple(row))
            connection.execute(_INSERT_MAIL, rows.mail_columns(mail))
            if isinstance(mail.message, Start) and mail.message.terms is not None:
                for each in mail.message.terms.attributes:
                    connection.executemany(_INSERT_ATTRIBUTE, rows.attribute_columns(row.key, each))
        return row

    def send(self, mail: MailRow) -> None:
        with self._transaction() as connection:
            connection.execute(_INSERT_MAIL, rows.mail_columns(mail))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Committed at the end; the line rolls back what does not get there."""
        with told_to_people(self._path), self._line.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def take_reply(self, request: str) -> ReplyRow | None:
        with told_to_people(self._path), self._readers.use() as connection:
            found = connection.execute("SELECT * FROM replies WHERE request = ?", (request,)).fetchone()
        return None if found is None else ReplyRow(*found)

    def nudge(self) -> None:
        self._nudger.nudge(self._owner)

    def close(self) -> None:
        self._nudger.close()
        self._line.close()
