"""Tasks of queues, as `perdure.stores.base` says what they are, sentence by sentence, against every store."""

import threading

import msgspec
import pytest

from perdure.kernel import wire
from perdure.kernel.events import Payload
from perdure.kernel.messages import Heartbeat, TaskTaken
from perdure.kernel.project import HistoryRow, TaskRow
from perdure.stores import base
from tests.conformance.rows import (
    ANY,
    ONE_OWNER,
    Hand,
    Opener,
    ended,
    hand_over,
    lost,
    mail,
    messages,
    of_several_owners,
    polled,
    run,
    start,
    task,
)

SECONDS = 10.0
HALF, MORE = wire.encode(Payload(b'"half"')), wire.encode(Payload(b'"more"'))


def steps(tasks: list[TaskRow]) -> list[tuple[int, str]]:
    return [(one.run, one.step) for one in tasks]


def commit(store: base.Store, *tasks: TaskRow, **parts: object) -> None:
    """Tasks, and the runs they belong to if these are not there yet."""
    keys = {one.run for one in tasks} - store.work.load(sorted({one.run for one in tasks})).keys()
    store.journal.commit(
        base.Batch(created=[run(key) for key in sorted(keys)], tasks=list(tasks), **parts)  # type: ignore[arg-type]
    )


# workers


def test_a_worker_is_there_from_the_moment_it_joins_until_it_leaves(store: base.Store) -> None:
    member = store.tasks.join("host-b", 22, "build-2", 6, ["gpu", "cpu"], ["render", "sort"])

    assert store.views.workers() == [base.WorkerRow(member, ("gpu", "cpu"), ("render", "sort"), 0, "build-2")]
    assert store.views.members([member]) == {member: base.MemberRow(member, "host-b", 22, "build-2", 6)}
    store.tasks.leave(member)
    assert store.views.workers() == []


@pytest.mark.parametrize("end", ["leave", "bury"])
def test_of_workers_that_are_gone_only_those_are_remembered_that_have_taken_a_task(store: base.Store, end: str) -> None:
    commit(store, task(2))
    idle, took, living = Hand(store), Hand(store), Hand(store)
    idle.take(base.Want(("other",), 9))
    took.take()

    for hand in (idle, took):
        getattr(store.tasks, end)(hand.member)

    hands = [idle.member, took.member, living.member]
    assert list(store.views.members(hands)) == [took.member, living.member]


def test_a_worker_that_is_forgotten_and_still_speaks_is_refused_and_leaves_no_trace(store: base.Store) -> None:
    zombie = Hand(store)
    store.tasks.bury(zombie.member)
    commit(store, task(2))

    with pytest.raises(base.WorkerGone):
        zombie.take()

    assert store.views.members([zombie.member]) == {}
    assert store.views.backlog() == [base.BacklogRow("gpu", "render", 1, 0)]
    store.tasks.leave(zombie.member)
    assert Hand(store).member > zombie.member


def test_a_worker_that_has_beaten_meanwhile_is_neither_buried_nor_forgotten(store: base.Store) -> None:
    hand = Hand(store)
    hand.beat()

    assert not store.tasks.bury(hand.member, 0)
    assert list(store.views.members([hand.member])) == [hand.member]


def test_owners_do_not_forget_workers_that_live(opened: Opener) -> None:
    hand = Hand(opened())

    for _ in range(2):
        owner = opened()
        owner.admin.try_own("here", 1, "b", 1)
        owner.admin.close()

    assert list(hand.store.views.members([hand.member])) == [hand.member]


def test_numbers_of_workers_and_owners_are_never_used_twice(opened: Opener) -> None:
    first = opened()
    owner = first.admin.try_own("here", 1, "b", 1)
    one, two = Hand(first), Hand(opened())
    first.tasks.bury(two.member)
    three = Hand(first)
    first.admin.close()
    again = opened()

    numbers = [owner, one.member, two.member, three.member, again.admin.try_own("here", 2, "b", 2)]
    assert numbers == sorted(set(numbers))  # type: ignore[type-var]


def test_a_worker_that_is_not_an_owner_does_not_own(opened: Opener) -> None:
    owner, other = opened(), opened()
    member = owner.admin.try_own("here", 1, "b", 1)

    Hand(other)

    (seen,) = owner.views.owners()
    assert seen.id == member


def test_the_beat_of_a_worker_grows_while_it_lives_and_the_owner_sees_it_at_each_poll(store: base.Store) -> None:
    one, two = Hand(store), Hand(store)

    one.beat()
    one.beat()

    assert store.work.poll(0, 10).beats == {one.member: 2, two.member: 0}
    assert [row.beat for row in store.views.workers()] == [2, 0]
    store.tasks.leave(one.member)
    assert store.work.poll(0, 10).beats == {two.member: 0}


@pytest.mark.parametrize("end", ["leave", "bury"])
def test_nothing_counts_that_a_worker_says_after_it_has_left_or_was_buried(store: base.Store, end: str) -> None:
    commit(store, task(2), task(2, "0:2"))
    hand = Hand(store)
    hand.take(base.Want(("render",), 1))
    getattr(store.tasks, end)(hand.member)

    with pytest.raises(base.WorkerGone):
        hand.bring(2, ended(member=hand.member), [base.BlobRow(2, b"d", b"bytes")])
    with pytest.raises(base.WorkerGone):
        hand.take()
    with pytest.raises(base.WorkerGone):
        hand.beat((2, "0:1", 1, b"details"))
    with pytest.raises(base.WorkerGone):
        store.tasks.look(hand.member, ["gpu"])

    assert [(orphan.step, orphan.details) for orphan in lost(store)] == [("0:1", None)]
    assert len(polled(store).mail) == (store.membership is not None)  # that is how it was told
    assert store.views.blob(2, b"d") is None
    assert [row.waiting for row in store.views.backlog()] == [1]


def test_leaving_and_burying_twice_does_no_harm(store: base.Store) -> None:
    hand, other = Hand(store), Hand(store)

    for _ in range(2):
        store.tasks.leave(hand.member)
        store.tasks.bury(hand.member)
    store.tasks.bury(999)

    assert [row.member for row in store.views.workers()] == [other.member]


def test_whoever_never_joined_is_no_worker(store: base.Store) -> None:
    (owner,) = store.views.owners()

    for member in (owner.id, 0, 999):
        with pytest.raises(base.WorkerGone):
            store.tasks.beat(member, ["gpu"], [])
        with pytest.raises(base.WorkerGone):
            store.tasks.exchange(member, [], ["gpu"], [ANY], 1)


def test_workers_outlive_the_owner(opened: Opener) -> None:
    first, second = opened(), opened()
    first.admin.try_own("here", 1, "b", 1)
    commit(first, task(2))
    hand = Hand(second)
    hand.take()

    first.admin.close()

    assert hand.bring(2, ended(member=hand.member)) == [True]
    assert [row.member for row in second.views.workers()] == [hand.member]


# taking


def test_tasks_are_taken_the_oldest_first_and_as_many_as_wanted(store: base.Store) -> None:
    commit(store, task(4), task(2, "0:2"), task(2, "0:1"), task(2, "0:10"))
    hand = Hand(store)

    first, second = hand.take(base.Want(("render",), 3), now=77), hand.take(now=78)

    assert steps(first) == [(4, "0:1"), (2, "0:2"), (2, "0:1")]
    assert steps(second) == [(2, "0:10")]
    assert hand.take() == []
    assert first[0] == task(4, member=hand.member, claimed_at=77)


def test_the_oldest_comes_first_whichever_is_wanted_first(store: base.Store) -> None:
    commit(store, task(2, "0:1", name="pay"), task(2, "0:2"), task(2, "0:3", name="pay"))
    hand = Hand(store)

    wants = [base.Want(("render",), 3), base.Want(("pay",), 3)]
    taken = store.tasks.exchange(hand.member, [], hand.queues, wants, 10).tasks

    assert steps(taken) == [(2, "0:1"), (2, "0:2"), (2, "0:3")]


def test_a_task_is_taken_by_one_worker(opened: Opener) -> None:
    owner, other = opened(), opened()
    owner.admin.try_own("here", 1, "b", 1)
    commit(owner, *[task(2, f"0:{n}") for n in range(5)])
    one, two = Hand(owner), Hand(other)

    taken = [*one.take(base.Want(("render",), 2)), *two.take(base.Want(("render",), 2)), *one.take()]

    assert steps(taken) == [(2, f"0:{n}") for n in range(5)]


def test_a_worker_takes_only_from_its_queues_and_only_what_it_knows(store: base.Store) -> None:
    mine = task(2, "0:1")
    commit(store, task(2, "0:2", queue="cpu"), task(2, "0:3", name="sort"), task(2, "0:4", queue=""), mine)

    assert steps(Hand(store).take()) == [(2, "0:1")]
    assert Hand(store, queues=()).take() == []
    assert Hand(store).take(base.Want((), 9)) == []
    assert Hand(store).take(base.Want(("render", "sort"), 0)) == []


def test_in_its_own_queue_a_member_takes_only_tasks_of_runs_that_its_code_is_for(store: base.Store) -> None:
    """By the run as it stands when the task is taken. In other queues the code of the run says nothing."""
    runs = [
        run(2, workflow="mine"),
        run(4, workflow="mine", pinned="new"),
        run(6, workflow="mine", pinned="old"),
        run(8, workflow="theirs"),
        run(10, workflow="theirs", pinned="new"),
        run(12, workflow="theirs", pinned="old"),
    ]
    tasks = [*(task(key) for key in (6, 8, 2, 10, 4)), task(12, queue="cpu")]
    store.journal.commit(base.Batch(created=runs, tasks=tasks))
    own = base.Own("gpu", "new", ("mine", "also mine"))
    hand = Hand(store, queues=("cpu", "gpu"))

    assert steps(hand.take(base.Want(("render",), 1, own))) == [(2, "0:1")]
    assert steps(hand.take(base.Want(("sort", "render"), 9, own))) == [(4, "0:1"), (12, "0:1")]
    assert hand.take(base.Want(("render",), 9, own)) == []

    store.journal.commit(base.Batch(updated=[runs[2]], pins=[(6, "new")]))
    assert steps(hand.take(base.Want(("render",), 9, own))) == [(6, "0:1")]
    assert steps(hand.take(base.Want(("render",), 9))) == [(8, "0:1"), (10, "0:1")]


def test_what_is_old_comes_first_whatever_its_queue_and_activity(store: base.Store) -> None:
    commit(
        store,
        task(2, "0:1", queue="b", name="y"),
        task(2, "0:2", queue="a", name="x"),
        task(2, "0:3", queue="b", name="x"),
        task(2, "0:4", queue="a", name="y"),
    )

    assert steps(Hand(store, ("a", "b")).take(base.Want(("x", "y"), 3))) == [(2, "0:1"), (2, "0:2"), (2, "0:3")]


def test_each_want_has_a_limit_of_its_own(store: base.Store) -> None:
    commit(store, *[task(2, f"0:{n}", name="render" if n % 2 else "sort") for n in range(6)])
    hand = Hand(store)

    got = store.tasks.exchange(hand.member, [], ["gpu"], [base.Want(("sort",), 1), base.Want(("render",), 2)], 5)

    assert sorted(steps(got.tasks)) == [(2, "0:0"), (2, "0:1"), (2, "0:3")]


def test_many_queues_and_activities_are_searched_together(store: base.Store) -> None:
    queues = tuple(f"queue-{n}" for n in range(30))
    names = tuple(f"name-{n}" for n in range(30))
    commit(store, *[task(2, f"0:{n}", queue=queues[-n % 30], name=names[n * 7 % 30]) for n in range(90)])

    found = Hand(store, queues, names).take(base.Want(names, 80))

    assert steps(found) == [(2, f"0:{n}") for n in range(80)]


def test_a_task_that_could_not_begin_in_time_is_not_given(store: base.Store) -> None:
    late = 1_000 + base.START_MARGIN_NS
    commit(store, task(2, "0:1", start_by=late), task(2, "0:2", start_by=late + 1), task(2, "0:3", start_by=500))

    assert steps(Hand(store).take(now=1_000)) == [(2, "0:2")]


def test_tasks_that_are_too_late_are_not_counted_among_those_that_are_taken(store: base.Store) -> None:
    commit(store, *[task(2, f"0:{n}", start_by=5) for n in range(9)], task(2, "0:9"))

    assert steps(Hand(store).take(base.Want(("render",), 2), now=1_000)) == [(2, "0:9")]


def test_a_run_is_told_who_has_taken_a_task_that_has_to_begin_in_time_and_of_no_other(store: base.Store) -> None:
    commit(store, task(2, "0:1", start_by=10**12, attempt=3), task(2, "0:2"))
    hand = Hand(store)

    hand.take()

    told = store.work.poll(0, 10).mail
    assert [(row.run, row.message, row.reply_to) for row in told] == [(2, TaskTaken("0:1", 3, hand.member), "")]


# ending


def test_an_ending_takes_the_task_away_and_leaves_mail_and_bytes_at_once(opened: Opener) -> None:
    owner, other = opened(), opened()
    owner.admin.try_own("here", 1, "b", 1)
    commit(owner, task(2), task(2, "0:2"))
    hand = Hand(other)
    hand.take()
    message = ended(member=hand.member, details=Payload(b"1"))

    assert hand.bring(2, message, [base.BlobRow(2, b"d", b"bytes")]) == [True]

    assert messages(owner.work.poll(0, 10).mail) == [message]
    assert owner.views.blob(2, b"d") == b"bytes"
    assert owner.views.backlog() == [base.BacklogRow("gpu", "render", 0, 1)]


def test_an_ending_is_accepted_once(store: base.Store) -> None:
    commit(store, task(2))
    hand = Hand(store)
    hand.take()

    assert hand.bring(2, ended(member=hand.member)) == [True]
    assert hand.bring(2, ended(member=hand.member), [base.BlobRow(2, b"d", b"bytes")]) == [False]

    assert len(store.work.poll(0, 10).mail) == 1
    assert store.views.blob(2, b"d") is None


def test_an_ending_of_what_is_not_with_the_worker_is_not_accepted(store: base.Store) -> None:
    commit(store, task(2, "0:1"), task(2, "0:2"), task(2, "0:3", attempt=2))
    other, hand = Hand(store), Hand(store)
    other.take(base.Want(("render",), 1))
    store.tasks.exchange(hand.member, [], ["gpu"], [base.Want(("render",), 1)], 5)

    accepted = [
        *hand.bring(2, ended("0:1", member=hand.member)),  # another worker's
        *hand.bring(2, ended("0:3", attempt=2, member=hand.member)),  # nobody's
        *hand.bring(2, ended("0:2", attempt=2, member=hand.member)),  # another attempt
        *hand.bring(4, ended("0:2", member=hand.member)),  # another run
        *hand.bring(2, ended("0:9", member=hand.member)),  # another step
        *hand.bring(2, ended("0:2", member=hand.member)),
    ]

    assert accepted == [False, False, False, False, False, True]
    assert len(store.work.poll(0, 10).mail) == 1


def test_endings_are_accepted_in_their_order_each_by_itself(store: base.Store) -> None:
    commit(store, *[task(2, f"0:{n}") for n in range(4)])
    hand = Hand(store)
    hand.take(base.Want(("render",), 3))
    brought = [base.Ending(ended(f"0:{n}", member=hand.member), 2, []) for n in (2, 3, 0)]

    got = store.tasks.exchange(hand.member, brought, ["gpu"], [ANY], 30)

    assert got.accepted == [True, False, True]
    assert steps(got.tasks) == [(2, "0:3")]
    assert [row.message.id for row in store.work.poll(0, 10).mail] == ["0:2", "0:0"]  # type: ignore[union-attr]


def test_the_same_ending_brought_twice_at_once_is_accepted_once(store: base.Store) -> None:
    commit(store, task(2))
    hand = Hand(store)
    hand.take()
    brought = [base.Ending(ended(member=hand.member), 2, [])] * 2

    got = store.tasks.exchange(hand.member, brought, (), (), 30)

    assert got.accepted == [True, False]
    assert len(store.work.poll(0, 10).mail) == 1


def test_an_ending_comes_too_late_when_its_run_does_not_want_it_any_more(store: base.Store) -> None:
    commit(store, task(2), task(4), task(6))
    hand = Hand(store)
    hand.take()
    commit(store, task(6, attempt=2), tasks_gone=[(2, "0:1")], tasks_gone_of=[4])

    assert [hand.bring(key, ended(member=hand.member)) for key in (2, 4, 6)] == [[False]] * 3
    assert steps(hand.take()) == [(6, "0:1")]
    assert hand.bring(6, ended(attempt=2, member=hand.member)) == [True]


# heartbeats


def test_a_beat_keeps_details_of_attempts_and_tells_which_are_still_wanted(store: base.Store) -> None:
    commit(store, *[task(2, f"0:{n}") for n in range(3)])
    hand = Hand(store)
    hand.take()
    store.journal.commit(base.Batch(tasks_gone=[(2, "0:1")]))

    mine = hand.beat((2, "0:0", 1, b"half"), (2, "0:1", 1, b"all"))

    assert mine.taken == {(2, "0:0", 1), (2, "0:2", 1)}
    stored = store.views.stored(2)
    assert stored is not None
    assert [(row.step, row.details) for row in stored.tasks] == [("0:0", b"half"), ("0:2", None)]


def test_the_latest_details_count_and_silence_keeps_them(store: base.Store) -> None:
    commit(store, task(2))
    hand = Hand(store)
    hand.take()

    for details in ([(2, "0:1", 1, HALF)], [(2, "0:1", 1, MORE)], []):
        hand.beat(*details)
    store.tasks.bury(hand.member)

    assert [orphan.details for orphan in lost(store)] == [MORE]


def test_details_of_an_attempt_that_is_not_with_the_worker_are_dropped(store: base.Store) -> None:
    commit(store, task(2, "0:1"), task(2, "0:2"), task(2, "0:3"))
    one, two = Hand(store), Hand(store)
    one.take(base.Want(("render",), 1))
    two.take(base.Want(("render",), 1))

    mine = two.beat((2, "0:1", 1, b"x"), (2, "0:2", 9, b"x"), (2, "0:3", 1, b"x"), (8, "0:1", 1, b"x"))

    stored = store.views.stored(2)
    assert stored is not None
    assert [row.details for row in stored.tasks] == [None, None, None]
    assert mine.taken == {(2, "0:2", 1)}


# the lost


def test_tasks_of_workers_that_have_left_or_were_buried_are_orphans_oldest_first(store: base.Store) -> None:
    commit(store, *[task(2, f"0:{n}", attempt=n + 1) for n in range(4)])
    one, two, living = Hand(store), Hand(store), Hand(store)
    one.take(base.Want(("render",), 1), now=71)
    living.take(base.Want(("render",), 1))
    two.take(base.Want(("render",), 1), now=73)
    two.beat((2, "0:2", 3, HALF))
    assert lost(store) == []

    store.tasks.leave(two.member)
    store.tasks.bury(one.member)

    found = [base.Orphan(2, "0:0", 1, one.member, 71), base.Orphan(2, "0:2", 3, two.member, 73, HALF)]
    assert lost(store) == (found if store.membership is None else found[::-1])  # letters come as they are written


def test_details_that_are_damaged_keep_nobody_from_hearing_of_the_loss(store: base.Store) -> None:
    commit(store, task(2))
    hand = Hand(store)
    hand.take()
    hand.beat((2, "0:1", 1, b"rubbish"))

    store.tasks.bury(hand.member)

    assert [(orphan.step, orphan.attempt) for orphan in lost(store)] == [("0:1", 1)]


def test_an_orphan_is_given_to_nobody_and_goes_when_its_run_says_so(store: base.Store) -> None:
    commit(store, task(2), task(4))
    hand = Hand(store)
    hand.take()
    store.tasks.bury(hand.member)
    again = Hand(store)
    assert again.take() == []

    commit(store, task(2, attempt=2), tasks_gone_of=[4])

    assert store.tasks.orphans() == []
    assert [(one.run, one.attempt) for one in again.take()] == [(2, 2)]


# looking


def test_idle_workers_look_without_writing(store: base.Store) -> None:
    commit(store, task(2), task(2, "0:2", name="sort"), task(2, "0:3", queue="cpu", name="shrink"))
    Hand(store)

    assert store.tasks.waiting(["gpu"]) == ["render", "sort"]
    assert store.tasks.waiting(["other", "cpu"]) == ["shrink"]
    assert store.tasks.waiting(["gpu", "cpu", "gpu"]) == ["render", "shrink", "sort"]
    assert store.tasks.waiting(["other"]) == []
    assert store.tasks.waiting([]) == []
    assert store.views.workers()[0].beat == 0


def test_one_look_tells_a_worker_what_waits_what_it_has_and_how_long_it_may_be_silent(opened: Opener) -> None:
    store = opened()
    store.admin.try_own("here", 1, "b", 1, 7_000_000_000)
    commit(store, task(2, "0:1"), task(2, "0:2"), task(4, name="sort"), task(4, "0:2", queue="cpu", name="shrink"))
    hand, other = Hand(store), Hand(store)
    hand.take(base.Want(("render",), 1))
    other.take(base.Want(("render",), 1))

    look = store.tasks.look(hand.member, ["gpu"])

    assert (look.waiting, look.taken, look.lease_ns) == (["sort"], {(2, "0:1", 1)}, 7_000_000_000)
    beaten = hand.beat()
    assert (beaten.waiting, beaten.taken, beaten.lease_ns) == (look.waiting, look.taken, look.lease_ns)
    assert [row.beat for row in store.views.workers()] == [1, 0]
    look = store.tasks.look(hand.member, [])
    assert (look.waiting, look.taken, look.lease_ns) == ([], {(2, "0:1", 1)}, 7_000_000_000)


def leased(opened: Opener, seconds: int) -> base.Store:
    """An owner that lets workers be silent for so long, and may be so itself."""
    owner = opened()
    assert owner.admin.try_own("here", 1, "b", 1, seconds * 10**9) is not None
    return owner


def test_a_worker_is_told_by_each_look_how_long_it_may_be_silent_and_the_owner_judges_it_by_that(
    opened: Opener,
) -> None:
    hand = Hand(opened())
    before = hand.beat().lease_ns
    for seconds in (5, 60):
        owner = leased(opened, seconds)
        Hand(owner)
        hand.beat()

        assert hand.store.tasks.look(hand.member, ["gpu"]).lease_ns == seconds * 10**9
        assert owner.work.poll(0, 1).leases[hand.member] == seconds * 10**9
        hand_over(owner)
    assert before == base.LEASE_NS


@of_several_owners
@pytest.mark.parametrize("leases", [(3, 60), (60, 3)])
def test_of_several_owners_the_one_that_lives_with_the_shortest_lease_says_how_long_workers_may_be_silent(
    opened: Opener, leases: tuple[int, int]
) -> None:
    one, other = (leased(opened, seconds) for seconds in leases)
    hand = Hand(other)

    assert hand.beat().lease_ns == 3 * 10**9
    assert [owner.work.poll(0, 1).leases[hand.member] for owner in (one, other)] == [3 * 10**9] * 2
    hand_over(one if leases[0] == 3 else other)
    assert hand.beat().lease_ns == 60 * 10**9


@of_several_owners
def test_a_worker_is_judged_by_the_lease_of_its_last_beat_whoever_comes_after_that(opened: Opener) -> None:
    """So nobody who comes is in a hurry with one that could not know of it, and one that was told to be quick stays so until
    it is told otherwise by a beat, not by a look, of which nobody else knows."""
    slow = leased(opened, 60)
    hand = Hand(slow)
    assert slow.work.poll(0, 1).leases[hand.member] == 60 * 10**9

    quick = leased(opened, 3)
    assert quick.work.poll(0, 1).leases[hand.member] == 60 * 10**9
    assert hand.store.tasks.look(hand.member, ["gpu"]).lease_ns == 3 * 10**9
    hand.beat()
    assert slow.work.poll(0, 1).leases[hand.member] == 3 * 10**9

    hand_over(quick)
    assert hand.store.tasks.look(hand.member, ["gpu"]).lease_ns == 3 * 10**9
    assert slow.work.poll(0, 1).leases[hand.member] == 3 * 10**9
    assert hand.beat().lease_ns == 60 * 10**9
    assert slow.work.poll(0, 1).leases[hand.member] == 60 * 10**9


@of_several_owners
def test_an_owner_is_judged_by_its_own_lease_by_all_others(opened: Opener) -> None:
    quick, slow, third = leased(opened, 3), leased(opened, 60), leased(opened, 10)
    seen = [owner.membership.poll(0, 1, 1) for owner in (quick, slow, third) if owner.membership is not None]

    assert [sorted(poll.leases[id] // 10**9 for id in poll.members) for poll in seen] == [[10, 60], [3, 10], [3, 60]]


def test_what_was_taken_waits_no_more(store: base.Store) -> None:
    commit(store, task(2), task(2, "0:2", name="sort"))
    hand = Hand(store)
    hand.take(base.Want(("render", "sort"), 9))

    assert store.tasks.waiting(["gpu"]) == []


def test_the_backlog_counts_by_queue_and_activity_what_waits_and_what_is_taken(store: base.Store) -> None:
    commit(store, task(2, "0:1"), task(2, "0:2"), task(4), task(4, "0:2", name="sort"), task(4, "0:3", queue="a"))
    Hand(store).take(base.Want(("render",), 2))

    assert store.views.backlog() == [
        base.BacklogRow("a", "render", 1, 0),
        base.BacklogRow("gpu", "render", 1, 2),
        base.BacklogRow("gpu", "sort", 1, 0),
    ]


def test_a_stored_run_is_seen_with_its_tasks_without_their_bodies(store: base.Store) -> None:
    commit(store, task(2, "0:2", start_by=9), task(2, "0:1", attempt=3), task(4))

    stored = store.views.stored(2)

    assert stored is not None
    assert stored.tasks == [task(2, "0:2", start_by=9, body=b""), task(2, "0:1", attempt=3, body=b"")]
    assert store.work.load([2])[2].tasks == []


# in a batch


def test_a_task_takes_the_place_of_an_earlier_one_of_its_step_and_is_the_last_in_turn(store: base.Store) -> None:
    commit(store, task(2, "0:1"), task(2, "0:2"))
    hand = Hand(store)
    hand.take(base.Want(("render",), 1))
    hand.beat((2, "0:1", 1, b"half"))

    commit(store, task(2, "0:1", attempt=2, queue="cpu", start_by=10**12, body=b"new"))

    stored = store.views.stored(2)
    assert stored is not None
    assert stored.tasks == [
        task(2, "0:2", body=b""),
        task(2, "0:1", attempt=2, queue="cpu", start_by=10**12, body=b""),
    ]
    assert Hand(store, ("cpu",)).take()[0].body == b"new"


def test_of_two_tasks_of_a_step_in_one_batch_the_later_is_left(store: base.Store) -> None:
    commit(store, task(2, attempt=1), task(2, "0:2"), task(2, attempt=2))

    assert [(one.step, one.attempt) for one in Hand(store).take()] in (
        [("0:1", 2), ("0:2", 1)],
        [("0:2", 1), ("0:1", 2)],
    )


def test_tasks_go_before_new_ones_come(store: base.Store) -> None:
    commit(store, task(2, "0:1"), task(2, "0:2"), task(4))

    commit(store, task(2, "0:1", attempt=2), task(4, attempt=2), tasks_gone_of=[4], tasks_gone=[(2, "0:1"), (2, "0:9")])

    assert sorted((one.run, one.step, one.attempt) for one in Hand(store).take()) == [
        (2, "0:1", 2),
        (2, "0:2", 1),
        (4, "0:1", 2),
    ]


@pytest.mark.parametrize("count", [1, 2, 1023, 1025, 2500])
def test_tasks_of_any_number_are_written_taken_ended_and_dropped(store: base.Store, count: int) -> None:
    names = [f"0:{n}" for n in range(count)]
    commit(store, *[task(2, name) for name in names], *[task(4, name) for name in names])
    hand = Hand(store)

    taken = hand.take(base.Want(("render",), count))
    beaten = hand.beat(*[(2, name, 1, b"half") for name in names])
    brought = [base.Ending(ended(name, member=hand.member), 2, []) for name in names]
    got = store.tasks.exchange(hand.member, brought, (), (), 30)
    store.journal.commit(base.Batch(tasks_gone=[(4, name) for name in names[:-1]]))

    assert steps(taken) == [(2, name) for name in names]
    assert beaten.taken == {(2, name, 1) for name in names}
    assert got.accepted == [True] * count
    assert store.views.backlog() == [base.BacklogRow("gpu", "render", 1, 0)]
    assert len(store.work.poll(0, 5_000).mail) == count


def test_a_refused_batch_leaves_tasks_as_they_were(store: base.Store) -> None:
    commit(store, task(2))
    refused = base.Batch(
        updated=[run(99)], tasks_gone_of=[2], tasks_gone=[(2, "0:1")], tasks=[task(2, attempt=2), task(2, "0:2")]
    )

    with pytest.raises(base.CommitRefused):
        store.journal.commit(refused)

    assert [(one.step, one.attempt) for one in Hand(store).take()] == [("0:1", 1)]


def test_a_withdrawn_run_leaves_no_task(store: base.Store) -> None:
    queued = store.post.submit(run(0, "refused"), mail(0, start()))
    store.journal.commit(base.Batch(history=[HistoryRow(queued.key, 1, b"x")], tasks=[task(queued.key)]))

    store.journal.commit(base.Batch(withdrawn=[queued.key]))

    assert store.views.backlog() == []


def test_a_new_owner_finds_the_tasks_and_who_has_them(opened: Opener) -> None:
    first, second = opened(), opened()
    first.admin.try_own("here", 1, "b", 1)
    commit(first, task(2), task(4))
    hand = Hand(opened())
    hand.take(base.Want(("render",), 1))
    first.admin.close()

    second.admin.try_own("here", 2, "b", 2)

    assert second.views.backlog() == [base.BacklogRow("gpu", "render", 1, 1)]
    assert second.work.poll(0, 9).beats == {hand.member: 0}
    assert second.tasks.orphans() == []


# hints

quiet = pytest.mark.parametrize("opened", [*ONE_OWNER, "shared memory"], indirect=True)
"""Who begins to listen to PostgreSQL is nudged at some time, for what may have come before: see tests/postgres/test_hints.py."""


@quiet
def test_workers_hear_nudges_each_its_own(opened: Opener) -> None:
    owner, one, two = opened(), opened(), opened()
    owner.admin.try_own("here", 1, "b", 1)
    first, second = Hand(one), Hand(two)
    heard_first, heard_second = threading.Event(), threading.Event()
    one.tasks.listen(first.member, heard_first.set)
    two.tasks.listen(second.member, heard_second.set)

    owner.tasks.nudge([first.member, 999])

    assert heard_first.wait(SECONDS)
    assert not heard_second.is_set()
    owner.tasks.nudge([second.member])
    assert heard_second.wait(SECONDS)


def test_two_workers_of_one_store_both_listen(store: base.Store) -> None:
    one, two = Hand(store), Hand(store)
    heard: list[threading.Event] = [threading.Event(), threading.Event()]
    store.tasks.listen(one.member, heard[0].set)
    store.tasks.listen(two.member, heard[1].set)

    store.tasks.nudge([one.member, two.member])

    assert [each.wait(SECONDS) for each in heard] == [True, True]


@quiet
def test_a_nudge_for_one_that_has_left_is_lost(store: base.Store) -> None:
    hand = Hand(store)
    heard = threading.Event()
    store.tasks.listen(hand.member, heard.set)
    store.tasks.leave(hand.member)

    store.tasks.nudge([hand.member])

    assert not heard.wait(0.05)


# tokens


def test_the_secret_is_the_same_for_everybody_and_for_ever_and_another_in_another_store(opened: Opener) -> None:
    first, second = opened(), opened()
    secret = first.views.secret()
    first.admin.close()

    assert second.views.secret() == opened().views.secret() == secret
    assert len(secret) == 32
    assert len(set(secret)) > 8


def test_a_heartbeat_from_outside_is_mail_like_any_other(store: base.Store) -> None:
    commit(store, task(2))
    beat = Heartbeat("0:1", 1, details=Payload(b"5"))

    store.post.send(mail(2, beat, "request"))

    assert [(row.message, row.reply_to) for row in store.work.poll(0, 9).mail] == [(beat, "request")]
    assert msgspec.structs.asdict(beat)["member"] == 0
