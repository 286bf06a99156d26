"""Open human tasks, against every store."""

from typing import Any

import msgspec

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.human import HumanTask
from perdure.kernel.human_rows import HumanTaskRow, fold, row_of
from perdure.kernel.project import HistoryRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.human import HumanFilter
from tests.conformance.rows import run


def row(key: int, step: str = "0:1", **fields: Any) -> HumanTaskRow:
    made = HumanTaskRow(key, step, "Approve", (), "", 100 + key, None, None, None, 0, False, b"body")
    return msgspec.structs.replace(made, **fields)


def found(store: base.Store, *people: str, **wanted: Any) -> list[tuple[int, str]]:
    return [(one.run, one.step) for one in store.views.human.find(HumanFilter(people, **wanted))]


def filled(store: base.Store, *rows: HumanTaskRow) -> None:
    store.journal.commit(base.Batch(created=[run(key) for key in (2, 4, 6)], human=list(rows)))


def test_a_task_is_read_back_and_lists_leave_out_its_body(store: base.Store) -> None:
    whole = row(
        2, assignees=("ann", "group:credit"), claimed_by="bob", due_at=7, remind_at=8, expires_at=9, reminders=2
    )
    filled(store, whole)

    assert store.views.human.one(2, "0:1") == whole
    assert store.views.human.one(2, "0:2") is None
    assert store.views.human.find(HumanFilter()) == [msgspec.structs.replace(whole, body=b"")]


def test_tasks_are_found_by_whom_they_are_for_and_by_who_has_them(store: base.Store) -> None:
    filled(store, row(2, assignees=("ann",)), row(4, assignees=("group:credit",), claimed_by="ann"), row(6))

    assert found(store) == [(2, "0:1"), (4, "0:1"), (6, "0:1")]
    assert found(store, "ann") == [(2, "0:1"), (4, "0:1")]
    assert found(store, "group:credit", "nobody") == [(4, "0:1")]
    assert found(store, "an") == []


def test_tasks_are_found_by_run_and_by_due_time_the_oldest_first(store: base.Store) -> None:
    filled(store, row(2, "0:2", due_at=5), row(2, "0:1", due_at=9), row(4, opened_at=1), row(6, due_at=6))

    assert found(store) == [(4, "0:1"), (2, "0:1"), (2, "0:2"), (6, "0:1")]
    assert found(store, run=2) == [(2, "0:1"), (2, "0:2")]
    assert found(store, due_by=6) == [(2, "0:2"), (6, "0:1")]
    assert found(store, limit=2) == [(4, "0:1"), (2, "0:1")]


def test_a_later_row_takes_the_place_of_an_earlier_one_and_of_those_it_was_found_by(store: base.Store) -> None:
    filled(store, row(2, assignees=("ann",), claimed_by="bob"))

    store.journal.commit(base.Batch(updated=[run(2)], human=[row(2, claimed_by="x"), row(2, claimed_by="cy")]))

    assert found(store, "ann", "bob", "x") == []
    assert found(store, "cy") == [(2, "0:1")]


def test_tasks_go_by_themselves_and_with_their_run(store: base.Store) -> None:
    filled(store, row(2), row(2, "0:2", assignees=("ann",)), row(4), row(6, assignees=("ann",)))

    store.journal.commit(base.Batch(human_gone=[(2, "0:1"), (2, "0:9")], human_gone_of=[6]))

    assert found(store) == [(2, "0:2"), (4, "0:1")]
    assert found(store, "ann") == [(2, "0:2")]


def test_what_goes_in_a_batch_goes_before_what_comes(store: base.Store) -> None:
    filled(store, row(2))

    store.journal.commit(base.Batch(human_gone_of=[2], human_gone=[(2, "0:3")], human=[row(2, "0:3")]))

    assert found(store) == [(2, "0:3")]


def test_a_withdrawn_run_leaves_no_task(store: base.Store) -> None:
    filled(store, row(2, assignees=("ann",)))

    store.journal.commit(base.Batch(withdrawn=[2]))

    assert found(store) == []
    assert found(store, "ann") == []


def asking(store: base.Store, *events: ev.HistoryEvent) -> list[HumanTaskRow]:
    """A run whose history has these events; the rows of its tasks by it."""
    tasks: dict[str, HumanTask] = {}
    for event in events:
        fold(tasks, event)
    history = [HistoryRow(2, 1, wire.encode(list(events)))]
    store.journal.commit(base.Batch(created=[run(2, seq=len(events))], history=history))
    return [row_of(2, task) for task in tasks.values()]


OPENED = ev.TaskOpened(1, "0:1", "Approve", {"type": "boolean"}, None, ("ann",), 9, 2)


def test_a_check_finds_no_fault_in_tasks_that_are_what_the_history_has(store: base.Store) -> None:
    rows = asking(store, OPENED, ev.TaskClaimed(2, "0:1", "ann"), ev.TaskReminded(3, "0:1", "reminder"))
    store.journal.commit(base.Batch(human=rows))

    assert store.admin.check() == []


def test_a_check_names_a_task_that_is_not_what_the_history_has(store: base.Store) -> None:
    rows = asking(store, OPENED, ev.TaskOpened(1, "0:2", "Ship", {}), ev.TaskWithdrawn(2, "0:2"))
    store.journal.commit(base.Batch(human=[msgspec.structs.replace(rows[0], claimed_by="bob"), row(2, "0:2")]))

    assert store.admin.check() == [
        "run 'run-2': what is listed of its human task 0:1 is not what its history has",
        "run 'run-2': what is listed of its human task 0:2 is not what its history has",
    ]


def test_a_check_names_a_task_of_a_run_that_has_ended(store: base.Store) -> None:
    rows = asking(store, OPENED)
    ended = run(2, seq=1, status=Status.COMPLETED)
    store.journal.commit(base.Batch(updated=[ended], human=rows))

    assert len(store.admin.check()) == 1
