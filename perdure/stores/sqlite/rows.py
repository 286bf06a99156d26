"""Rows as SQLite sees them: columns in the order of the structs' fields, and statements that write many at once.

Python's sqlite3 gives the interpreter lock away at every step of a statement, and beside another busy thread it can
take milliseconds to come back. So a batch is written in as few steps as can be: up to `CHUNK` rows in one statement.
Statements are cached by their text; rows are padded to a power of two with rows that begin with NULL, which the
statements pass over, so that there are few different texts and nothing is left over for small statements. What follows
the NULL is 0: Python asks for adapters of each NULL (and of each bytes), which takes eight times as long.
"""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any, get_args

import msgspec

from perdure.kernel import wire
from perdure.kernel.attributes import Attribute
from perdure.kernel.messages import Mail
from perdure.kernel.project import AttemptRow, HistoryRow, PublishedRow, RunRow, TaskRow, UpdateRow
from perdure.kernel.run import KNOWN_STATUSES, UNKNOWN_STATUS
from perdure.stores.base import MailRow

CHUNK = 1_024
VALUES = "{values}"
"""Where a statement's rows go; the columns of the rows are then column1, column2, ..."""

RUN_FIELDS = RunRow.__struct_fields__
ATTEMPT_FIELDS = AttemptRow.__struct_fields__
HISTORY_FIELDS = HistoryRow.__struct_fields__
TASK_FIELDS = TaskRow.__struct_fields__
UPDATE_COLUMNS = ", ".join(UpdateRow.__struct_fields__)
PUBLISHED_COLUMNS = ", ".join(PublishedRow.__struct_fields__)
TASK_COLUMNS = ", ".join(TASK_FIELDS)
RUN_COLUMNS = ", ".join(RUN_FIELDS)
ATTEMPT_COLUMNS = ", ".join(ATTEMPT_FIELDS)
MAIL_COLUMNS = "id, run, body, reply_to"
ATTRIBUTE_COLUMNS = "run, name, item, kind, value"
NEWEST = f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ? AND followed_by = 0"
OF_NUMBER = f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ? AND run_id = ? ORDER BY key DESC LIMIT 1"
OF_REQUEST = f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ? AND request = ? AND chain = 0 ORDER BY key DESC LIMIT 1"

KINDS: dict[type, Any] = {kind: kind.__struct_config__.tag for kind in get_args(Mail)}
"""The numbers messages have in the column `kind`: those of their tags."""


def write(connection: sqlite3.Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run a statement over rows of equal length, in as few steps as can be; how many rows it changed."""
    if len(rows) == 1:
        text, order = _for_one(sql, len(rows[0]))
        return connection.execute(text, [rows[0][n] for n in order]).rowcount
    changed = 0
    for first in range(0, len(rows), CHUNK):
        chunk = rows[first : first + CHUNK]
        size = 1 << (len(chunk) - 1).bit_length()
        width = len(chunk[0])
        parameters = list(chain.from_iterable(chunk))
        parameters.extend((None, *(0,) * (width - 1)) * (size - len(chunk)))
        changed += connection.execute(_text(sql, size, width), parameters).rowcount
    return changed


def read(connection: sqlite3.Connection, sql: str, values: Iterable[Any], *further: Any) -> list[tuple[Any, ...]]:
    """Run a query over values, `CHUNK` at a time, and `further` parameters; its rows, in the order of the chunks."""
    found: list[tuple[Any, ...]] = []
    values = list(values)
    for first in range(0, len(values), CHUNK):
        chunk = values[first : first + CHUNK]
        size = 1 << (len(chunk) - 1).bit_length()
        parameters = [*chunk, *[None] * (size - len(chunk)), *further]
        found += connection.execute(_text(sql, size, 1), parameters).fetchall()
    return found


@cache
def _for_one(sql: str, width: int) -> tuple[str, list[int]]:
    """The statement without a table of values, which SQLite takes 30 µs to build; and the columns in the order of its
    parameters."""
    sql = sql.replace(f"SELECT * FROM ({VALUES}) WHERE column1 IS NOT NULL", VALUES)
    sql = sql.replace(f" FROM ({VALUES}) AS rows", "")
    columns = [int(number) - 1 for number in re.findall(_COLUMN, sql)]
    return _text(re.sub(_COLUMN, "?", sql), 1, width), columns or list(range(width))


_COLUMN = r"rows\.column(\d+)"


@cache
def _text(sql: str, rows: int, width: int) -> str:
    row = "(" + ",".join("?" * width) + ")"
    return sql.replace(VALUES, "VALUES " + ",".join([row] * rows))


def run_row(columns: Sequence[Any]) -> RunRow:
    row = RunRow(*columns)
    row.open_tail = bool(row.open_tail)
    if row.status not in KNOWN_STATUSES:
        row.note = f"its state ({str(row.status)[:NUMBER_CHARS]}) is none that this version knows: {_WHOSE}"
        if not isinstance(row.status, int) or row.status < 0:
            row.status = UNKNOWN_STATUS
    return row


NUMBER_CHARS = 20
_WHOSE = "a newer one has written it, or it is damaged"


def attempt_row(columns: Sequence[Any]) -> AttemptRow:
    return AttemptRow(*columns)


def attribute_columns(run: int, attribute: Attribute) -> list[tuple[Any, ...]]:
    """A row for each of its values."""
    return [(run, attribute.name, n, attribute.kind, value) for n, value in enumerate(attribute.values)]


def attributes_of(found: Iterable[tuple[int, str, int, int, Any]]) -> dict[int, dict[str, Attribute]]:
    """From `ATTRIBUTE_COLUMNS`, in the order of their key."""
    attributes: dict[int, dict[str, Attribute]] = {}
    for run, name, _, kind, value in found:
        of_run = attributes.setdefault(run, {})
        before = of_run[name].values if name in of_run else ()
        of_run[name] = Attribute(name, kind, (*before, value))
    return attributes


def mail_columns(mail: MailRow) -> tuple[int, int, bytes, str]:
    """run, kind, body, reply_to: what is written; the id comes from the table."""
    return (mail.run, KINDS[type(mail.message)], wire.encode(mail.message), mail.reply_to)


def mail_rows(found: Iterable[tuple[int, int, bytes, str]], unreadable: set[int]) -> list[MailRow]:
    """From `MAIL_COLUMNS`. A message that cannot be read is passed over: it hurts nobody else, `check` names it, and its run is
    added to `unreadable`."""
    rows: list[MailRow] = []
    for id, run, body, reply_to in found:
        message = readable(body)
        if message is not None:
            rows.append(MailRow(id, run, message, reply_to))
        else:
            unreadable.add(run)
    return rows


def readable(body: bytes) -> Mail | None:
    try:
        return wire.decode_mail(body)
    except msgspec.MsgspecError:
        return None
