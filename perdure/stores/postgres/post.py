"""What any process may write, each call one statement."""

import contextlib
from collections.abc import Collection, Sequence

import msgspec
import psycopg

from perdure.errors import StoreError
from perdure.kernel.messages import Start
from perdure.kernel.project import RunRow
from perdure.stores.base import MailRow, Placed, ReplyRow
from perdure.stores.postgres.lines import Lines
from perdure.stores.postgres.placing import Taken, place
from perdure.stores.postgres.rows import RUN_COLUMNS, attribute_columns, mail_columns, run_row
from perdure.stores.postgres.texts import to_json
from perdure.stores.postgres.trouble import told_to_people

_SEND = "INSERT INTO perdure.mail (run, kind, body, reply_to) VALUES (%b, %b, %b, %b)"
_REPLY = "SELECT request, code, error, expires_at, data FROM perdure.replies WHERE request = %b"
_SUBMIT = f"SELECT {RUN_COLUMNS}, is_new FROM perdure.submit_alone(%t::jsonb, %b::smallint, %b, %b, %b, %b, %t::jsonb)"


class PostgresPost:
    def __init__(self, place: str, lines: Lines) -> None:
        self._place = place
        self._lines = lines

    def send(self, mail: MailRow) -> None:
        columns = mail_columns(mail)
        with told_to_people(self._place), self._lines.use() as line:
            line.ask(_SEND, (columns.run, columns.kind, columns.body, columns.reply_to))

    def submit(self, row: RunRow, mail: MailRow, again: bool = False) -> RunRow:
        start, columns = mail.message, mail_columns(mail)
        assert isinstance(start, Start)
        attributes = [] if start.terms is None else [(0, each) for each in start.terms.attributes]
        values = (
            to_json({**msgspec.structs.asdict(row), "again": True} if again else row),
            columns.kind,
            columns.body,
            columns.reply_to,
            start.id_conflict,
            start.id_reuse,
            to_json(attribute_columns(attributes)),
        )
        with told_to_people(self._place), self._lines.use() as line:
            *columns, is_new = line.ask(_SUBMIT, values)[0]
        made = run_row(columns)
        if is_new:
            row.key = mail.run = made.key
            row.followed_by = made.followed_by
            return row
        return made

    def place(self, runs: Sequence[Placed]) -> list[bool | None]:
        try:
            with told_to_people(self._place), self._lines.use() as line, line.transaction() as connection:
                return place(connection, runs)
        except Taken as taken:
            return taken.fates

    def take_reply(self, request: str) -> ReplyRow | None:
        with told_to_people(self._place), self._lines.use() as line:
            found = line.read(_REPLY, (request,))
        return ReplyRow(*found[0]) if found else None

    def nudge(self, keys: Collection[int] = ()) -> None:
        with contextlib.suppress(psycopg.Error, StoreError), self._lines.use() as line:
            line.ask("SELECT perdure.nudge(%b::bigint[])", (list(keys),))
