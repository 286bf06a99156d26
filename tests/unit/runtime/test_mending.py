"""Which runs that wait for other code are shown the code at hand, and how soon, however many wait."""

from collections.abc import Sequence
from typing import Any

import pytest

from perdure.kernel import wire
from perdure.kernel.events import Block
from perdure.kernel.project import HistoryRow, RunRow
from perdure.kernel.run import Status
from perdure.runtime import mending
from perdure.runtime.membership import Holdings
from perdure.runtime.mending import Mending
from perdure.stores.base import Batch
from perdure.stores.membership import Waiting
from perdure.stores.memory import MemoryStore, Shelf
from tests.conformance.rows import run


class Members:
    """One whose code is `mine`, and another one, which blocks runs."""

    def __init__(self) -> None:
        shelf = Shelf(shared=True)
        self.mine, self.other = MemoryStore(shelf=shelf), MemoryStore(shelf=shelf)
        for store in (self.mine, self.other):
            assert store.admin.try_own("here", 1, "mine" if store is self.mine else "theirs", 1)
        self.mending = Mending(self.mine.work, Holdings(self.mine), "mine", {"order"})
        self.time = 0.0

    def block(self, keys: Sequence[int], build: str = "theirs") -> None:
        parks = [(key, 1) for key in keys]
        rows = [_blocked(key, build) for key in keys]
        self.other.journal.commit(Batch(created=rows, history=[HistoryRow(key, 1, b"e") for key in keys], parks=parks))

    def block_again(self, key: int, build: str) -> None:
        store = self.mine if self.mine.membership is not None and build == "mine" else self.other
        assert store.membership is not None
        assert store.membership.own([key])
        store.journal.commit(Batch(updated=[_blocked(key, build)], parks=[(key, 1)]))

    def look(self) -> list[int]:
        """A second later."""
        self.time += 1.1
        return self.mending.look(True, self.time)


def _blocked(key: int, build: str) -> RunRow:
    block = Block("bug", build, "why", "", at=1)
    return run(key, status=Status.BLOCKED, block=wire.encode(block))


@pytest.fixture
def members() -> Members:
    return Members()


def test_a_run_is_shown_this_code_once_and_again_when_it_has_gone_on(members: Members) -> None:
    members.block([2])

    assert members.look() == [2]
    members.block_again(2, "mine")
    assert members.look() == []
    members.block_again(2, "theirs")
    assert members.look() == []


def test_what_this_code_has_blocked_is_looked_at_again_when_somebody_has_had_it(members: Members) -> None:
    members.block([2], build="mine")
    assert members.look() == []

    members.block_again(2, "theirs")

    assert members.look() == [2]


def test_a_new_one_behind_very_many_others_is_found_at_once(members: Members) -> None:
    """In the time in which a thousandth of them could be looked at."""
    many = 9_000
    members.block(range(2, 2 * many, 2), build="mine")
    while not members.mending.is_over:
        assert members.look() == []

    members.block([4 * many])

    assert members.look() == [4 * many]


def test_of_new_ones_a_part_is_looked_at_at_a_time(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "LOOKED_AT", 3)
    monkeypatch.setattr(mending, "PART", 5)
    members.block(range(2, 26, 2))

    found = [members.look() for _ in range(6)]

    assert max(map(len, found)) == 3
    assert sorted(key for keys in found for key in keys) == list(range(2, 26, 2))


def test_a_run_that_was_tried_is_not_tried_again_though_it_was_looked_for_while_it_was_somebody_s(
    members: Members,
) -> None:
    members.block([2, 4], build="theirs")
    assert members.look() == [2, 4]
    members.block_again(4, "mine")
    assert members.look() == []  # run 2 has not come back yet

    members.block_again(2, "mine")

    assert [members.look() for _ in range(3)] == [[], [], []]


class Crowd:
    """Very many runs that nobody owns, as a store tells of them: those with even keys."""

    shared = True

    def __init__(self, count: int) -> None:
        self.last = 2 * count
        self.new: dict[int, Waiting] = {}
        self.looked_at = 0

    def mending(self, after: int, limit: int) -> list[Waiting]:
        first = after + 2 - after % 2
        there = [Waiting(key, 1, 1) for key in range(first, min(first + 2 * limit, self.last + 2), 2)]
        return sorted([*there, *(each for key, each in self.new.items() if key > after)], key=lambda each: each.key)[
            :limit
        ]

    def rows(self, keys: Sequence[int]) -> dict[int, RunRow]:
        self.looked_at += len(keys)
        return {key: _blocked(key, "theirs" if key in self.new else "mine") for key in keys}

    def own(self, keys: Sequence[int]) -> dict[int, Waiting]:
        return {key: self.new.pop(key) for key in keys}


def test_a_new_one_is_found_as_soon_as_all_have_been_gone_through_however_many_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of so many that are of no use each is looked at once."""
    monkeypatch.setattr(mending, "LOOKED_AT", mending.PART)
    crowd = Crowd(250_000)
    made: Any = crowd
    mends, time = Mending(MemoryStore().work, made, "mine", {"order"}), 0.0
    while not mends.is_over:
        assert mends.look(True, time) == []
    assert crowd.looked_at == 250_000

    for key in (3, 250_001, crowd.last + 1):
        crowd.new[key] = Waiting(key, 1, 1)
        found: list[int] = []
        looks = 0
        while not found:
            time += 1.1
            found = mends.look(True, time)
            looks += 1
            assert looks <= 250_000 // mending.PART + 1
        assert found == [key]
    assert crowd.looked_at == 250_003
