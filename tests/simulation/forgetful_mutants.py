"""Bugs in how runs go that ended long ago, planted into the stores and into the runtime."""

from typing import Any

from pytest import MonkeyPatch

from perdure.errors import RunNotFound, StoreFull, StoreUnreachable
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime import retention
from perdure.runtime.draft import Draft
from perdure.runtime.letters import Letter
from perdure.runtime.retention import Retention
from perdure.stores import memory_pruning
from perdure.stores.memory import MemoryWork, Shelf
from perdure.stores.pruning import Prune
from tests.simulation.mutants import Mutants, planter

MUTANTS: Mutants = {}
mutant = planter(MUTANTS)

SHARED: Mutants = {}
"""Where several owners share the store."""

shared_mutant = planter(SHARED)


# who goes


@mutant("random", "timers")
def open_runs_go(patch: MonkeyPatch) -> None:
    """a run goes that was begun long ago, be it open."""

    def may_go(row: RunRow, wanted: Prune) -> bool:
        return row.started_at < wanted.closed_before

    patch.setattr(memory_pruning, "may_go", may_go)


@mutant("timers", "random")
def age_is_counted_from_the_start(patch: MonkeyPatch) -> None:
    """a run that has ended just now goes if it was begun long ago."""

    def may_go(row: RunRow, wanted: Prune) -> bool:
        return row.status >= Status.COMPLETED and row.started_at < wanted.closed_before

    patch.setattr(memory_pruning, "may_go", may_go)


@mutant("families", "everything")
def families_are_torn(patch: MonkeyPatch) -> None:
    """a child goes that has ended, be its parent open."""
    patch.setattr(memory_pruning, "root_of", lambda row: row.key)


@mutant("signals to chains", "everything")
def chains_are_torn(patch: MonkeyPatch) -> None:
    """a run goes that goes on as another one, be that open."""
    patch.setattr(memory_pruning, "chain_of", lambda row: row.key)


@mutant("sequence", "random")
def letters_go_unread(patch: MonkeyPatch) -> None:
    """a run goes that has mail, and with it the mail."""
    patch.setattr(memory_pruning, "_is_wanted", lambda shelf, row: False)


@mutant("random", "sequence")
def the_young_go(patch: MonkeyPatch) -> None:
    """runs are kept for half as long as was said."""
    begin = Retention.__init__

    def hurried(self: Retention, *given: Any) -> None:
        begin(self, *given)
        self._keep_ns = self._keep_ns and self._keep_ns // 2

    patch.setattr(Retention, "__init__", hurried)


# who stays, and what


@mutant("random", "sequence")
def who_stays_once_stays(patch: MonkeyPatch) -> None:
    """a pass begins behind all that was looked at before."""
    batch = Retention._batch

    def careless(self: Retention) -> bool:
        more = batch(self)
        self._cleared = self._store.work.last_key()
        return more

    patch.setattr(Retention, "_batch", careless)
    patch.setattr(retention, "PASSES", 10**9)


@mutant("fan-out", "random")
def a_store_that_does_not_answer_ends_it(patch: MonkeyPatch) -> None:
    """after a batch to which the store has not answered there is none."""
    batch = Retention._batch

    def last(self: Retention) -> bool:
        try:
            return batch(self)
        except (StoreFull, StoreUnreachable):
            self._every = float("inf")
            raise

    patch.setattr(Retention, "_batch", last)


@mutant("streams", "retries")
def attempts_stay(patch: MonkeyPatch) -> None:
    """what attempts of a run have left stays when it goes."""
    _leaves(patch, "attempts")


@mutant("streams")
def streams_stay(patch: MonkeyPatch) -> None:
    """the streams of a run stay when it goes."""
    _leaves(patch, "streams")


@mutant("updates")
def answers_stay(patch: MonkeyPatch) -> None:
    """the answers of a run to updates stay when it goes."""
    _leaves(patch, "updates")


@mutant("random")
def histories_stay(patch: MonkeyPatch) -> None:
    """the history of a run stays when it goes."""
    _leaves(patch, "history")


def _leaves(patch: MonkeyPatch, part: str) -> None:
    remove = Shelf.remove

    def leaving(self: Shelf, key: int) -> None:
        left = getattr(self, part)
        kept = dict(left)
        remove(self, key)
        setattr(self, part, kept)

    patch.setattr(Shelf, "remove", leaving)


# what becomes of their places


@mutant("random", "sequence")
def keys_are_given_twice(patch: MonkeyPatch) -> None:
    """a run gets the key of one that has gone."""
    patch.setattr(Shelf, "new_key", lambda self: (max(self.runs, default=0) + 1) | 1)


@mutant("random", "sequence", "signals")
def the_gone_are_not_told_of(patch: MonkeyPatch) -> None:
    """mail for a run that has gone is read, and nobody is told."""
    consume = Draft.consume

    def silent(self: Draft, letter: Letter, code: str = "", *rest: Any, **more: Any) -> None:
        if code == RunNotFound.code:
            letter.reply_to = ""
        consume(self, letter, code, *rest, **more)

    patch.setattr(Draft, "consume", silent)


# several owners


@shared_mutant("sequence", "random")
def letters_that_come_meanwhile_go(patch: MonkeyPatch) -> None:
    """a run goes though it has got mail since it was looked at, and with it the mail."""
    looks: list[int] = []

    def first_only(shelf: Shelf, row: RunRow) -> bool:
        looks.append(row.key)
        return looks.count(row.key) % 2 == 1 and is_wanted(shelf, row)

    is_wanted = memory_pruning._is_wanted
    patch.setattr(memory_pruning, "_is_wanted", first_only)


@shared_mutant("random", "sequence")
def who_has_gone_is_asked_for_by_all(patch: MonkeyPatch) -> None:
    """mail for runs that are not there is read by nobody."""
    patch.setattr(MemoryWork, "_is_mine", lambda self, key: self._shelf.owners.get(key) == self._admin.member)
