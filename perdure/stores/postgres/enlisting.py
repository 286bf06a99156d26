"""Starts within a transaction of the application, in whose database the runs lie too: one call of a function on its connection.

What is asked and what comes back are texts of JSON, so that no driver has to know types of ours.
"""

from base64 import b64decode, b64encode
from typing import Any

import msgspec

from perdure import errors
from perdure.kernel import wire
from perdure.kernel.messages import Mail, Start
from perdure.kernel.project import RunRow
from perdure.stores.enlisting import Begin, Enlisted, Statement, Talk
from perdure.stores.lending import Lender
from perdure.stores.postgres.lines import Lines
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.rows import KINDS, attribute_columns, run_row
from perdure.stores.postgres.texts import to_json
from perdure.stores.postgres.trouble import told_to_people


class _Told(msgspec.Struct):
    """What `perdure.enlist` answers. `key` and `followed_by` of a run that is new, else the `row` of the one that has the id."""

    elsewhere: str = ""
    known: list[str] | None = None
    key: int = 0
    followed_by: int = 0
    row: RunRow | None = None


class _Began(msgspec.Struct):
    events: bytes | None = None
    start: bytes | None = None


class PostgresEnlisting:
    product = "PostgreSQL"

    def __init__(self, where: Place, lines: Lines) -> None:
        self._where = where
        self._place = where.shown
        self._lines = lines
        self._mark = ""

    def lender(self, member: int) -> Lender:
        from perdure.stores.postgres.lending import PostgresLender  # only for transactional activities

        return PostgresLender(self._where, self._lines, member)

    def prepare(self) -> None:
        if not self._mark:
            with told_to_people(self._place), self._lines.use() as line:
                self._mark = line.read("SELECT perdure.mark()")[0][0]

    def submit(self, row: RunRow, start: Start) -> Talk[Enlisted]:
        attributes = [] if start.terms is None else [(0, each) for each in start.terms.attributes]
        told = yield from self._asked(
            "SELECT perdure.enlist(?)",
            {
                "mark": self._mark,
                "row": row,
                "kind": KINDS[Start],
                "body": wire.encode(start),
                "id_conflict": start.id_conflict,
                "id_reuse": start.id_reuse,
                "attributes": attribute_columns(attributes),
            },
        )
        answer = msgspec.json.decode(told, type=_Told)
        if answer.elsewhere:
            raise errors.ConnectionUnfit(
                f"the connection is one to another database ({answer.elsewhere}) than the runs are in ({self._place}): a "
                "transaction does not reach from one to the other; connect to that one"
            )
        if answer.known is not None:
            return Enlisted(None, answer.known)
        if answer.row is not None:
            return Enlisted(run_row(msgspec.structs.astuple(answer.row)))
        row.key, row.followed_by = answer.key, answer.followed_by
        return Enlisted(row)

    def send(self, key: int, message: Mail) -> Talk[None]:
        wanted = {"run": key, "kind": KINDS[type(message)], "body": wire.encode(message)}
        yield from self._asked("SELECT perdure.enlist_mail(?)", wanted)

    def begin(self, key: int) -> Talk[Begin]:
        told = yield from self._asked("SELECT perdure.begin_of(?)", {"run": key, "kind": KINDS[Start]})
        began = msgspec.json.decode(told, type=_Began)
        return Begin(began.events, began.start)

    def blob(self, run: int, digest: bytes) -> Talk[bytes]:
        told = yield from self._asked("SELECT perdure.blob_of(?)", {"run": run, "digest": b64encode(digest).decode()})
        return b64decode(told)

    def _asked(self, sql: str, wanted: dict[str, Any]) -> Talk[str]:
        found = yield Statement(sql, (to_json(wanted),))
        return str(found[0][0])
