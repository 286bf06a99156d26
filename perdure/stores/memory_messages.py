"""What runs have heard and what they show, in the store that forgets."""

from collections.abc import Sequence
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
            found = [self._shelf.updates.get((run, id)) for run in (key, *self._of_chain(key))]
            return next((msgspec.structs.replace(row) for row in found if row is not None), None)

    def updates_of(self, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], UpdateRow]:
        found = {(key, id): self.update(key, id) for key, id in wanted}
        return {asked: row for asked, row in found.items() if row is not None}

    def _of_chain(self, key: int) -> list[int]:
        """The runs of a chain, the newest first."""
        own = self._shelf.runs.get(key)
        if own is None or not (own.chain or own.followed_by > 0):
            return []
        runs = self._shelf.with_id(own.id)
        return sorted((row.key for row in runs if (own.chain or key) in (row.key, row.chain)), reverse=True)

    def published(self, key: int) -> list[PublishedRow]:
        with self._shelf.lock:
            found = [msgspec.structs.replace(row) for row in self._shelf.published.values() if row.run == key]
        return sorted(found, key=lambda row: row.name)
