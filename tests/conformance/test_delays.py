"""Runs that begin later, against every store: their Start sleeps until they are due."""

import msgspec
import pytest

from perdure.kernel.messages import Cancel, Retry, Terminate
from perdure.kernel.run import Status
from perdure.stores import base
from tests.conformance.rows import mail, messages, polled, run, start


def queued(store: base.Store, id: str = "a", wake_at: int | None = 50, reply_to: str = "", **policies: str) -> int:
    row = run(0, id, Status.QUEUED, wake_at=wake_at, run_id=b"new")
    return store.post.submit(row, mail(0, msgspec.structs.replace(start(), **policies), reply_to)).key


def test_the_start_of_a_run_that_begins_later_is_found_by_its_time(store: base.Store) -> None:
    key = queued(store)

    assert polled(store, 49, 9) == base.Poll([], [])
    assert polled(store, 50, 9) == base.Poll([key], [])
    assert messages(store.work.load([key])[key].mail) == [start()]


def test_a_start_that_somebody_waits_to_hear_of_is_read_at_once(store: base.Store) -> None:
    queued(store, reply_to="request")

    assert messages(polled(store, 0, 9).mail) == [start()]


def test_a_start_that_is_to_end_the_open_run_is_read_at_once(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a")]))

    queued(store, id_conflict="terminate_existing")

    assert [letter.run for letter in polled(store, 0, 9).mail] == [3]


def test_a_run_that_begins_at_once_has_its_start_in_the_mail(store: base.Store) -> None:
    queued(store, wake_at=None)

    assert messages(polled(store, 0, 9).mail) == [start()]


def test_what_is_said_to_a_run_that_begins_later_is_heard_before(store: base.Store) -> None:
    key = queued(store)
    for message in (Cancel("c"), Terminate("t"), Retry()):
        store.post.send(mail(key, message))

    assert messages(polled(store, 0, 9).mail) == [Cancel("c"), Terminate("t"), Retry()]


def test_a_start_that_is_left_over_is_read(store: base.Store) -> None:
    key = queued(store)
    store.journal.commit(base.Batch(updated=[run(key, "a", Status.WAITING, wake_at=60)]))

    assert messages(polled(store, 0, 9).mail) == [start()]


@pytest.mark.parametrize("starts", [True, False])
def test_queued_runs_are_not_due_while_there_is_no_room_for_them(store: base.Store, starts: bool) -> None:
    key = queued(store)
    store.journal.commit(base.Batch(created=[run(2, wake_at=40, status=Status.WAITING)]))

    assert polled(store, 60, 9, starts=starts).due == ([2, key] if starts else [2])
