"""What runs have heard and what they show: for anybody, from any thread."""

from collections.abc import Sequence

from perdure.kernel.project import PublishedRow, UpdateRow
from perdure.stores.postgres.lines import Lines
from perdure.stores.postgres.trouble import told_to_people

_COLUMNS = ", ".join(UpdateRow.__struct_fields__)
_OF_RUN = f"SELECT {_COLUMNS} FROM perdure.updates WHERE run = %b"
_WANTED = "unnest(%b::bigint[], %b::text[]) AS w(key, id)"
_OF_RUNS = f"SELECT w.key, w.id, u.* FROM {_WANTED} CROSS JOIN LATERAL ({_OF_RUN.replace('%b', 'w.key')} AND updates.id = w.id) AS u"
_IN_CHAINS = f"""
SELECT w.key, w.id, u.* FROM {_WANTED} CROSS JOIN LATERAL (
    SELECT {", ".join(f"u.{column}" for column in UpdateRow.__struct_fields__)} FROM perdure.runs own
    JOIN perdure.runs other
        ON other.id = own.id AND CASE own.chain WHEN 0 THEN own.key ELSE own.chain END IN (other.key, other.chain)
    JOIN perdure.updates u ON u.run = other.key AND u.id = w.id
    WHERE own.key = w.key AND (own.chain <> 0 OR own.followed_by > 0) ORDER BY other.key DESC LIMIT 1
) AS u
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
        return self.updates_of([(key, id)]).get((key, id))

    def updates_of(self, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], UpdateRow]:
        rows: dict[tuple[int, str], UpdateRow] = {}
        with told_to_people(self._place), self._lines.use() as line:
            for sql in (_OF_RUNS, _IN_CHAINS):
                left = [asked for asked in wanted if asked not in rows]
                if left:
                    found = line.read(sql, ([key for key, _ in left], [id for _, id in left]))
                    rows |= {(key, id): UpdateRow(*columns) for key, id, *columns in found}
        return rows

    def published(self, key: int) -> list[PublishedRow]:
        with told_to_people(self._place), self._lines.use() as line:
            return [PublishedRow(*columns) for columns in line.read(_PUBLISHED, (key,))]
