"""Human tasks, as anybody may find them."""

from collections.abc import Sequence
from typing import Any

from perdure.kernel.human_rows import HumanTaskRow
from perdure.stores.human import HumanFilter
from perdure.stores.postgres.lines import Lines
from perdure.stores.postgres.trouble import told_to_people

_FIELDS = HumanTaskRow.__struct_fields__
COLUMNS = ", ".join(_FIELDS)
_BARE = ", ".join("''::bytea" if field == "body" else field for field in _FIELDS)


class PostgresHumanViews:
    def __init__(self, place: str, lines: Lines) -> None:
        self._place = place
        self._lines = lines

    def find(self, wanted: HumanFilter) -> list[HumanTaskRow]:
        parts: list[str] = ["true"]
        values: list[Any] = []
        if wanted.people:
            parts.append("(assignees && %b::text[] OR (claimed_by <> '' AND claimed_by = ANY (%b::text[])))")
            values += [list(wanted.people), list(wanted.people)]
        if wanted.run is not None:
            parts.append("run = %b")
            values.append(wanted.run)
        if wanted.due_by is not None:
            parts.append("due_at IS NOT NULL AND due_at <= %b")
            values.append(wanted.due_by)
        sql = f"SELECT {_BARE} FROM perdure.human WHERE {' AND '.join(parts)} ORDER BY opened_at, run, step LIMIT %b"
        with told_to_people(self._place), self._lines.use() as line:
            return [human_row(columns) for columns in line.read(sql, (*values, wanted.limit))]

    def one(self, run: int, step: str) -> HumanTaskRow | None:
        sql = f"SELECT {COLUMNS} FROM perdure.human WHERE run = %b AND step = %b"
        with told_to_people(self._place), self._lines.use() as line:
            found = line.read(sql, (run, step))
        return human_row(found[0]) if found else None


def human_row(columns: Sequence[Any]) -> HumanTaskRow:
    row = HumanTaskRow(*columns)
    row.assignees = tuple(row.assignees)
    return row
