"""An owner's calls: each is fenced by the row of its member, and none that was sent over a connection that is lost comes to
pass after the next one."""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import psycopg

from perdure.stores.base import OwnershipLost
from perdure.stores.postgres.asking import Packed
from perdure.stores.postgres.lines import Line, Row
from perdure.stores.postgres.trouble import is_lost

Sign: TypeAlias = tuple[bool, str, Sequence[Any]]
"""Whether a question must have an answer, and the question."""

_long = struct.Struct("!q").pack

Signs: TypeAlias = Callable[[], Sequence[Sign]]

_LETTERS = (
    "SELECT 1 FROM perdure.mail m JOIN unnest(%b::bigint[], %b::bigint[]) AS u(id, run) ON m.id = u.id AND m.run = u.run "
    "HAVING count(*) = %b::bigint"
)
_SETTLE = "SELECT perdure.settle(%b::bigint)"
_LIFE = "SELECT perdure.timeline(), (SELECT beat FROM perdure.beats WHERE member = %b::bigint)"


class Fence:
    """`member`: whose calls they are, 0 of a store that owns nothing. `in_doubt`: the answer to one of them did not come, and
    nobody knows what it has done, or will do when it comes to the server. `missed`: the same, until the owner was told again what
    it has. Used by the owner's thread."""

    def __init__(self, place: str, line: Line) -> None:
        self._place = place
        self._line = line
        self._term = 0
        self.member = 0
        self.in_doubt = False
        self.missed = False
        self._beat = self._timeline = self._opened = 0
        self._wrote: Signs = tuple
        self._claimed: Signs = tuple
        self._letters: dict[int, int] = {}
        """By what one sees that all is there which the member has written, claimed and read since it polled. What it has written last
        tells of all before that; what it says to have claimed it may have had for long, so that this tells of nothing else."""

    def begin(self, member: int) -> None:
        """From now on they are the calls of that member."""
        self.member, self._term, self.in_doubt, self.missed = member, 0, False, False
        self._beat = self._timeline = 0
        self.wrote(tuple)

    def wrote(self, signs: "Signs") -> None:
        """The member has written that."""
        self._wrote, self._claimed, self._letters = signs, tuple, {}

    def claimed(self, signs: "Signs") -> None:
        """The member has been told that this is its own."""
        self._claimed = signs

    def read(self, letters: Iterable[tuple[int, int]]) -> None:
        """The member has read these letters of these runs, and may delete them by their numbers."""
        self._letters.update(letters)

    def open(self) -> None:
        """See to it that there is a connection, and that nothing is in doubt: what goes wrong here has sent nothing.

        Raises:
            psycopg.Error: there is none.
            OwnershipLost: the member was declared dead.
        """
        if self.in_doubt:
            self.settle()
        self._line.open()
        if self._line.opened != self._opened:
            self._look()

    def ask(self, sql: str, values: Sequence[Any]) -> list[Row]:
        """The rows of a statement, whose first two parameters are the member and its term; on the connection that `open` has looked
        at, and on no other one.

        Raises:
            psycopg.Error: it failed; `in_doubt` says whether anybody knows what came of it.
        """
        try:
            if type(values) is Packed:
                return self._line.ask(sql, Packed((_long(self.member), _long(self._term), *values)), self._opened)
            return self._line.ask(sql, (self.member, self._term, *values), self._opened)
        except psycopg.Error as error:
            if is_lost(error):
                self.in_doubt = self.missed = True
            raise

    def is_behind(self, beat: int, timeline: int) -> bool:
        """Whether the database has lost something that this member has written, as it was told by a poll of just now. What is
        lost is always the end, so that the last thing tells of all.

        Raises:
            psycopg.Error: nobody knows.
        """
        other = self._timeline not in (0, timeline)
        lost = beat <= self._beat or (other and not self._has_last())
        self._beat, self._timeline = beat, timeline
        self.wrote(tuple)
        return lost

    def _look(self) -> None:
        """On a new connection, before anything is written: a server may have taken the place of another that had more. What was
        polled last is lost if the beat is: letters that were read then, by whose numbers others may be called now."""
        opened = self._line.opened
        timeline, beat = self._line.ask(_LIFE, (self.member,))[0]
        fell = beat is not None and beat < self._beat
        if fell or (self._timeline not in (0, timeline) and not self._has_last()):
            raise OwnershipLost(f"{self._place}: the database has gone back, as a failover does: all is looked at anew")
        self._opened = opened

    def _has_last(self) -> bool:
        signs = [*self._wrote(), *self._claimed()]
        if self._letters:
            signs.append((True, _LETTERS, (list(self._letters), list(self._letters.values()), len(self._letters))))
        return all(expected == bool(self._line.ask(sql, values)) for expected, sql, values in signs)

    def settle(self) -> None:
        """On a new connection wait for the member's row: the server has ended then whatever it had begun for this member, and what
        comes to it later is of a term that is over.

        Raises:
            psycopg.Error: that could not be done, and everything is as doubtful as before.
            OwnershipLost: the member was declared dead.
        """
        self._line.close()
        term = self._line.ask(_SETTLE, (self.member,))[0][0]
        if term is None:
            raise OwnershipLost(f"{self._place}: member {self.member} was declared dead")
        self._term, self.in_doubt = term, False
