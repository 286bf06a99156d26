"""Held runs hear of code that has come."""

from typing import Any

import pytest

from perdure.errors import StoreUnreachable
from perdure.kernel.messages import Code, NewCode
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.actors import Roster
from perdure.runtime.letters import Letter
from perdure.runtime.offers import Offers
from perdure.runtime.workforce import Workforce
from perdure.stores.base import Batch
from perdure.stores.memory import MemoryStore

NEW = NewCode((Code("b1", ("gpu",), ("render",)),))


class Work:
    """A store's, which does not answer while it is `silent`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.silent = False

    def held(self) -> list[int]:
        if self.silent:
            raise StoreUnreachable("not now")
        return self._store.work.held()


class Yard:
    """Runs with the keys 2, 4, 6 and 8, of which 4 only waits."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.admin.try_own("here", 1, "b", 1)
        statuses = {2: Status.HELD, 4: Status.WAITING, 6: Status.HELD, 8: Status.HELD}
        rows = [RunRow(key, f"run-{key}", b"r", "w", s, "", "b", 1, None, None, 1) for key, s in statuses.items()]
        self.store.journal.commit(Batch(created=rows))
        self.member = self.store.tasks.join("here", 2, "b1", 1, ["gpu"], ["render"])
        self.work: Any = Work(self.store)
        self.offers = Offers(self.work, Roster(self.store, 9), Workforce(self.store.views))


def told(letters: list[Letter]) -> list[tuple[int, Any]]:
    return [(letter.key, letter.message) for letter in letters]


def test_each_held_run_gets_a_letter_some_at_a_time() -> None:
    yard = Yard()

    yard.offers.look([yard.member], [])

    assert yard.offers
    assert told(yard.offers.take(2)) == [(2, NEW), (6, NEW)]
    assert told(yard.offers.take(2)) == [(8, NEW)]
    assert not yard.offers
    yard.offers.look([yard.member], [])
    assert not yard.offers


def test_who_is_looked_after_later_hears_of_all_code_then() -> None:
    yard = Yard()

    yard.offers.look([yard.member], [6])

    assert told(yard.offers.take(9)) == [(2, NEW), (8, NEW)]
    assert told(yard.offers.to(6)) == [(6, NEW)]


def test_without_workers_there_is_nothing_to_tell() -> None:
    yard = Yard()

    yard.offers.look([], [])

    assert not yard.offers
    assert yard.offers.to(2) == []


def test_what_was_not_told_as_the_store_did_not_answer_is_told_at_the_next_look() -> None:
    yard = Yard()
    yard.work.silent = True
    with pytest.raises(StoreUnreachable):
        yard.offers.look([yard.member], [])
    yard.work.silent = False

    yard.offers.look([yard.member], [])

    assert told(yard.offers.take(9)) == [(2, NEW), (6, NEW), (8, NEW)]
