"""What the stores keep of messages: updates, published values, answers, and what is unread."""

import pytest

from perdure.kernel.events import Payload
from perdure.kernel.messages import Cancel, Query, Retry, Signal, Update
from perdure.kernel.project import PublishedRow, UpdateRow, UpdateState
from perdure.kernel.run import Status
from perdure.stores import base
from tests.conformance.rows import follows, mail, messages, run, start

NOTHING = Payload(b"[]")


def update(key: int, id: str, at: int = 1, **fields: object) -> UpdateRow:
    return UpdateRow(key, id, "raise", UpdateState.ACCEPTED, at, **fields)  # type: ignore[arg-type]


def test_updates_are_read_in_the_order_in_which_they_were_accepted(store: base.Store) -> None:
    store.journal.commit(
        base.Batch(created=[run(2), run(4)], updates=[update(2, "b", 5), update(2, "a", 7), update(4, "c")])
    )

    assert [row.id for row in store.messages.updates(2)] == ["b", "a"]
    assert store.messages.update(2, "a") == update(2, "a", 7)
    assert store.messages.update(2, "c") is None


def test_an_update_is_replaced_by_its_answer(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)], updates=[update(2, "a")]))
    answered = UpdateRow(2, "a", "raise", UpdateState.COMPLETED, 1, 9, b"result")

    store.journal.commit(base.Batch(updated=[run(2)], updates=[answered]))

    assert store.messages.updates(2) == [answered]


def test_of_several_rows_in_a_batch_the_last_one_counts(store: base.Store) -> None:
    answered = UpdateRow(2, "a", "raise", UpdateState.FAILED, 1, 9, b"failure")
    shown = [PublishedRow(2, "n", 1, b"old"), PublishedRow(2, "n", 2, b"new"), PublishedRow(2, "a", 1, b"x")]

    store.journal.commit(base.Batch(created=[run(2)], updates=[update(2, "a"), answered], published=shown))

    assert store.messages.updates(2) == [answered]
    assert store.messages.published(2) == [shown[2], shown[1]]


def test_a_published_value_is_replaced_by_a_later_one(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)], published=[PublishedRow(2, "n", 1, b"old")]))

    store.journal.commit(base.Batch(updated=[run(2)], published=[PublishedRow(2, "n", 2, b"new")]))

    assert store.messages.published(2) == [PublishedRow(2, "n", 2, b"new")]


def test_a_run_that_is_withdrawn_takes_its_updates_and_values_along(store: base.Store) -> None:
    queued = store.post.submit(run(0, "q", Status.QUEUED, seq=0), mail(0, start()))
    store.journal.commit(
        base.Batch(updates=[update(queued.key, "a")], published=[PublishedRow(queued.key, "n", 1, b"x")])
    )

    store.journal.commit(base.Batch(withdrawn=[queued.key]))

    assert store.messages.updates(queued.key) == []
    assert store.messages.published(queued.key) == []


def test_a_reply_carries_bytes(store: base.Store) -> None:
    store.journal.commit(base.Batch(replies=[base.ReplyRow("r", "", "", 100, b"answer")]))

    assert store.post.take_reply("r") == base.ReplyRow("r", "", "", 100, b"answer")


def test_unread_are_the_signals_updates_and_cancellations_of_the_runs_asked_for(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2), run(4), run(6)]))
    said = [(4, Signal("a", NOTHING)), (2, Update("u", "b", NOTHING)), (2, Retry()), (6, Signal("c", NOTHING))]
    said += [(2, Query("q", NOTHING)), (4, Signal("d", NOTHING)), (2, Cancel("enough"))]
    for key, message in said:
        store.post.send(mail(key, message))

    found = store.work.unread([2, 4], 100, 1_000)

    assert [(row.run, row.message) for row in found.mail] == [said[0], said[1], said[5], said[6]]
    assert found.last == 0
    assert store.work.unread([], 100, 1_000) == base.Unread([])


def test_of_very_many_letters_the_oldest_are_told_and_where_to_go_on(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2), run(4)]))
    said = [(2 + n % 2 * 2, Signal(f"{n}", Payload(b"x" * 100))) for n in range(7)]
    for key, message in said:
        store.post.send(mail(key, message))

    def told(limit: int, size_bytes: int) -> list[list[str]]:
        found = [store.work.unread([2, 4], limit, size_bytes)]
        while found[-1].last:
            found.append(store.work.unread([2, 4], limit, size_bytes, found[-1].last))
        return [[row.message.name for row in each.mail if isinstance(row.message, Signal)] for each in found]

    assert told(3, 10_000) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert told(7, 10_000) == [["0", "1", "2", "3", "4", "5", "6"], []]
    assert told(100, 250) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert told(100, 1) == [[f"{n}"] for n in range(7)] + [[]]


def test_a_run_is_loaded_without_what_was_said_to_it_which_may_be_very_much(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)]))
    for message in (Signal("a", NOTHING), Cancel("enough"), Update("u", "b", NOTHING), Query("q", NOTHING)):
        store.post.send(mail(2, message))
    seen = store.views.stored(2)

    assert messages(store.work.load([2])[2].mail) == [Cancel("enough")]
    assert seen is not None
    assert len(seen.mail) == 4


def test_what_was_read_is_not_unread_any_more(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)]))
    store.post.send(mail(2, Signal("a", NOTHING)))
    (row,) = store.work.unread([2], 100, 1_000).mail

    store.journal.commit(base.Batch(mail_read=[row.id]))

    assert store.work.unread([2], 100, 1_000).mail == []


@pytest.mark.parametrize("status", [Status.BLOCKED, Status.QUARANTINED])
def test_a_blocked_runs_signals_wait_and_what_somebody_waits_for_does_not(store: base.Store, status: Status) -> None:
    store.journal.commit(base.Batch(created=[run(2, status=status)]))
    for message in (Signal("a", NOTHING), Update("u", "b", NOTHING), Query("q", NOTHING), Retry()):
        store.post.send(mail(2, message))

    assert messages(store.work.poll(1, 10).mail) == [Update("u", "b", NOTHING), Query("q", NOTHING), Retry()]


def test_settling_finds_an_answer_by_its_bytes(store: base.Store) -> None:
    batch = base.Batch(replies=[base.ReplyRow("r", "", "", 100, b"answer")])
    other = base.Batch(replies=[base.ReplyRow("r", "", "", 100, b"other")])
    store.journal.commit(batch)

    assert store.journal.settle(batch)
    assert not store.journal.settle(other)


def test_an_update_is_found_by_every_run_of_its_chain(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "r", Status.COMPLETED)]))
    store.journal.commit(follows(2, run(4, "r", Status.COMPLETED, chain=2)))
    store.journal.commit(follows(4, run(6, "r", chain=2)))
    store.journal.commit(base.Batch(updates=[update(2, "a"), update(4, "b")], updated=[run(6, "r", chain=2)]))
    store.journal.commit(base.Batch(created=[run(8, "other")], updates=[update(8, "c")]))

    for key in (2, 4, 6):
        assert store.messages.update(key, "a") == update(2, "a")
        assert store.messages.update(key, "b") == update(4, "b")
        assert store.messages.update(key, "c") is None
    assert store.messages.update(8, "a") is None
    assert [len(store.messages.updates(key)) for key in (2, 4, 6)] == [1, 1, 0]


def test_a_run_that_merely_comes_after_another_one_knows_nothing_of_its_updates(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "r", Status.COMPLETED)]))
    store.journal.commit(follows(2, run(4, "r")))
    store.journal.commit(base.Batch(updates=[update(2, "a"), update(4, "b")], updated=[run(4, "r")]))

    assert store.messages.update(4, "a") is None
    assert store.messages.update(2, "b") is None


def test_of_many_updates_each_is_found_where_one_alone_would_be(store: base.Store) -> None:
    first, second = run(2), run(4, chain=2)
    second.id = first.id
    store.journal.commit(base.Batch(created=[first]))
    store.journal.commit(
        base.Batch(
            followed=[(2, 4)], created=[second, run(6)], updates=[update(2, "a"), update(4, "b"), update(6, "a", 3)]
        )
    )
    wanted = [(2, "a"), (4, "a"), (2, "b"), (6, "a"), (6, "b"), (8, "a")]

    found = store.messages.updates_of(wanted)

    assert found == {
        (2, "a"): update(2, "a"),
        (4, "a"): update(2, "a"),
        (2, "b"): update(4, "b"),
        (6, "a"): update(6, "a", 3),
    }
    assert found == {asked: row for asked in wanted if (row := store.messages.update(*asked)) is not None}
    assert store.messages.updates_of([]) == {}
