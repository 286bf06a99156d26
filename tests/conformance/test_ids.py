"""Several runs of an id, against every store: one of them is the newest, and the others are found."""

import msgspec
import pytest

from perdure.kernel.ids import CONFLICTS, REUSES
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores import base
from tests.conformance.rows import follows, mail, polled, run, start


def asking(**policies: str) -> base.MailRow:
    return mail(0, msgspec.structs.replace(start(), **policies))


def queued(run_id: bytes = b"new", **fields: object) -> RunRow:
    return run(0, "a", Status.QUEUED, run_id=run_id, **fields)


def test_a_run_that_follows_another_is_the_newest_of_their_id(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a"), run(4, "b")]))

    store.journal.commit(follows(2, run(6, "a")))

    assert store.views.row("a") == store.work.find(["a"])["a"] == run(6, "a")
    assert store.views.rows_by_key([2])[2] == run(2, "a", followed_by=6)
    assert [row.key for row in store.views.search(base.RunFilter(id_prefix="a"))] == [6, 2]
    assert store.views.prefixed("a") == ["a"]


def test_runs_that_follow_each_other_in_one_batch_are_in_order(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a")]))

    batch = base.Batch(followed=[(2, 4)], created=[run(4, "a", followed_by=6), run(6, "a")])
    store.journal.commit(batch)

    assert [row.followed_by for row in store.views.search(base.RunFilter())] == [0, 6, 4]
    assert store.journal.settle(batch)


@pytest.mark.parametrize(
    "batch",
    [
        base.Batch(created=[run(6, "a")]),
        base.Batch(followed=[(4, 6)], created=[run(6, "a")]),
        base.Batch(followed=[(8, 6)], created=[run(6, "a")]),
        base.Batch(created=[run(6, "b"), run(8, "b")]),
        base.Batch(followed=[(2, 6)], created=[run(6, "a")]),
    ],
    ids=["nobody is followed", "of another id", "of no run", "twice a new id", "followed already"],
)
def test_two_newest_runs_of_an_id_are_refused(store: base.Store, batch: base.Batch) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a"), run(4, "c")]))
    store.journal.commit(follows(2, run(10, "a")))

    with pytest.raises(base.CommitRefused):
        store.journal.commit(batch)

    assert store.views.count(base.RunFilter()) == 3
    assert not store.journal.settle(batch)


def test_an_update_of_a_summary_leaves_the_order_of_runs_alone(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a", request="r")]))
    store.journal.commit(follows(2, run(4, "a", chain=2)))

    store.journal.commit(base.Batch(updated=[run(2, "a", note="x"), run(4, "a", status=Status.WAITING, wake_at=9)]))

    assert store.views.rows_by_key([2, 4]) == {
        2: run(2, "a", note="x", request="r", followed_by=4),
        4: run(4, "a", status=Status.WAITING, wake_at=9, chain=2),
    }


@pytest.mark.parametrize("id_conflict", ["", *CONFLICTS])
@pytest.mark.parametrize("id_reuse", ["", *REUSES])
@pytest.mark.parametrize("status", [Status.QUEUED, Status.BLOCKED, Status.COMPLETED, Status.FAILED, Status.TERMINATED])
def test_a_queued_start_gets_its_id_by_its_policies(
    store: base.Store, status: Status, id_conflict: str, id_reuse: str
) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a", status)]))

    row = store.post.submit(queued(), asking(id_conflict=id_conflict, id_reuse=id_reuse))

    follows = id_reuse == "allow_duplicate" and status >= Status.COMPLETED
    follows = follows or (id_reuse == "allow_duplicate_failed_only" and status > Status.COMPLETED)
    replaces = id_conflict == "terminate_existing" and status < Status.COMPLETED
    assert row.key == (3 if follows or replaces else 2)
    assert [mail.run for mail in polled(store, 0, 9).mail] == ([3] if follows or replaces else [])
    newest = store.views.row("a")
    assert newest is not None
    assert newest.key == (3 if follows else 2)
    assert store.views.rows_by_key([2])[2].followed_by == (3 if follows else 0)
    assert row.followed_by == (-3 if replaces else 0)


def test_a_run_that_is_to_end_the_newest_is_placed_by_its_owner(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a")]))
    waiting = store.post.submit(queued(), asking(id_conflict="terminate_existing"))
    assert store.views.row_of("a", b"new") == waiting

    store.journal.commit(base.Batch(followed=[(2, waiting.key)], updated=[run(2, "a", Status.TERMINATED)]))

    newest = store.views.row("a")
    assert newest is not None
    assert newest.key == waiting.key
    assert store.views.rows_by_key([2])[2].followed_by == waiting.key


def test_several_that_are_to_end_the_newest_may_be_placed_at_once(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a")]))
    first = store.post.submit(queued(), asking(id_conflict="terminate_existing"))
    second = store.post.submit(queued(b"newer"), asking(id_conflict="terminate_existing"))

    store.journal.commit(base.Batch(followed=[(2, first.key), (first.key, second.key)]))

    assert [row.followed_by for row in store.views.search(base.RunFilter())] == [0, second.key, first.key]


def test_a_queued_start_that_is_withdrawn_leaves_the_one_before_the_newest(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a", Status.FAILED)]))
    row = store.post.submit(queued(), asking(id_reuse="allow_duplicate"))

    store.journal.commit(base.Batch(withdrawn=[row.key]))

    assert store.views.row("a") == run(2, "a", Status.FAILED)
    again = store.post.submit(queued(), asking(id_reuse="allow_duplicate"))
    assert store.views.row("a") == again
    assert again.key > row.key


@pytest.mark.parametrize("status", [Status.FAILED, Status.RUNNING])
def test_a_start_that_is_submitted_again_is_the_same(store: base.Store, status: Status) -> None:
    policies = asking(id_reuse="allow_duplicate", id_conflict="terminate_existing")
    store.journal.commit(base.Batch(created=[run(2, "a", status)]))
    first = store.post.submit(queued(), policies)
    if status == Status.FAILED:
        store.journal.commit(base.Batch(updated=[run(first.key, "a", Status.COMPLETED, run_id=b"new")]))

    again = store.post.submit(queued(), policies, again=True)

    assert again.key == first.key
    assert store.views.count(base.RunFilter(id_prefix="a")) == 2
    assert len(polled(store, 0, 9).mail) == 1


def test_a_request_made_again_finds_its_run_before_any_policy(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a", Status.FAILED, request="r")]))
    store.journal.commit(follows(2, run(4, "a", Status.FAILED, chain=2, request="r")))
    store.journal.commit(follows(4, run(6, "a", Status.FAILED, request="other")))

    row = store.post.submit(queued(request="r"), asking(id_reuse="allow_duplicate"))

    assert row.key == 2
    assert store.views.row_by_request("a", "r") == row
    assert store.views.row_by_request("b", "r") is None
    new = store.post.submit(queued(request="new"), asking(id_reuse="allow_duplicate"))
    assert store.views.row("a") == new
    assert new.key == 7 or store.membership is not None


def test_a_chain_ends_at_the_newest_run_that_continues_its_first(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a"), run(10, "b")]))
    for old, new in ((2, run(4, "a", chain=2)), (4, run(6, "a", chain=2)), (6, run(8, "a"))):
        store.journal.commit(follows(old, new))

    ends = [store.views.end_of_chain(key) for key in (2, 4, 6, 8, 10, 12)]

    assert [row and row.key for row in ends] == [6, 6, 6, 8, 10, None]
