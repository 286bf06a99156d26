"""Who owns what."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from perdure import errors
from perdure.kernel.project import RunRow
from perdure.stores.base import OwnershipLost, Poll
from perdure.stores.membership import Claimed, Waiting
from perdure.stores.postgres.asking import Packed
from perdure.stores.postgres.fence import Fence
from perdure.stores.postgres.lines import Line, Lines, Row
from perdure.stores.postgres.rows import run_row
from perdure.stores.postgres.trouble import told_to_owner, told_to_people
from perdure.stores.postgres.turn import Spare
from perdure.stores.postgres.work import KEY, SELF, poll_of

_FIND = (
    f"SELECT nextval('perdure.keys') * 2, {', '.join(f'r.{name}' for name in RunRow.__struct_fields__)} "
    "FROM unnest(%b::text[]) AS i LEFT JOIN perdure.runs r ON r.id = i AND r.followed_by = 0"
)
_KEY_FOR = "SELECT perdure.key_for($1::text)"
_POLL = "SELECT * FROM perdure.poll(%b::bigint, %b::bigint, %b::bigint, %b::bigint, %b::bigint, %b, %b)"
_OWN = "SELECT * FROM perdure.own(%b::bigint, %b::bigint, %b::bigint[])"
_OWNED = "SELECT 1 FROM perdure.runs WHERE key = %b AND claims >= %b AND owner = %b"
_MENDING = (
    "SELECT key, seq, claims FROM perdure.runs WHERE owner IS NULL AND status IN (4, 5) AND key > %b::bigint "
    "ORDER BY key LIMIT %b::bigint"
)
_ENTER = "SELECT perdure.enter_turn(%b::bigint, %b::bigint, %b::bigint)"
_DECLARE_DEAD = "SELECT perdure.declare_dead(%b::bigint, %b::bigint, %b::bigint, %b::bigint)"
_HAND_OVER = "SELECT perdure.hand_over(%b::bigint, %b::bigint)"

BEAT_SECONDS = 2.0
"""How long a beat waits for its answer: the next one comes soon."""


class PostgresMembership:
    def __init__(self, place: str, line: Line, lines: Lines, fence: Fence, spare: Spare) -> None:
        self._place = place
        self._line = line
        self._lines = lines
        self._fence = fence
        self._spare = spare

    def _ask(self, sql: str, *values: Any) -> list[Row]:
        with told_to_owner(self._place):
            self._fence.open()
            return self._fence.ask(sql, values)

    def poll(self, now: int, limit: int, claims: int, starts: bool = True) -> Poll:
        found = self._ask(_POLL, now, limit, claims, starts, self._fence.missed)
        self._fence.missed = True  # what it tells, unless it is told
        with told_to_owner(self._place):
            behind = any(row[0] == SELF and self._fence.is_behind(row[1], row[2]) for row in found)
        if behind:
            with contextlib.suppress(errors.StoreError):
                self.hand_over()
            raise OwnershipLost("the database has gone back, as a failover or a backup does: all is looked at anew")
        self._fence.missed = False
        self._spare.keep(max((row[1] for row in found if row[0] == KEY), default=0))
        return poll_of(found)

    def own(self, keys: Iterable[int]) -> dict[int, Claimed]:
        owned = {row[0]: Claimed(*row) for row in self._ask(_OWN, list(keys))}
        claimed = next(iter(owned.values()), None)
        if claimed is not None:
            self._fence.claimed(lambda: [(True, _OWNED, (claimed.key, claimed.claims, self._fence.member))])
        return owned

    def mending(self, after: int, limit: int) -> list[Waiting]:
        with told_to_owner(self._place):
            return [Waiting(*columns) for columns in self._line.read(_MENDING, (after, limit))]

    def enter(self, key: int) -> None:
        self._ask(_ENTER, key)

    def beat(self) -> None:
        with told_to_people(self._place), self._lines.use(BEAT_SECONDS) as line:
            line.ask("SELECT perdure.pulse(%b::bigint)", (self._fence.member,))

    def declare_dead(self, member: int, beat: int) -> bool:
        return self._ask(_DECLARE_DEAD, member, beat)[0][0]

    def hand_over(self) -> None:
        self._ask(_HAND_OVER)

    def find(self, ids: Iterable[str]) -> tuple[dict[str, RunRow], Sequence[int]]:
        ids = list(ids)
        with told_to_owner(self._place):
            if len(ids) == 1:  # of a caller who waits; and nearly all ids are new ones
                free = self._line.read(_KEY_FOR, Packed((ids[0].encode("utf-8", "surrogatepass"),)))
                if free and free[0][0]:
                    return {}, [free[0][0]]
            found = self._line.read(_FIND, (ids,))
        return {row[2]: run_row(row[1:]) for row in found if row[1] is not None}, sorted(row[0] for row in found)

    def spare(self) -> int:
        return self._spare.take()

    def reserve(self, count: int) -> Sequence[int]:
        with told_to_owner(self._place):
            return [key for (key,) in self._line.ask("SELECT perdure.reserve(%b::bigint)", (count,))]
