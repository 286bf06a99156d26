"""Several owners of one store: which runs are whose, who lives, and what becomes of the runs of the dead.

A *member* is new for each start of a process, lives until it is declared dead or hands over, and then never again. It owns
runs while they are awake: one that only waits is parked, in the very commit after which it waits, and nobody owns it then.
Whoever polls claims runs that nobody living owns and that are due or have mail. Each commit is fenced: whoever was declared
dead has not written, or everybody sees that it has. The rules and what fails without each of them: docs/architecture.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from perdure.kernel.project import RunRow
    from perdure.stores.base import Poll


class Claimed(msgspec.Struct, frozen=True):
    """A run that is the caller's from now on.

    `claims` counts how often it has found an owner: what the caller has kept of a run that it has parked is true still if
    this is the next claim. `left_by`: the dead member that had it, 0 if nobody had it. `deaths`: so many members have died
    that had it since its history has grown last. `in_turn`: the last of them died in the turn of this run.
    """

    key: int
    claims: int
    left_by: int = 0
    deaths: int = 0
    in_turn: bool = False


class Waiting(msgspec.Struct, frozen=True):
    """A run that waits for other code: how many events it has, and how often it has found an owner."""

    key: int
    seq: int
    claims: int


class Membership(Protocol):
    """Asked by an owner, from its thread. Every call but `mending`, `beat`, `find`, `spare` and `reserve` is fenced: it raises base.OwnershipLost, and has changed
    nothing, once the caller was declared dead."""

    def poll(self, now: int, limit: int, claims: int, starts: bool = True) -> "Poll":
        """Beat; claim runs that nobody living owns and that are due or have mail, at most so many, as far as this member's code is
        for them: those of the dead first, then by turns what is due for longest and what has had mail for longest, so that however
        little room there is nobody waits for ever. Without `starts` of those of the dead, too, only what is due or has mail, and none that
        has not begun. Then what `Work.poll` says of all that the member owns. After an answer that did
        not come, all runs of the caller are among those that were claimed: as left by whom they were taken over from, if they
        were not written since, the others as left by the caller itself."""
        ...

    def own(self, keys: Iterable[int]) -> Mapping[int, Claimed]:
        """These runs, as far as no other living member owns them: they are the caller's. One in whose turn a member has died
        is left to `poll`, which says so."""
        ...

    def mending(self, after: int, limit: int) -> list[Waiting]:
        """Runs that are held or blocked, and that nobody owns: those with the lowest keys above this one, at most so many."""
        ...

    def enter(self, key: int) -> None:
        """Make known that the caller is in the turn of this run, or, with 0, that it is in none."""
        ...

    def beat(self) -> None:
        """Tell that the caller lives, from any thread; a poll does so by itself. Of one that was declared dead nothing comes of it."""
        ...

    def declare_dead(self, member: int, beat: int) -> bool:
        """End a member that has not beaten since. False if it has, or if it is just about to commit something: look again."""
        ...

    def hand_over(self) -> None:
        """End this member, and give all its runs to whoever polls next. The last thing it does."""
        ...

    def find(self, ids: Iterable[str]) -> "tuple[dict[str, RunRow], Sequence[int]]":
        """The newest run of each of these ids that exists; and keys that nobody else gets, one for each id, for runs that begin
        now. They are above those of all runs that were found."""
        ...

    def spare(self) -> int:
        """A key that was reserved a moment ago, and that nobody else gets, for a run that begins now, and that follows none and is
        nobody's child; 0 if there is none. There may be runs that have begun since and have greater ones."""
        ...

    def reserve(self, count: int) -> Sequence[int]:
        """Keys that nobody else gets, for new runs: so many, growing, above all that were given away before."""
        ...
