"""Taking part, publishing, closing."""

import threading
from collections.abc import Callable, Sequence
from itertools import islice

from perdure.stores.base import LEASE_NS, BuildRow, DefinitionRow
from perdure.stores.health import PROBLEM_LINES
from perdure.stores.postgres import checking
from perdure.stores.postgres.fence import Fence
from perdure.stores.postgres.hints import Listener
from perdure.stores.postgres.lines import Line, Lines
from perdure.stores.postgres.trouble import told_to_owner, told_to_people
from perdure.stores.pruning import Prune, Pruned

_JOIN = "SELECT perdure.join_members(%b, %b::bigint, %b, %b::bigint, %b::bigint, %b::bigint, %b::integer)"
_PUBLISH = "SELECT perdure.publish(%b::bigint, %b::text[], %b::text[], %b::bytea[], %b::text[])"
_BUILDS = """
SELECT CASE pinned WHEN '' THEN build ELSE pinned END COLLATE "C" AS named, pinned <> '' AS holds,
       count(*), count(*) FILTER (WHERE status < 7), max(started_at)
FROM perdure.runs WHERE seq > 0 GROUP BY named, holds ORDER BY max(started_at) DESC, 1, 2
"""

_PRUNE = "SELECT * FROM perdure.prune(%b::bigint, %b::bigint, %b::bigint, %b::text, %b::smallint[], %b::bigint[], %b::boolean)"

SILENT_SHARE = 0.6
"""An owner waits for an answer this part of the time for which it may be silent: then it can still say on another connection that
it lives."""


class PostgresAdmin:
    def __init__(self, place: str, knows: int, line: Line, lines: Lines, listener: Listener, fence: Fence) -> None:
        self._place = place
        self._knows = knows
        self._line = line
        self._patience = line.patience
        self._lines = lines
        self._listener = listener
        self._fence = fence
        self._listens = 0

    def time(self) -> int:
        with told_to_people(self._place), self._lines.use() as line:
            return line.read("SELECT perdure.clock()")[0][0]

    def try_own(self, host: str, pid: int, build: str, now: int, lease_ns: int = LEASE_NS) -> int | None:
        self._line.wait_for(min(self._patience, SILENT_SHARE * lease_ns / 1e9))
        with told_to_people(self._place):
            values = (host, pid, build, now, lease_ns, self._fence.member, self._knows)
            member = self._line.ask(_JOIN, values)[0][0]
        self._fence.begin(member)
        return member

    def publish(self, definitions: Sequence[DefinitionRow]) -> None:
        kinds = [row.kind for row in definitions]
        names = [row.name for row in definitions]
        parameters = [row.parameters for row in definitions]
        workflows = [row.name for row in definitions if row.kind == "workflow"]
        with told_to_owner(self._place):
            self._line.ask(_PUBLISH, (self._fence.member, kinds, names, parameters, workflows))

    def listen(self, on_nudge: Callable[[], None]) -> None:
        self._lines.serve(threading.get_ident(), self._line.patience)
        if self._listens not in (0, self._fence.member):  # it was taken for dead, and goes on as another one
            self._listener.remove(self._listens)
        self._listens = self._fence.member
        self._listener.add(self._listens, on_nudge)

    def builds(self) -> list[BuildRow]:
        with told_to_people(self._place), self._lines.use() as line:
            return [BuildRow(*columns) for columns in line.read(_BUILDS)]

    def check(self) -> list[str]:
        with told_to_people(self._place), self._lines.use() as line, line.transaction(checking.ISOLATION) as connection:
            return list(islice(checking.problems(connection), PROBLEM_LINES))

    def prune(self, wanted: Prune) -> Pruned:
        values = (
            wanted.closed_before,
            wanted.after,
            wanted.limit,
            wanted.workflow,
            list(wanted.statuses),
            list(wanted.spared),
            wanted.counts_only,
        )
        with told_to_people(self._place), self._lines.use() as line:
            return Pruned(*line.ask(_PRUNE, values)[0])

    def tidy(self, now: int) -> None:
        with told_to_people(self._place), self._lines.use() as line:
            line.ask("SELECT perdure.tidy(%b::bigint)", (now,))

    def close(self) -> None:
        self._fence.begin(0)
        self._listener.close()
        self._line.close()
        self._lines.close()
