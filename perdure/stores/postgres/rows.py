"""Rows as PostgreSQL sees them, and back."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

import msgspec

from perdure.kernel import wire
from perdure.kernel.attributes import Attribute
from perdure.kernel.messages import Mail
from perdure.kernel.project import AttemptRow, RunRow, TaskRow
from perdure.kernel.run import KNOWN_STATUSES
from perdure.stores.base import MailRow

RUN_COLUMNS = ", ".join(RunRow.__struct_fields__)
ATTEMPT_COLUMNS = ", ".join(AttemptRow.__struct_fields__)
TASK_COLUMNS = ", ".join(TaskRow.__struct_fields__)
MAIL_COLUMNS = "id, run, body, reply_to"

KINDS: dict[type, Any] = {kind: kind.__struct_config__.tag for kind in get_args(Mail)}
"""The numbers messages have in the column `kind`: those of their tags."""


class MailColumns(msgspec.Struct):
    """A letter as it is written; the id comes from the table."""

    run: int
    kind: int
    body: bytes
    reply_to: str


def mail_columns(mail: MailRow) -> MailColumns:
    return MailColumns(mail.run, KINDS[type(mail.message)], wire.encode(mail.message), mail.reply_to)


def mail_rows(found: Iterable[Sequence[Any]], unreadable: set[int]) -> list[MailRow]:
    """From `MAIL_COLUMNS`. A message that cannot be read is passed over, and its run is added to `unreadable`."""
    rows: list[MailRow] = []
    for id, run, body, reply_to in found:
        try:
            rows.append(MailRow(id, run, wire.decode_mail(body), reply_to))
        except msgspec.MsgspecError:
            unreadable.add(run)
    return rows


def run_row(columns: Sequence[Any]) -> RunRow:
    row = RunRow(*columns)
    if row.status not in KNOWN_STATUSES:
        row.note = f"its state ({row.status}) is none that this version knows: a newer one has written it"
    return row


def attribute_columns(attributes: Sequence[tuple[int, Attribute]]) -> list[dict[str, Any]]:
    """A row for each value; for an attribute without any one with `item` -1, so that what was there goes."""
    rows: list[dict[str, Any]] = []
    for (run, name), each in {(run, each.name): each for run, each in attributes}.items():
        for item, value in enumerate(each.values):
            column = "text" if isinstance(value, str) else "float" if isinstance(value, float) else "number"
            rows.append({"run": run, "name": name, "item": item, "kind": each.kind, column: value})
        if not each.values:
            rows.append({"run": run, "name": name, "item": -1, "kind": each.kind})
    return rows


def attributes_of(found: Iterable[Sequence[Any]]) -> dict[int, dict[str, Attribute]]:
    """From (run, name, kind, text, number, float), in the order of their key."""
    attributes: dict[int, dict[str, Attribute]] = {}
    for run, name, kind, *values in found:
        of_run = attributes.setdefault(run, {})
        before = of_run[name].values if name in of_run else ()
        of_run[name] = Attribute(name, kind, (*before, next(value for value in values if value is not None)))
    return attributes
