"""Human tasks of the store in memory."""

import copy
from typing import TYPE_CHECKING

import msgspec

from perdure.kernel.human_rows import HumanTaskRow
from perdure.stores.human import HumanFilter

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf


class MemoryHumanViews:
    def __init__(self, shelf: "Shelf") -> None:
        self._shelf = shelf

    def find(self, wanted: HumanFilter) -> list[HumanTaskRow]:
        with self._shelf.lock:
            found = [row for row in self._shelf.human.values() if _asks(row, wanted)]
        found.sort(key=lambda row: (row.opened_at, row.run, row.step))
        return [msgspec.structs.replace(row, body=b"") for row in found[: wanted.limit]]

    def one(self, run: int, step: str) -> HumanTaskRow | None:
        with self._shelf.lock:
            row = self._shelf.human.get((run, step))
            return None if row is None else copy.copy(row)


def _asks(row: HumanTaskRow, wanted: HumanFilter) -> bool:
    return (
        (not wanted.people or not set(wanted.people).isdisjoint(row.people))
        and (wanted.run is None or row.run == wanted.run)
        and (wanted.due_by is None or (row.due_at is not None and row.due_at <= wanted.due_by))
    )
