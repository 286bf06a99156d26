"""What goes from a store since it is old, and what stays; against every store, also those that several owners share."""

from typing import Any

import pytest

from perdure.kernel.attributes import Attribute, Kind
from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.project import AttemptRow, HistoryRow, PublishedRow, UpdateRow
from perdure.kernel.run import Status
from perdure.kernel.streams import ChunkRow
from perdure.runtime.membership import Holdings
from perdure.stores import base
from perdure.stores.postgres.store import PostgresStore
from perdure.stores.pruning import Prune, Pruned
from tests.conformance.rows import Hand, Opener, mail, run, start, task

OLD = 1_000
"""Runs that were closed before this time may go."""


def owned(store: base.Store) -> base.Store:
    assert store.admin.try_own("here", 1, "build-1", 1) is not None
    return store


def closed(key: int, id: str = "", status: int = Status.COMPLETED, closed_at: int = 500, **fields: Any) -> Any:
    return run(key, id, status, closed_at=closed_at, **fields)


def put(store: base.Store, *rows: Any, **batch: Any) -> None:
    """Runs that nobody moves at the moment."""
    parks = [(row.key, row.seq) for row in rows] if store.membership is not None else []
    store.journal.commit(base.Batch(created=list(rows), parks=parks, **batch))


def keys(store: base.Store) -> list[int]:
    return sorted(row.key for row in store.views.search(base.RunFilter(limit=1_000)))


def test_runs_go_that_were_closed_before_a_time(store: base.Store):
    put(store, closed(2), closed(4, closed_at=OLD), run(6), closed(8, status=Status.FAILED, closed_at=OLD - 1))

    assert store.admin.prune(Prune(OLD)) == Pruned(2, None, 2)
    assert keys(store) == [4, 6]
    assert store.views.row("run-2") is None


def test_they_go_with_all_they_have(store: base.Store):
    def all_of(key: int) -> dict[str, Any]:
        return {
            "history": [HistoryRow(key, 1, b"e")],
            "attempts": [AttemptRow(key, "0:1", 1, 3, 1, 5, 6, None, 1, b"d")],
            "attributes": [(key, Attribute("region", Kind.TEXT, ("eu",)))],
            "updates": [UpdateRow(key, "u", "raise_by", 0, 5)],
            "published": [PublishedRow(key, "state", 5, b"{}")],
            "blobs": [base.BlobRow(key, b"d" * 32, b"large" * 1_000)],
            "tasks": [task(key)],
            "chunks": [ChunkRow(key, "tokens", 2, 2, b"ab")],
            "human": [HumanTaskRow(key, "0:2", "who?", ("eva",), "", 5, None, None, None, 0, False, b"")],
        }

    put(store, closed(2), **all_of(2))
    put(store, closed(4, closed_at=OLD), **all_of(4))

    assert store.admin.prune(Prune(OLD)).runs == 1
    assert store.views.stored(2) is None
    assert store.views.blob(2, b"d" * 32) is None
    assert (store.messages.updates(2), store.messages.published(2), store.streams.of_run(2)) == ([], [], [])
    assert store.views.attributes([2]) == {}
    assert sum(row.waiting for row in store.views.backlog()) == 1
    assert [each.run for each in store.views.human.find(base_filter())] == [4]

    put(store, closed(2), **all_of(2))  # nothing of it is in the way
    assert store.views.blob(4, b"d" * 32) == b"large" * 1_000
    assert len(store.messages.updates(4)) == len(store.messages.published(4)) == len(store.streams.of_run(4)) == 1


def base_filter() -> Any:
    from perdure.stores.human import HumanFilter

    return HumanFilter()


def test_they_are_looked_at_in_the_order_of_their_keys_a_few_at_a_time(store: base.Store):
    put(store, closed(2), closed(4), run(6), closed(8), closed(10))

    assert store.admin.prune(Prune(OLD, limit=2)) == Pruned(2, 4, 4)
    assert store.admin.prune(Prune(OLD, after=4, limit=2)) == Pruned(1, 8, 4)
    assert store.admin.prune(Prune(OLD, after=8, limit=2)) == Pruned(1, None, 10)
    assert keys(store) == [6]


def test_it_ends_where_all_are_too_young(store: base.Store):
    put(store, closed(2), *(closed(key, closed_at=OLD + 5, started_at=OLD) for key in range(4, 20, 2)))

    assert store.admin.prune(Prune(OLD, limit=3)).further == 6  # one of these was old
    assert store.admin.prune(Prune(OLD, after=6, limit=3)) == Pruned(0, None, 6)


def test_a_filter_says_which(store: base.Store):
    put(store, closed(2), closed(4, workflow="other"), closed(6, status=Status.FAILED), closed(8))

    assert store.admin.prune(Prune(OLD, workflow="other")).runs == 1
    assert store.admin.prune(Prune(OLD, statuses=(Status.FAILED, Status.CANCELLED))).runs == 1
    assert store.admin.prune(Prune(OLD, spared=[2])).runs == 1
    assert keys(store) == [2]


def test_they_are_counted_and_stay(store: base.Store):
    put(store, closed(2), closed(4), run(6))

    assert store.admin.prune(Prune(OLD, limit=2, counts_only=True)) == Pruned(2, 4, 0)
    assert keys(store) == [2, 4, 6]


@pytest.mark.parametrize("is_open", [True, False])
def test_a_family_stays_as_long_as_one_of_it_is_open(store: base.Store, is_open: bool):
    last = run(8, parent=2, root=2) if is_open else closed(8, parent=2, root=2)
    put(store, closed(2), closed(4, parent=2, root=2), closed(6, parent=4, root=2), last, closed(10))

    assert store.admin.prune(Prune(OLD)).runs == (1 if is_open else 5)
    assert keys(store) == ([2, 4, 6, 8] if is_open else [])


def test_a_family_stays_whose_first_is_open(store: base.Store):
    put(store, run(2), closed(4, parent=2, root=2))

    assert store.admin.prune(Prune(OLD)).runs == 0


@pytest.mark.parametrize("is_open", [True, False])
def test_a_chain_stays_as_long_as_its_newest_is_open(store: base.Store, is_open: bool):
    put(store, closed(2, "x", followed_by=4), closed(4, "x", followed_by=6, chain=2))
    put(store, run(6, "x", chain=2) if is_open else closed(6, "x", chain=2))

    assert store.admin.prune(Prune(OLD)).runs == (0 if is_open else 3)


def test_an_earlier_run_of_an_id_goes_that_is_not_of_the_chain(store: base.Store):
    put(store, closed(2, "x", followed_by=4), run(4, "x"))

    assert store.admin.prune(Prune(OLD)).runs == 1
    row = store.views.row("x")
    assert row is not None and row.key == 4


def test_the_newest_that_is_left_of_an_id_is_found_by_it(store: base.Store):
    put(store, closed(2, "x", Status.FAILED, followed_by=4), closed(4, "x", Status.FAILED, followed_by=6))
    put(store, closed(6, "x", followed_by=8), closed(8, "x"))

    assert store.admin.prune(Prune(OLD, statuses=(Status.COMPLETED,))).runs == 2
    row = store.views.row("x")
    assert row is not None and (row.key, row.followed_by) == (4, 0)
    store.journal.commit(base.Batch(followed=[(4, 10)], created=[run(10, "x")]))


def test_who_has_mail_stays_until_that_is_read(store: base.Store):
    put(store, closed(2), closed(4))
    store.post.send(mail(2, reply_to="r1"))

    assert store.admin.prune(Prune(OLD)).runs == 1
    assert keys(store) == [2]


def test_who_is_just_being_moved_stays(opened: Opener):
    store = owned(opened())
    if store.membership is None:
        pytest.skip("it has one owner, which prunes between its batches")
    store.journal.commit(base.Batch(created=[closed(2)]))

    assert store.admin.prune(Prune(OLD)).runs == 0


def test_a_queued_run_stays(store: base.Store):
    store.post.submit(run(0, "x", Status.QUEUED), base.MailRow(0, 0, start()))

    assert store.admin.prune(Prune(OLD)).runs == 0


def test_anybody_may(opened: Opener):
    put(owned(opened()), closed(2))

    assert opened().admin.prune(Prune(OLD)).runs == 1


def test_replies_go_when_they_have_expired(store: base.Store):
    replies = [base.ReplyRow("soon", "", "", 100), base.ReplyRow("late", "", "", 300)]
    store.journal.commit(base.Batch(replies=replies, at=50))

    store.admin.tidy(200)

    assert store.post.take_reply("soon") is None
    assert store.post.take_reply("late") is not None


def leave(store: base.Store) -> None:
    if store.membership is not None:
        store.membership.hand_over()
    store.admin.close()


def test_members_go_when_no_run_is_left_that_can_tell_of_them(opened: Opener):
    first = owned(opened())
    put(first, closed(2), history=[HistoryRow(2, 1, b"e")])
    hand = Hand(first)
    put(first, closed(4), tasks=[task(4)])
    assert hand.take()
    first_ones = [*(owner.id for owner in first.views.owners()), hand.member]
    first.tasks.leave(hand.member)
    leave(first)
    second = owned(opened())
    put(second, closed(6, closed_at=OLD), history=[HistoryRow(6, 1, b"e")])
    members = [*first_ones, *(owner.id for owner in second.views.owners())]

    second.tasks.orphans()
    second.journal.commit(base.Batch(mail_read=[each.id for each in second.work.load([4])[4].mail], tasks_gone_of=[4]))
    second.admin.tidy(1)
    assert len(second.views.members(members)) == 3  # of each of them a run may tell
    put(second, closed(8, closed_at=OLD))
    second.admin.prune(Prune(OLD))
    second.admin.tidy(1)
    # There was a run when they were found to be gone that is there still.
    assert len(second.views.members(members)) == 3
    second.admin.prune(Prune(OLD + 1))
    second.admin.tidy(1)

    (own,) = second.views.members(members).values()
    assert [owner.id for owner in second.views.owners()] == [own.id]


def test_definitions_go_when_nobody_is_left_who_knows_them(opened: Opener):
    first, second = opened(), opened()
    owned(first)
    if first.membership is None:
        pytest.skip("the only owner replaces them all")
    owned(second)
    old, common, new = (base.DefinitionRow("workflow", name, b"{}") for name in ("old", "common", "new"))
    first.admin.publish([old, common])
    second.admin.publish([common, new])
    second.admin.tidy(1)
    assert len(second.views.definitions()) == 3

    leave(first)
    second.admin.tidy(1)
    assert [row.name for row in second.views.definitions()] == ["common", "new"]

    leave(second)
    third = opened()
    third.admin.tidy(1)
    assert [row.name for row in third.views.definitions()] == [
        "common",
        "new",
    ]  # nobody lives: clients still know names


def test_several_do_not_wait_for_each_other(request: pytest.FixtureRequest, opened: Opener):
    import psycopg

    store = owned(opened())
    if not isinstance(store, PostgresStore):
        pytest.skip("of this store each call is made alone")
    put(store, closed(2), closed(4), closed(6))

    with psycopg.connect(request.getfixturevalue("emptied")) as other:
        other.execute("SELECT 1 FROM perdure.runs WHERE key = 4 FOR UPDATE")
        assert store.admin.prune(Prune(OLD)) == Pruned(2, None, 2)
    assert store.admin.prune(Prune(OLD)) == Pruned(1, None, 4)


def test_nobody_gets_the_key_of_a_run_that_has_gone(opened: Opener):
    """Who still has a handle, or an attempt that does not end, must not meet another run."""
    store, client = owned(opened()), opened()
    first = client.post.submit(run(0, "a", status=Status.QUEUED), mail(0, start())).key
    put(store, closed(first + 1, "b"))
    if store.membership is not None:
        store.membership.own([first])
    store.journal.commit(
        base.Batch(
            updated=[closed(first, "a", seq=1)],
            history=[HistoryRow(first, 1, b"e")],
            mail_read=[letter.id for letter in store.work.load([first])[first].mail],
            parks=[(first, 1)] if store.membership is not None else [],
        )
    )
    assert store.admin.prune(Prune(OLD)).runs == 2

    again = client.post.submit(run(0, "a", status=Status.QUEUED), mail(0, start())).key

    assert again > first + 1
    if store.membership is None:
        assert store.work.last_key() == again
        assert Holdings(store).new_key() > again


def test_nor_does_somebody_else_when_the_owner_is_another_one(opened: Opener):
    store = owned(opened())
    put(store, closed(8))
    assert store.admin.prune(Prune(OLD)).runs == 1
    store.admin.close()

    other = owned(opened())

    if other.membership is None:
        assert other.work.last_key() == 8
