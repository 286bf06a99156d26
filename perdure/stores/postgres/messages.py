"""What runs have heard and what they show: for anybody, from any thread."""

from perdure.kernel.project import PublishedRow, UpdateRow
from perdure.stores.postgres.lines import Lines
from perdure.stores.postgres.trouble import told_to_people

_COLUMNS = ", ".join(UpdateRow.__struct_fields__)
_OF_RUN = f"SELECT {_COLUMNS} FROM perdure.updates WHERE run = %b"
_IN_CHAIN = f"""
SELECT {", ".join(f"u.{column}" for column in UpdateRow.__struct_fields__)} FROM perdure.runs own
JOIN perdure.runs other
    ON other.id = own.id AND CASE own.chain WHEN 0 THEN own.key ELSE own.chain END IN (other.key, other.chain)
JOIN perdure.updates u ON u.run = other.key AND u.id = %b
WHERE own.key = %b AND (own.chain <> 0 OR own.followed_by > 0) ORDER BY other.key DESC LIMIT 1
"""
_PUBLISHED = "SELECT run, name, at, value FROM perdure.published WHERE run = %b ORDER BY name"


class PostgresMessages:
    def __init__(self, place: str, lines: Lines) -> None:
        self._place = place
        self._lines = lines

    def updates(self, key: int) -> list[UpdateRow]:
        with told_to_people(self._place), self._lines.use() as line:
            return [UpdateRow(*columns) for columns in line.read(f"{_OF_RUN} ORDER BY accepted_at, id", (key,))]

    def update(self, key: int, id: str) -> UpdateRow | None:
        with told_to_people(self._place), self._lines.use() as line:
            found = line.read(f"{_OF_RUN} AND id = %b", (key, id)) or line.read(_IN_CHAIN, (id, key))
        return UpdateRow(*found[0]) if found else None

    def published(self, key: int) -> list[PublishedRow]:
        with told_to_people(self._place), self._lines.use() as line:
            return [PublishedRow(*columns) for columns in line.read(_PUBLISHED, (key,))]
