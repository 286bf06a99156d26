"""Runs that ended long ago go, in a simulation: none goes that must not, and in the end none is left; and what befalls that.

What goes is remembered here as it was, so that it can still be asked how each run has ended.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.errors import StoreFull, StoreUnreachable
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.retention import PASS_SECONDS
from perdure.stores.base import Admin, RunFilter, Store, Stored
from perdure.stores.pruning import Prune, Pruned
from perdure.testing.simulation.histories import demand
from perdure.testing.simulation.plan import SHARED_STRIKES, Plan
from perdure.testing.simulation.reasons import stored_of
from perdure.testing.simulation.world import Crash

ALL = 1_000_000


class Graves:
    """`store`: a handle of its own, by which it looks."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._known: dict[int, Stored] = {}
        self._gone: set[int] = set()
        self._strikes = {each.at: each for each in plan.strikes}
        self._batches = 0
        self.come: Callable[[int], None] = lambda key: None
        """Has somebody come to a run, of that key."""
        self.keep_seconds = plan.retention
        self.clocks_differ = any(each.clock for each in plan.disturbances)

    def know(self, stored: Stored) -> None:
        """What a run is now."""
        self._known[stored.run.key] = stored

    def withdraw(self, key: int) -> None:
        """It was never begun."""
        self._known.pop(key, None)

    def known(self, key: int) -> Stored:
        """What a run was when it was committed the last time."""
        return self._known[key]

    def newest(self, id: str) -> Stored | None:
        """The newest run that has ever had the id."""
        return max(
            (each for each in self._known.values() if each.run.id == id), key=lambda each: each.run.key, default=None
        )

    def has(self, id: str) -> bool:
        """Whether the newest run of the id is one that has gone."""
        newest = self.newest(id)
        return newest is not None and newest.run.key in self._gone and self._store.views.row(id) is None

    def has_key(self, key: int) -> bool:
        return key in self._gone

    @property
    def most_seconds(self) -> float:
        """After so long nothing is left of a run that has ended."""
        assert self.keep_seconds is not None
        return self.keep_seconds + PASS_SECONDS[1] + 1.0

    def is_empty(self) -> bool:
        return not self._rows()

    def oldest_of(self, wanted: Prune) -> int:
        """The first that may go in that batch."""
        old = [
            key
            for key, row in self._rows().items()
            if key > wanted.after
            and row.closed_at is not None
            and row.closed_at < wanted.closed_before
            and key in self._known
        ]
        return min(old, default=0)

    def next_strike(self) -> str:
        """What befalls the next batch."""
        self._batches += 1
        strike = self._strikes.pop(self._batches, None)
        return "" if strike is None else strike.how

    def prune(self, admin: Admin, wanted: Prune, now: int, alone: bool) -> Pruned:
        """A batch, and whether it was the right one. `alone`: nobody acts between its statements."""
        assert self.keep_seconds is not None
        demand(wanted.closed_before <= now - int(self.keep_seconds * 1e9), "runs go that are too young (6)")
        rows, letters = self._rows(), self._letters() if alone else set()
        told = admin.prune(wanted)
        after = self._rows()
        gone = {
            key: row for key, row in rows.items() if key not in after and key not in self._gone and key in self._known
        }
        self._gone |= gone.keys()
        still_open = [row for row in after.values() if row.status < Status.COMPLETED]
        roots = {row.root or row.key for row in still_open}
        chains = {row.chain or row.key for row in still_open}
        for key, row in gone.items():
            what = f"{row.id} goes, "
            demand(row.status >= Status.COMPLETED, f"{what}which is {Status(row.status).word} (6)")
            demand((row.closed_at or now) < wanted.closed_before, f"{what}which has ended just now (6)")
            demand(key not in wanted.spared, f"{what}and somebody waits for it (6)")
            demand((row.root or key) not in roots, f"{what}and one of its family is open (6)")
            demand((row.chain or key) not in chains, f"{what}and its chain goes on (6)")
            demand(key not in {run for run, _ in letters}, f"{what}and has mail (3)")
        demand(not alone or letters == self._letters(), "letters go with runs that are not theirs (3)")
        return told

    def demand_empty(self) -> None:
        """All have ended long ago."""
        left = sorted(row.id for row in self._rows().values())
        demand(not left, f"{', '.join(left)}: ended long ago, and still there (9)")

    def _rows(self) -> dict[int, RunRow]:
        return {row.key: row for row in self._store.views.search(RunFilter(limit=ALL))}

    def _letters(self) -> set[tuple[int, int]]:
        return {(mail.run, mail.id) for one in stored_of(self._store, self._rows()).values() for mail in one.mail}


class Sexton:
    """The part of a store by which an owner has runs go; otherwise it is that of the store. `between` is given what shall happen
    between its statements: something, or what others do ("interleaved") or do for long ("frozen")."""

    def __init__(
        self,
        admin: Admin,
        graves: Graves,
        now: Callable[[], int],
        say: Callable[[str, str], None],
        between: Callable[[Callable[[], None] | str], None],
    ) -> None:
        self._admin = admin
        self._graves = graves
        self._now = now
        self._say = say
        self._between = between

    def __getattr__(self, name: str) -> Any:
        return getattr(self._admin, name)

    def prune(self, wanted: Prune) -> Pruned:
        how = ""
        if self._admin.prune(msgspec.structs.replace(wanted, counts_only=True)).runs:
            how = self._graves.next_strike()
        if how:
            self._say("strike", how)
        match how:
            case "before":
                raise Crash
            case "unavailable":
                raise StoreUnreachable("it does not answer")
            case "full":
                raise StoreFull("there is no room")
            case "visited":
                self._visit(wanted)
            case "visited meanwhile":
                self._between(lambda: self._visit(wanted))
            case "interleaved" | "frozen":
                self._between(how)
            case _:
                pass
        told = self._graves.prune(self._admin, wanted, self._now(), how not in SHARED_STRIKES)
        if told.runs:
            self._say("gone", f"{told.runs}")
        if how == "after":
            raise Crash
        if how == "in doubt":
            raise StoreUnreachable("the answer does not come")
        return told

    def _visit(self, wanted: Prune) -> None:
        key = self._graves.oldest_of(wanted)
        if key:
            self._graves.come(key)


def watched(store: Store, sexton: Sexton) -> Store:
    """The store, as its owner uses it."""
    store.admin = sexton  # type: ignore[assignment]
    return store
