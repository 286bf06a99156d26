"""How an owner finds that another has died, and gets what that has left."""

from typing import Any, cast

import pytest

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.project import HistoryRow, RunRow
from perdure.kernel.run import Status
from perdure.runtime import actors
from perdure.runtime.actors import Roster
from perdure.runtime.membership import Holdings
from perdure.runtime.outbox import Outbox
from perdure.runtime.waiters import Waiters
from perdure.stores.base import Batch, Views
from perdure.stores.memory import MemoryStore, Shelf

KEYS = (2, 4, 6)


def member(shelf: Shelf) -> MemoryStore:
    store = MemoryStore(shelf=shelf)
    assert store.admin.try_own("here", 1, "b", 0) is not None
    return store


@pytest.mark.parametrize("lease", [3.0, 4.0, 10.0, 60.0])
def test_one_that_is_silent_is_declared_dead_when_its_own_lease_is_over_and_nobody_polls_more_often_before(
    lease: float,
) -> None:
    shelf = Shelf(shared=True)
    store, other = member(shelf), member(shelf)
    holdings = Holdings(store)
    assert store.membership is not None and other.membership is not None
    beats, leases = {other.admin.member: 0}, {other.admin.member: int(lease * 1e9)}
    now, polls = 0.0, 0
    while not holdings.dead(beats, leases, now):
        polls += 1
        now = min(now + 1.0, holdings.next_look)

    assert now == pytest.approx(lease)
    assert polls <= lease + 2


def test_one_that_lives_makes_nobody_poll_more_often() -> None:
    shelf = Shelf(shared=True)
    store, other = member(shelf), member(shelf)
    holdings, leases = Holdings(store), {other.admin.member: 3 * 10**9}
    for second in range(20):
        assert holdings.dead({other.admin.member: second}, leases, float(second)) == []
        assert holdings.next_look >= second + 1.0


@pytest.fixture
def store() -> MemoryStore:
    """With runs that have begun."""
    store = member(Shelf(shared=True))
    started = ev.RunStarted(0, "w", ev.Payload(b"[]"), b"r" * 16, "b")
    events = wire.encode([started])
    rows = [RunRow(key, f"r{key}", b"r" * 16, "w", Status.RUNNING, "", "b", 0, None, None, 1) for key in KEYS]
    store.journal.commit(Batch(created=rows, history=[HistoryRow(key, 1, events) for key in KEYS]))
    return store


def counted(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    loads: list[list[int]] = []
    load = store.work.load

    def counting(keys: Any) -> Any:
        loads.append(list(keys))
        return load(keys)

    monkeypatch.setattr(store.work, "load", counting)
    return loads


def settled(store: MemoryStore) -> Roster:
    """All runs are here, and what they were made from is forgotten."""
    roster = Roster(store, 10)
    for stored in list(roster.fetch(KEYS)):
        roster.settle(roster.take_in(stored))
    return roster


def test_histories_that_a_batch_needs_are_read_in_one_go(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    roster = settled(store)
    loads = counted(store, monkeypatch)

    roster.bring_histories([2, 4, 6, 2, 8])
    histories = [actor.history() for key in KEYS if (actor := roster.get(key))]

    assert loads == [list(KEYS)]
    assert [[type(event) for event in history] for history in histories] == [[ev.RunStarted]] * 3


def test_one_history_is_read_when_it_is_needed_and_long_ones_are_not_read_ahead(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster = settled(store)
    loads = counted(store, monkeypatch)
    monkeypatch.setattr(actors, "HISTORIES_EVENTS", 1)

    roster.bring_histories(KEYS)

    assert loads == []


def test_a_history_that_was_read_ahead_and_has_grown_since_is_read_again(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster = settled(store)
    roster.bring_histories(KEYS)
    loads = counted(store, monkeypatch)
    actor = roster.get(2)
    assert actor is not None
    store.journal.commit(Batch(history=[HistoryRow(2, 2, wire.encode([ev.CancelRequested(1, "enough")]))]))
    actor.seq = 2

    assert len(actor.history()) == 2

    assert loads == [[2]]


def test_how_runs_get_on_that_are_moved_here_is_not_asked_of_the_store() -> None:
    asked: list[list[int]] = []

    class Asked:
        def rows_by_key(self, keys: list[int]) -> dict[int, Any]:
            asked.append(list(keys))
            return {}

    class Nobody:
        loop = None

        def receive(self, value: Any, error: BaseException | None) -> None: ...

    waiters, views = Waiters(), cast(Views, Asked())
    for key in (2, 4, 6):
        waiters.add(key, "a", Nobody())
    waiters.look(views, Outbox(), {4: "here"}.get)

    assert asked == [[2, 6]]
    assert len(waiters) == 1
