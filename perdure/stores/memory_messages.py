"""What runs have heard and what they show, in the store that forgets."""

from typing import TYPE_CHECKING

import msgspec

from perdure.kernel.project import PublishedRow, UpdateRow

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf


class MemoryMessages:
    def __init__(self, shelf: "Shelf") -> None:
        self._shelf = shelf

    def updates(self, key: int) -> list[UpdateRow]:
        with self._shelf.lock:
            found = [msgspec.structs.replace(row) for row in self._shelf.updates.values() if row.run == key]
        return sorted(found, key=lambda row: (row.accepted_at, row.id))

    def update(self, key: int, id: str) -> UpdateRow | None:
        with self._shelf.lock:
            row = self._shelf.updates.get((key, id))
            return None if row is None else msgspec.structs.replace(row)

    def published(self, key: int) -> list[PublishedRow]:
        with self._shelf.lock:
            found = [msgspec.structs.replace(row) for row in self._shelf.published.values() if row.run == key]
        return sorted(found, key=lambda row: row.name)
