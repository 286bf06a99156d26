"""Who owns what."""

from collections.abc import Iterable, Sequence

from perdure.stores.base import Poll
from perdure.stores.membership import Claimed
from perdure.stores.postgres.journal import PostgresJournal
from perdure.stores.postgres.lines import Line
from perdure.stores.postgres.trouble import told_to_people
from perdure.stores.postgres.work import poll_of

_POLL = "SELECT * FROM perdure.poll(%b::bigint, %b::bigint, %b::bigint, %b::bigint, %b)"


class PostgresMembership:
    def __init__(self, place: str, line: Line, journal: PostgresJournal) -> None:
        self._place = place
        self._line = line
        self._journal = journal

    @property
    def _me(self) -> int:
        return self._journal.member

    def poll(self, now: int, limit: int, claims: int, starts: bool = True) -> Poll:
        with told_to_people(self._place):
            return poll_of(self._line.ask(_POLL, (self._me, now, limit, claims, starts)))

    def own(self, keys: Iterable[int]) -> dict[int, Claimed]:
        with told_to_people(self._place):
            found = self._line.ask("SELECT * FROM perdure.own(%b::bigint, %b::bigint[])", (self._me, list(keys)))
        return {row[0]: Claimed(*row) for row in found}

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

    def reserve(self, count: int) -> Sequence[int]:
        with told_to_people(self._place):
            return [key for (key,) in self._line.ask("SELECT perdure.reserve(%b::bigint)", (count,))]
