"""Who owns what."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from perdure.kernel.project import RunRow
from perdure.stores.base import Poll
from perdure.stores.membership import Claimed
from perdure.stores.postgres.journal import PostgresJournal
from perdure.stores.postgres.lines import Line, Row
from perdure.stores.postgres.rows import run_row
from perdure.stores.postgres.trouble import is_lost, told_to_people
from perdure.stores.postgres.work import poll_of

_FIND = (
    f"SELECT nextval('perdure.keys') * 2, {', '.join(f'r.{name}' for name in RunRow.__struct_fields__)} "
    "FROM unnest(%b::text[]) AS i LEFT JOIN perdure.runs r ON r.id = i AND r.followed_by = 0"
)
_POLL = "SELECT * FROM perdure.poll(%b::bigint, %b::bigint, %b::bigint, %b::bigint, %b::bigint, %b, %b)"
_OWN = "SELECT * FROM perdure.own(%b::bigint, %b::bigint, %b::bigint[])"


class PostgresMembership:
    def __init__(self, place: str, line: Line, journal: PostgresJournal) -> None:
        self._place = place
        self._line = line
        self._journal = journal
        self._unsettled = 0
        """Of this member a call was lost that may have claimed runs of which nobody here knows."""
        self._untold = 0
        """The same when that call is over for certain: until a poll tells all that it has."""

    @property
    def _me(self) -> int:
        return self._journal.member

    def poll(self, now: int, limit: int, claims: int, starts: bool = True) -> Poll:
        found = self._ask(_POLL, lambda: (now, limit, claims, starts, self._untold == self._me))
        self._untold = 0
        return poll_of(found)

    def own(self, keys: Iterable[int]) -> dict[int, Claimed]:
        return {row[0]: Claimed(*row) for row in self._ask(_OWN, lambda: (list(keys),))}

    def _ask(self, sql: str, values: Callable[[], Sequence[Any]]) -> list[Row]:
        """A call that may claim runs, when one whose answer was lost has come to its end."""
        with told_to_people(self._place):
            if self._unsettled == self._me:
                self._journal.renew()
                self._unsettled, self._untold = 0, self._me
            try:
                return self._line.ask(sql, (self._me, self._journal.term, *values()))
            except psycopg.Error as error:
                if is_lost(error):
                    self._unsettled = self._me
                raise

    def enter(self, key: int) -> None:
        with told_to_people(self._place):
            self._line.ask("SELECT perdure.enter_turn(%b::bigint, %b::bigint)", (self._me, key))

    def declare_dead(self, member: int, beat: int) -> bool:
        with told_to_people(self._place):
            sql = "SELECT perdure.declare_dead(%b::bigint, %b::bigint, %b::bigint)"
            return self._line.ask(sql, (self._me, member, beat))[0][0]

    def hand_over(self) -> None:
        with told_to_people(self._place):
            self._line.ask("SELECT perdure.hand_over(%b::bigint)", (self._me,))

    def find(self, ids: Iterable[str]) -> tuple[dict[str, RunRow], Sequence[int]]:
        with told_to_people(self._place):
            found = self._line.read(_FIND, (list(ids),))
        return {row[2]: run_row(row[1:]) for row in found if row[1] is not None}, sorted(row[0] for row in found)

    def reserve(self, count: int) -> Sequence[int]:
        with told_to_people(self._place):
            return [key for (key,) in self._line.ask("SELECT perdure.reserve(%b::bigint)", (count,))]
