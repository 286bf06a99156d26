"""The contract of `perdure.stores.base`, verb by verb, against every store."""

import msgspec
import pytest

from perdure.kernel import events as ev
from perdure.kernel.attributes import Choice, Kind, Wanted
from perdure.kernel.messages import AttemptEnded, Cancel, Mail, Retry, Terminate
from perdure.kernel.project import KEEP, AttemptRow, AttemptState, HistoryRow
from perdure.kernel.run import Status
from perdure.stores import base
from tests.conformance.rows import Opener, mail, messages, polled, run, start


def test_a_batch_is_read_back_whole(store: base.Store) -> None:
    attempt = AttemptRow(2, "0:1", 1, AttemptState.WAITING, 1, 5, 6, 7, 1, b"detail")

    store.journal.commit(
        base.Batch(
            created=[run(2, block=b"why", open_tail=True, strikes=2, wake_at=50, closed_at=60)],
            history=[HistoryRow(2, 1, b"first"), HistoryRow(2, 3, b"second")],
            attempts=[attempt],
            mail_kept=[mail(2, reply_to="request-1")],
        )
    )

    stored = store.work.load([2])[2]
    assert stored.run == run(2, block=b"why", open_tail=True, strikes=2, wake_at=50, closed_at=60)
    assert stored.history == [b"first", b"second"]
    assert stored.attempts == [attempt]
    assert [(row.run, row.message, row.reply_to) for row in stored.mail] == [(2, Cancel("enough"), "request-1")]
    assert store.views.stored(2) == stored


def test_an_update_replaces_the_summary_but_not_what_is_fixed_at_the_start(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)]))

    store.journal.commit(
        base.Batch(
            updated=[run(2, status=Status.COMPLETED, note="done", closed_at=9, seq=4, workflow="other", build="b")],
            history=[HistoryRow(2, 2, b"three events")],
        )
    )

    assert store.views.row("run-2") == run(2, status=Status.COMPLETED, note="done", closed_at=9, seq=4)


def test_the_first_event_fixes_a_queued_runs_identity(store: base.Store) -> None:
    queued = store.post.submit(run(0, "queued", Status.QUEUED, build="", seq=0), mail(0, start()))

    begun = msgspec.structs.replace(queued, status=Status.RUNNING, build="build-2", started_at=7, seq=1)
    store.journal.commit(base.Batch(updated=[begun], history=[HistoryRow(queued.key, 1, b"started")]))

    assert store.views.row("queued") == begun


def test_an_update_can_set_and_clear_a_block(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)]))
    blocked = run(2, status=Status.BLOCKED, block=b"why", open_tail=True, strikes=1)

    store.journal.commit(base.Batch(updated=[blocked]))
    assert store.views.row("run-2") == blocked
    store.journal.commit(base.Batch(updated=[run(2)]))

    assert store.views.row("run-2") == run(2)


def test_a_run_may_be_created_and_updated_in_one_batch(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)], updated=[run(2, seq=5)]))

    assert store.views.row("run-2") == run(2, seq=5)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 1023, 1024, 1025, 2500])
def test_batches_of_any_size_are_written_whole(store: base.Store, count: int) -> None:
    keys = range(2, 2 * count + 2, 2)
    store.journal.commit(
        base.Batch(created=[run(key) for key in keys], history=[HistoryRow(key, 1, b"%d" % key) for key in keys])
    )
    store.journal.commit(base.Batch(updated=[run(key, status=Status.COMPLETED, note=str(key)) for key in keys]))

    assert store.views.count(base.RunFilter(statuses=(Status.COMPLETED,)), 10_000) == count
    assert {key: stored.history for key, stored in store.work.load(keys).items()} == {
        key: [b"%d" % key] for key in keys
    }
    assert all(row.note == str(key) for key, row in store.views.rows_by_key(keys).items())


REFUSED = {
    "a key that exists": base.Batch(created=[run(2, "other")]),
    "an id that exists": base.Batch(created=[run(6, "run-2")]),
    "an id twice": base.Batch(created=[run(6, "new"), run(8, "new")]),
    "an update of nothing": base.Batch(updated=[run(6)]),
    "an event that exists": base.Batch(history=[HistoryRow(2, 1, b"again")]),
    "an event twice": base.Batch(history=[HistoryRow(2, 9, b"a"), HistoryRow(2, 9, b"b")]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refused_batch_leaves_nothing_and_the_store_goes_on(store: base.Store, why: str) -> None:
    store.journal.commit(base.Batch(created=[run(2)], history=[HistoryRow(2, 1, b"first")]))
    before = store.views.stored(2)
    refused = msgspec.structs.replace(REFUSED[why])
    refused.created = [run(4), *refused.created]
    refused.updated = [run(2, note="changed"), *refused.updated]
    refused.mail_kept = [mail(2)]
    refused.blobs = [base.BlobRow(2, b"digest", b"bytes")]

    with pytest.raises(base.CommitRefused):
        store.journal.commit(refused)

    assert store.views.stored(2) == before
    assert store.work.last_key() == 2
    assert store.views.blob(2, b"digest") is None
    store.journal.commit(base.Batch(created=[run(4)]))
    assert store.work.last_key() == 4


def test_attempts_replace_each_other_in_order(store: base.Store) -> None:
    first = AttemptRow(2, "0:1", 1, AttemptState.WAITING, 1, 5, 6, 70, 1, b"failure")
    store.journal.commit(base.Batch(created=[run(2)], attempts=[first]))

    store.journal.commit(
        base.Batch(
            attempts=[
                AttemptRow(2, "0:1", 1, AttemptState.RELEASED, KEEP, 99),
                AttemptRow(2, "0:1", 2, AttemptState.STARTED, 1, 80),
                AttemptRow(2, "0:1", 2, AttemptState.HELD, 1, 80, 90, 95, 1, b"bug"),
                AttemptRow(2, "0:1", 2, AttemptState.RELEASED, KEEP, 99),
                AttemptRow(2, "0:2", 1, AttemptState.RELEASED, KEEP, 99),
            ]
        )
    )

    assert store.work.load([2])[2].attempts == [
        AttemptRow(2, "0:1", 1, AttemptState.RELEASED, 1, 5, 6, None, 1, b"failure"),
        AttemptRow(2, "0:1", 2, AttemptState.RELEASED, 1, 80, 90, None, 1, b"bug"),
    ]


def test_attempts_come_back_by_step_and_number(store: base.Store) -> None:
    names = [("0:2", 1), ("0:10", 2), ("0:10", 11), ("0:10", 9)]
    store.journal.commit(
        base.Batch(created=[run(2)], attempts=[AttemptRow(2, step, n, AttemptState.STARTED, 1, 5) for step, n in names])
    )

    found = [(row.step, row.attempt) for row in store.work.load([2])[2].attempts]
    assert found == [("0:10", 2), ("0:10", 9), ("0:10", 11), ("0:2", 1)]


def test_dropped_attempts_go_and_others_stay(store: base.Store) -> None:
    attempts = [AttemptRow(2, "0:1", n, AttemptState.FAILED, 1, 5) for n in (1, 2, 3)]
    store.journal.commit(base.Batch(created=[run(2)], attempts=attempts, attempts_dropped=[(2, "0:1", 1)]))

    store.journal.commit(base.Batch(attempts_dropped=[(2, "0:1", 2), (2, "0:9", 9)]))

    assert [row.attempt for row in store.work.load([2])[2].attempts] == [3]


def test_a_blob_is_kept_once_for_each_run(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2), run(4)], blobs=[base.BlobRow(2, b"d", b"bytes")]))

    store.journal.commit(base.Batch(blobs=[base.BlobRow(2, b"d", b"ignored"), base.BlobRow(4, b"d", b"other")]))

    assert store.views.blob(2, b"d") == b"bytes"
    assert store.views.blob(4, b"d") == b"other"
    assert store.views.blob(2, b"e") is None


def test_a_withdrawn_run_goes_with_all_it_has(store: base.Store) -> None:
    queued = store.post.submit(run(0, "refused", Status.QUEUED), mail(0, start()))
    store.journal.commit(
        base.Batch(
            history=[HistoryRow(queued.key, 1, b"x")],
            attempts=[AttemptRow(queued.key, "0:1", 1, AttemptState.STARTED, 1, 5)],
            blobs=[base.BlobRow(queued.key, b"d", b"bytes")],
        )
    )

    store.journal.commit(
        base.Batch(
            withdrawn=[queued.key],
            created=[run(queued.key + 1, "refused")],
            replies=[base.ReplyRow("request", "unknown-workflow", "no such workflow", 10)],
        )
    )

    assert store.views.stored(queued.key) is None
    assert store.views.blob(queued.key, b"d") is None
    assert store.work.poll(0, 10).mail == []
    assert store.post.take_reply("request") == base.ReplyRow("request", "unknown-workflow", "no such workflow", 10)
    assert store.views.row("refused") == run(queued.key + 1, "refused")


def test_letters_to_a_run_that_is_withdrawn_may_be_read_in_the_same_batch(store: base.Store) -> None:
    queued = store.post.submit(run(0, "refused", Status.QUEUED), mail(0, start()))
    store.post.send(mail(queued.key))
    letters = [letter.id for letter in polled(store).mail]
    assert len(letters) == 2

    store.journal.commit(base.Batch(withdrawn=[queued.key], mail_read=letters[1:]))

    assert store.views.stored(queued.key) is None
    assert polled(store).mail == []


def test_replies_are_replaced_stay_readable_and_expire(store: base.Store) -> None:
    store.journal.commit(base.Batch(replies=[base.ReplyRow("a", "", "", 100), base.ReplyRow("b", "", "", 200)], at=10))
    store.journal.commit(base.Batch(replies=[base.ReplyRow("b", "run-closed", "it has ended", 300)], at=99))
    assert store.post.take_reply("a") == base.ReplyRow("a", "", "", 100)
    assert (
        store.post.take_reply("b")
        == store.post.take_reply("b")
        == base.ReplyRow("b", "run-closed", "it has ended", 300)
    )

    store.journal.commit(base.Batch(replies=[base.ReplyRow("c", "", "", 400)], at=100))

    assert store.post.take_reply("a") is None
    assert store.post.take_reply("b") is not None


@pytest.mark.parametrize(
    ("fault", "error", "written"),
    [
        ("refused", base.CommitRefused, False),
        ("full", base.StoreFull, False),
        ("unavailable", base.StoreUnavailable, False),
        ("in-doubt-lost", base.CommitInDoubt, False),
        ("in-doubt-applied", base.CommitInDoubt, True),
    ],
)
def test_a_fault_on_request_is_what_it_says_and_settle_tells(
    opened: Opener, fault: base.Fault, error: type[Exception], written: bool
) -> None:
    faults: list[base.Fault | None] = [None, fault, None]
    store = opened(lambda moment, batch: faults.pop(0) if moment == "before" else None)
    store.admin.try_own("here", 1, "b", 1)
    store.journal.commit(base.Batch(created=[run(2), run(4)], mail_kept=[mail(4)]))
    letter = store.work.poll(0, 1).mail[0].id

    batches = base.Batch(
        created=[run(6)],
        updated=[run(2, seq=2)],
        history=[HistoryRow(2, 2, b"second")],
        attempts=[AttemptRow(2, "0:1", 1, AttemptState.STARTED, 1, 5)],
        mail_read=[letter],
        mail_kept=[mail(2)],
        replies=[base.ReplyRow("r", "", "", 10)],
    )
    with pytest.raises(error):
        store.journal.commit(batches)

    assert store.journal.settle(batches) is written
    assert (store.views.row("run-6") is not None) is written
    store.journal.commit(base.Batch(created=[run(8)]))
    assert store.views.row("run-8") is not None


@pytest.mark.parametrize(
    "batch",
    [
        base.Batch(withdrawn=[2]),
        base.Batch(created=[run(4)]),
        base.Batch(updated=[run(2, status=Status.BLOCKED, block=b"why")]),
        base.Batch(history=[HistoryRow(2, 1, b"x")]),
        base.Batch(attempts=[AttemptRow(2, "0:1", 1, AttemptState.STARTED, 1, 5)]),
        base.Batch(mail_read=[1]),
        base.Batch(mail_kept=[mail(2, Retry(), "r")]),
        base.Batch(replies=[base.ReplyRow("r", "", "", 10)]),
    ],
    ids=lambda batch: next(name for name in batch.__struct_fields__ if getattr(batch, name)),
)
def test_settle_finds_each_kind_of_row(opened: Opener, batch: base.Batch) -> None:
    store = opened()
    store.admin.try_own("here", 1, "b", 1)
    store.journal.commit(base.Batch(created=[run(2)], mail_kept=[mail(2)]))

    before = store.journal.settle(batch)
    store.journal.commit(batch)

    assert (before, store.journal.settle(batch)) == (False, True)


BEGUN = AttemptRow(2, "0:1", 1, AttemptState.STARTED, 1, 5)


@pytest.mark.parametrize(
    "attempts",
    [
        [msgspec.structs.replace(BEGUN, state=AttemptState.WAITING, retry_at=9)],
        [msgspec.structs.replace(BEGUN, detail=b"heard of again")],
        [AttemptRow(2, "0:1", 1, AttemptState.RELEASED, KEEP, 0)],
        [msgspec.structs.replace(BEGUN, step="0:2"), AttemptRow(2, "0:2", 1, AttemptState.HELD, KEEP, 0)],
        [msgspec.structs.replace(BEGUN, step="0:2"), msgspec.structs.replace(BEGUN, step="0:2", ended_at=7)],
    ],
    ids=["ended", "details", "released", "begun and held", "begun and ended"],
)
def test_settle_looks_at_attempts_where_the_summary_of_their_run_stays_as_it_was(
    opened: Opener, attempts: list[AttemptRow]
) -> None:
    faults: list[base.Fault | None] = [None, "in-doubt-lost", "in-doubt-applied"]
    store = opened(lambda moment, batch: faults.pop(0) if moment == "before" else None)
    store.admin.try_own("here", 1, "b", 1)
    store.journal.commit(base.Batch(created=[run(2)], attempts=[BEGUN]))
    batch = base.Batch(updated=[run(2)], attempts=attempts)

    found: list[bool] = []
    for _ in range(2):
        with pytest.raises(base.CommitInDoubt):
            store.journal.commit(batch)
        found.append(store.journal.settle(batch))

    assert found == [False, True]


def test_a_fault_is_asked_inside_the_transaction_while_nothing_is_visible(opened: Opener) -> None:
    reader = opened()
    seen: list[tuple[base.Moment, bool]] = []
    store = opened(lambda moment, batch: seen.append((moment, reader.views.row("run-2") is not None)))
    store.admin.try_own("here", 1, "b", 1)

    store.journal.commit(base.Batch(created=[run(2)]))

    assert seen == [("before", False), ("inside", False)]
    assert reader.views.row("run-2") is not None


def test_last_key_of_an_empty_store_is_zero(store: base.Store) -> None:
    assert store.work.last_key() == 0


def test_load_leaves_out_what_is_missing(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2), run(4)]))

    assert store.work.load([4, 6, 2]).keys() == {2, 4}
    assert store.work.load([]) == {}


def test_find_knows_runs_by_id(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a"), run(4, "b")]))

    assert store.work.find(["b", "c", "a"]) == {"a": run(2, "a"), "b": run(4, "b")}


def test_running_and_mending_are_told_by_status(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2 * (12 - status), status=status) for status in Status]))

    assert store.work.running() == [2 * (12 - Status.RUNNING)]
    assert store.work.mending() == [2 * (12 - s) for s in (Status.QUARANTINED, Status.BLOCKED, Status.HELD)]
    assert store.work.held() == [2 * (12 - Status.HELD)]


def test_due_runs_come_earliest_first(store: base.Store) -> None:
    store.journal.commit(
        base.Batch(
            created=[
                run(2, wake_at=30, status=Status.WAITING),
                run(4, wake_at=10, status=Status.RETRYING),
                run(6, wake_at=41),
                run(8),
                run(10, wake_at=40),
                run(12, wake_at=10),
                run(14, wake_at=5, status=Status.FAILED),
            ]
        )
    )

    assert store.work.poll(40, 10).due == [4, 12, 2, 10]
    assert store.work.poll(40, 2).due == [4, 12]
    assert store.work.poll(9, 10).due == []
    store.journal.commit(base.Batch(updated=[run(4), run(12), run(2), run(10)]))
    assert store.work.poll(2**62, 10).due == [6]


def test_one_batch_moves_a_run_that_was_running_and_one_that_had_waited(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2), run(4, status=Status.WAITING, wake_at=10, note="timer")]))

    moved = [run(2, seq=3, note="ship"), run(4, seq=3, note="charge")]
    history = [HistoryRow(2, 2, b"two"), HistoryRow(4, 2, b"two")]
    store.journal.commit(base.Batch(updated=moved, history=history))

    assert [store.views.row("run-2"), store.views.row("run-4")] == moved
    assert store.work.running() == [2, 4]
    assert store.work.poll(2**62, 10).due == []


def test_nothing_is_due_without_alarms(store: base.Store) -> None:
    assert store.work.poll(2**62, 10) == base.Poll([], [])


def test_mail_comes_oldest_first_and_goes_when_read(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2), run(4)]))
    for target, reason in ((4, "a"), (2, "b"), (4, "c")):
        store.post.send(mail(target, Cancel(reason), f"reply-{reason}"))

    first, second, third = store.work.poll(0, 10).mail
    assert [first.message, second.message, third.message] == [Cancel("a"), Cancel("b"), Cancel("c")]
    assert (first.run, first.reply_to) == (4, "reply-a")
    assert first.id < second.id < third.id
    assert store.work.poll(0, 2).mail == [first, second]
    assert store.work.load([4])[4].mail == [first, third]

    store.journal.commit(base.Batch(mail_read=[first.id, third.id]))
    assert store.work.poll(0, 10).mail == [second]
    store.post.send(mail(2))
    assert store.work.poll(0, 10).mail[1].id > third.id


def test_where_more_mail_waits_than_is_told_of_the_runs_have_their_turns(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(key) for key in (2, 4, 6, 8)]))
    for n, target in enumerate((2, 2, 2, 2, 2, 4, 4, 6, 99)):
        store.post.send(mail(target, Cancel(f"{n}")))

    def told(limit: int) -> str:
        return "".join(each.message.reason for each in store.work.poll(0, limit).mail)  # type: ignore[union-attr]

    assert [told(limit) for limit in range(1, 10)] == [
        "0", "05", "057", "0578", "01578", "015678", "0125678", "01235678", "012345678",
    ]  # fmt: skip
    store.journal.commit(base.Batch(mail_read=[each.id for each in store.work.poll(0, 5).mail]))
    assert told(3) == "236"


def test_an_id_of_mail_never_comes_twice(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)], mail_kept=[mail(2)]))
    (old,) = store.work.poll(0, 1).mail
    store.journal.commit(base.Batch(mail_read=[old.id]))

    store.post.send(mail(2))

    assert store.work.poll(0, 1).mail[0].id > old.id


@pytest.mark.parametrize("status", [Status.BLOCKED, Status.QUARANTINED])
def test_a_blocked_run_hears_only_its_operator(store: base.Store, status: Status) -> None:
    ended = AttemptEnded("0:1", 1, 1, 5, ev.Payload(b"1"))
    all_mail: list[Mail] = [start(), ended, Cancel("c"), Terminate("t"), Retry()]
    store.journal.commit(base.Batch(created=[run(2, status=status)], mail_kept=[mail(2, each) for each in all_mail]))

    assert messages(store.work.poll(0, 10).mail) == [Terminate("t"), Retry()]
    assert messages(store.work.load([2])[2].mail) == all_mail
    store.journal.commit(base.Batch(updated=[run(2)]))
    assert messages(store.work.poll(0, 10).mail) == all_mail


@pytest.mark.parametrize("status", [Status.BLOCKED, Status.QUARANTINED])
def test_what_another_run_waits_for_is_told_of_though_its_run_is_blocked_until_that_is_excused(
    store: base.Store, status: Status
) -> None:
    store.journal.commit(base.Batch(created=[run(2, status=status)]))
    for n, reply_to in enumerate(("@4:0", "request", "@4:1")):
        store.post.send(mail(2, Cancel(f"{n}"), reply_to))

    first, second = store.work.poll(0, 10).mail
    assert [first.reply_to, second.reply_to] == ["@4:0", "@4:1"]
    store.journal.commit(base.Batch(mail_excused=[first.id, 10**6]))

    assert store.work.poll(0, 10).mail == [second]
    assert [each.reply_to for each in store.work.load([2])[2].mail] == ["", "request", "@4:1"]


def test_mail_of_closed_and_missing_runs_is_not_forgotten(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, status=Status.COMPLETED)]))
    store.post.send(mail(2))
    store.post.send(mail(99))

    assert [row.run for row in store.work.poll(0, 10).mail] == [2, 99]


def test_poll_is_due_and_mail_at_once(store: base.Store) -> None:
    store.journal.commit(
        base.Batch(
            created=[run(2, wake_at=10), run(4, wake_at=5), run(6, wake_at=7)], mail_kept=[mail(2), mail(4), mail(6)]
        )
    )

    assert store.work.poll(9, 2).due == [4, 6]
    assert [row.run for row in store.work.poll(9, 2).mail] == [2, 4]


def test_poll_can_leave_starts_and_what_has_to_wait_for_them_where_they_are(store: base.Store) -> None:
    queued = store.post.submit(run(0, "queued", Status.QUEUED), mail(0, start()))
    store.post.send(mail(queued.key))
    store.post.send(mail(queued.key, Terminate()))
    store.journal.commit(base.Batch(created=[run(2)], mail_kept=[mail(2), mail(4)]))

    everything = polled(store, 0, 9)
    without = polled(store, 0, 9, starts=False)

    assert messages(everything.mail) == [start(), Cancel("enough"), Terminate(), Cancel("enough"), Cancel("enough")]
    assert [(row.run, row.message) for row in without.mail] == [
        (queued.key, Terminate()),
        (2, Cancel("enough")),
        (4, Cancel("enough")),
    ]


def test_submitted_runs_get_odd_keys_above_all_others(store: base.Store) -> None:
    first = store.post.submit(run(0, "a", Status.QUEUED), mail(0, start())).key
    owners = 8 if store.membership is None else store.membership.reserve(4)[-1]
    store.journal.commit(base.Batch(created=[run(owners)]))

    row = store.post.submit(run(0, "b", Status.QUEUED), mail(0, start(), "request"))

    key = row.key
    assert store.views.row("b") == row == run(key, "b", Status.QUEUED, started_at=100)
    stored = store.work.load([key])[key]
    assert [(letter.run, letter.message, letter.reply_to) for letter in stored.mail] == [(key, start(), "request")]
    last = store.post.submit(run(0, "c", Status.QUEUED), mail(0, start())).key
    assert first < owners < key < last
    assert first % 2 == key % 2 == last % 2 == 1
    assert (first, key, last) == (1, 9, 11) or store.membership is not None


def test_submitting_an_id_that_exists_returns_its_run_and_writes_nothing(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a", workflow="mine")]))

    row = store.post.submit(run(0, "a", Status.QUEUED, workflow="theirs"), mail(0, start()))

    assert row == run(2, "a", workflow="mine")
    assert polled(store).mail == []
    assert store.work.last_key() == 2


def test_a_client_needs_no_owner(opened: Opener) -> None:
    client = opened()

    row = client.post.submit(run(0, "a", Status.QUEUED), mail(0, start()))
    client.post.send(mail(row.key))
    client.post.nudge()

    assert client.views.row("a") == row
    assert client.post.take_reply("nothing") is None


def test_what_is_not_there_is_none(store: base.Store) -> None:
    assert store.views.row("nobody") is None
    assert store.views.stored(7) is None
    assert store.views.members([2**53]) == {}
    assert store.views.definitions() == []


def test_rows_handed_out_are_the_readers_own(store: base.Store) -> None:
    row = run(2)
    store.journal.commit(base.Batch(created=[row]))
    row.note = "changed by its writer"

    found = store.views.row("run-2")
    assert found is not None
    found.note = "changed by a reader"

    assert store.views.row("run-2") == run(2)


@pytest.mark.parametrize("text", ["a\0b", "\0", "\\u0000", "\\\0", "\\\\\0\\u0000", "ä\U0001f600\ufffe"])
def test_what_is_written_for_people_may_have_any_character(store: base.Store, text: str) -> None:
    blocked = run(4, note=text, block=text.encode(), status=Status.BLOCKED)
    batch = base.Batch(
        created=[run(2), run(4)],
        updated=[run(2, note=text), blocked],
        history=[HistoryRow(2, 1, text.encode())],
        replies=[base.ReplyRow("request", "code", text, 100, text.encode())],
    )
    store.journal.commit(batch)

    read = (text, text.replace("\0", "\u2400"))  # PostgreSQL knows no NUL
    notes = [row.note for row in store.views.rows_by_key([2, 4]).values()]
    reply = store.post.take_reply("request")
    assert reply is not None
    assert len(notes) == 2
    assert {*notes, reply.error} <= set(read)
    assert (store.work.load([2])[2].history, reply.data) == ([text.encode()], text.encode())
    assert store.work.load([4])[4].run.block == text.encode()
    assert store.journal.settle(batch)


@pytest.mark.parametrize("text", ["a\0", "\0"])
def test_nothing_is_found_by_a_text_that_nothing_is_called(store: base.Store, text: str) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a")]))

    views, wanted = store.views, base.RunFilter(id_prefix=text)
    assert (views.row(text), views.row_of(text, b"r"), views.row_by_request("a", text)) == (None, None, None)
    assert (views.search(wanted), views.count(wanted), views.prefixed(text)) == ([], 0, [])
    assert views.search(base.RunFilter(attributes=(Wanted(text, (Choice((Kind.TEXT,), text),)),))) == []
    assert (store.work.find([text]), store.post.take_reply(text)) == ({}, None)
    assert (store.messages.update(2, text), store.streams.page(2, text, 0, 9).head) == (None, 0)
    assert views.human.one(2, text) is None


def test_a_number_that_is_too_large_refuses_the_batch_and_the_store_goes_on(opened: Opener) -> None:
    store = opened()
    store.admin.try_own("here", 1, "b", 1)
    store.journal.commit(base.Batch(created=[run(2)]))
    if not hasattr(store, "shelf"):  # what is in memory has no size
        for batch in (base.Batch(created=[run(4, seq=2**63)]), base.Batch(updated=[run(2, wake_at=2**70)])):
            with pytest.raises(base.CommitRefused):
                store.journal.commit(batch)

    store.journal.commit(base.Batch(updated=[run(2, wake_at=2**63 - 1)]))
    assert store.views.row("run-2") == run(2, wake_at=2**63 - 1)
