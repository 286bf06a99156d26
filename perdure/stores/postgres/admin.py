"""Taking part, publishing, closing."""

from collections.abc import Callable, Sequence

from perdure.stores.base import LEASE_NS, DefinitionRow
from perdure.stores.postgres.hints import Listener
from perdure.stores.postgres.journal import PostgresJournal
from perdure.stores.postgres.lines import Line, Lines
from perdure.stores.postgres.trouble import told_to_people

_JOIN = "SELECT perdure.join_members(%b, %b::bigint, %b, %b::bigint, %b::bigint)"
_PUBLISH = "SELECT perdure.publish(%b::bigint, %b::text[], %b::text[], %b::bytea[], %b::text[])"


class PostgresAdmin:
    def __init__(self, place: str, line: Line, lines: Lines, listener: Listener, journal: PostgresJournal) -> None:
        self._place = place
        self._line = line
        self._lines = lines
        self._listener = listener
        self._journal = journal

    def try_own(self, host: str, pid: int, build: str, now: int, lease_ns: int = LEASE_NS) -> int | None:
        with told_to_people(self._place):
            member = self._line.ask(_JOIN, (host, pid, build, now, lease_ns))[0][0]
        self._journal.begin(member)
        return member

    def publish(self, definitions: Sequence[DefinitionRow]) -> None:
        kinds = [row.kind for row in definitions]
        names = [row.name for row in definitions]
        parameters = [row.parameters for row in definitions]
        workflows = [row.name for row in definitions if row.kind == "workflow"]
        with told_to_people(self._place):
            self._line.ask(_PUBLISH, (self._journal.member, kinds, names, parameters, workflows))

    def listen(self, on_nudge: Callable[[], None]) -> None:
        self._listener.add(self._journal.member, on_nudge)

    def close(self) -> None:
        self._journal.begin(0)
        self._listener.close()
        self._line.close()
        self._lines.close()
