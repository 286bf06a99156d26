"""What runs have heard and what they show: for anybody, from any thread."""

from collections.abc import Sequence

from perdure.kernel.project import PublishedRow, UpdateRow
from perdure.stores.sqlite import rows
from perdure.stores.sqlite.lines import Readers
from perdure.stores.sqlite.trouble import told_to_people

_UPDATES = f"SELECT {rows.UPDATE_COLUMNS} FROM updates WHERE run = ?"


_IN_CHAIN = f"""
SELECT {", ".join(f"updates.{column}" for column in UpdateRow.__struct_fields__)} FROM runs AS own
JOIN runs AS other ON other.id = own.id AND iif(own.chain, own.chain, own.key) IN (other.key, other.chain)
JOIN updates ON updates.run = other.key AND updates.id = ?
WHERE own.key = ? AND (own.chain <> 0 OR own.followed_by > 0) ORDER BY other.key DESC LIMIT 1
"""


class SqliteMessages:
    def __init__(self, path: str, readers: Readers) -> None:
        self._path = path
        self._readers = readers

    def updates(self, key: int) -> list[UpdateRow]:
        with told_to_people(self._path), self._readers.use() as connection:
            found = connection.execute(f"{_UPDATES} ORDER BY accepted_at, id", (key,)).fetchall()
        return [UpdateRow(*columns) for columns in found]

    def update(self, key: int, id: str) -> UpdateRow | None:
        return self.updates_of([(key, id)]).get((key, id))

    def updates_of(self, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], UpdateRow]:
        """Of a database that is in this process, so that many questions cost what they find."""
        rows: dict[tuple[int, str], UpdateRow] = {}
        with told_to_people(self._path), self._readers.use() as connection:
            for key, id in wanted:
                found = connection.execute(f"{_UPDATES} AND id = ?", (key, id)).fetchone()
                found = found or connection.execute(_IN_CHAIN, (id, key)).fetchone()
                if found is not None:
                    rows[key, id] = UpdateRow(*found)
        return rows

    def published(self, key: int) -> list[PublishedRow]:
        with told_to_people(self._path), self._readers.use() as connection:
            found = connection.execute(
                f"SELECT {rows.PUBLISHED_COLUMNS} FROM published WHERE run = ? ORDER BY name", (key,)
            ).fetchall()
        return [PublishedRow(*columns) for columns in found]
