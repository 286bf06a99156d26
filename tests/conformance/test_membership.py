"""What several owners of one store agree on, rule by rule, against every store that they can share."""

from typing import Any

import pytest

from perdure.kernel.messages import Cancel, Terminate
from perdure.kernel.overdue import LOST_FAILURE
from perdure.kernel.project import HistoryRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.membership import Claimed, Waiting
from tests.conformance.rows import Hand, Opener, ended, mail, of_several_owners, run, start, task

LATER = 10**9


pytestmark = of_several_owners


class Owner:
    """One of several: its store, and its number."""

    def __init__(self, opened: Opener, faults: base.Faults | None = None, build: str = "build-1") -> None:
        self.store = opened(faults)
        member = self.store.admin.try_own("here", 1, build, 1)
        assert member is not None and self.store.membership is not None
        self.member = member
        self.membership = self.store.membership
        self.store.admin.publish([base.DefinitionRow("workflow", "order", b"{}")])

    def poll(self, now: int = LATER, claims: int = 100) -> base.Poll:
        return self.membership.poll(now, 100, claims)

    def claimed(self, now: int = LATER) -> list[int]:
        return [each.key for each in self.poll(now).claimed]

    def commit(self, **batch: Any) -> None:
        self.store.journal.commit(base.Batch(**batch))

    def begin(self, key: int = 2, parked: bool = False, **fields: Any) -> None:
        """A run with one event."""
        row = run(key, **fields)
        self.commit(created=[row], history=[HistoryRow(key, 1, b"e")], parks=[(key, row.seq)] if parked else [])


@pytest.fixture
def one(opened: Opener) -> Owner:
    return Owner(opened)


@pytest.fixture
def other(opened: Opener) -> Owner:
    return Owner(opened)


def test_every_process_is_a_member_of_its_own(one: Owner, other: Owner) -> None:
    assert one.member != other.member
    assert one.poll().members.keys() == {other.member}
    assert other.poll().members.keys() == {one.member}


def test_whoever_begins_a_run_owns_it(one: Owner, other: Owner) -> None:
    one.begin(2, wake_at=5)

    assert other.claimed() == []
    assert other.membership.own([2]) == {}
    assert one.membership.own([2]) == {2: Claimed(2, 0)}
    assert (one.poll().due, other.poll().due) == ([2], [])


def test_a_parked_run_is_claimed_when_it_is_due_by_one_owner(one: Owner, other: Owner) -> None:
    one.begin(2, parked=True, status=Status.WAITING, wake_at=50)

    assert other.claimed(now=49) == []
    assert other.poll(now=50).claimed == [Claimed(2, 1)]
    assert one.claimed(now=60) == []


def test_a_parked_run_is_claimed_when_it_has_mail_and_its_mail_comes_with_it(one: Owner, other: Owner) -> None:
    one.begin(2, parked=True, status=Status.WAITING)
    assert other.claimed() == []

    one.store.post.send(mail(2))
    poll = other.poll()

    assert ([each.key for each in poll.claimed], [letter.run for letter in poll.mail]) == ([2], [2])
    assert one.poll().mail == []


def test_mail_that_came_before_the_run_was_parked_wakes_it_all_the_same(one: Owner, other: Owner) -> None:
    one.begin(2)
    one.store.post.send(mail(2))

    one.commit(updated=[run(2, status=Status.WAITING)], parks=[(2, 1)])

    assert other.claimed() == [2]


def test_closed_runs_with_mail_are_claimed_so_that_somebody_answers(one: Owner, other: Owner) -> None:
    one.begin(2, parked=True, status=Status.COMPLETED, closed_at=9)
    assert other.claimed() == []

    one.store.post.send(mail(2, reply_to="request"))

    assert other.claimed() == [2]


def test_a_blocked_run_is_claimed_only_for_what_somebody_answers(one: Owner, other: Owner) -> None:
    one.begin(2, parked=True, status=Status.BLOCKED)
    one.store.post.send(mail(2))
    assert other.claimed() == []

    one.store.post.send(mail(2, Terminate("enough")))

    assert other.claimed() == [2]


def test_claims_are_counted_so_that_a_copy_that_was_kept_is_known_to_be_old(one: Owner, other: Owner) -> None:
    one.begin(2, parked=True, status=Status.WAITING, wake_at=5)
    first = other.membership.own([2])[2]
    other.commit(updated=[run(2, status=Status.WAITING, wake_at=5)], parks=[(2, 1)])

    assert (first.claims, one.membership.own([2])[2].claims) == (1, 2)


def test_no_more_runs_are_claimed_than_there_is_room_for(one: Owner, other: Owner) -> None:
    for key in (2, 4, 6):
        one.begin(key, parked=True, status=Status.WAITING, wake_at=key)

    assert [each.key for each in other.poll(claims=2).claimed] == [2, 4]
    assert other.poll(claims=0).claimed == []


def test_who_has_waited_longest_is_claimed_first_so_that_nobody_waits_for_ever(one: Owner, other: Owner) -> None:
    for key, wake_at in {2: 9, 4: 3, 6: None, 8: None, 10: 5}.items():
        one.begin(key, parked=True, status=Status.WAITING, wake_at=wake_at)
    for key in (8, 6, 8, 10):
        one.store.post.send(mail(key))

    claimed = [[each.key for each in other.poll(claims=1).claimed] for _ in range(6)]

    assert claimed == [[4], [8], [10], [6], [2], []]


def test_without_room_for_more_only_those_are_claimed_that_somebody_speaks_to_or_that_are_due(
    opened: Opener, one: Owner, other: Owner
) -> None:
    third = Owner(opened)
    third.begin(2)
    third.membership.hand_over()
    one.begin(4, parked=True, status=Status.WAITING)
    one.store.post.send(mail(4))
    one.begin(6, parked=True, status=Status.WAITING, wake_at=5)

    poll = other.membership.poll(LATER, 100, 2, starts=False)

    assert {each.key for each in poll.claimed} == {4, 6}
    assert other.claimed() == [2]


def test_a_blocked_run_is_claimed_for_what_another_run_waits_for_and_for_nothing_else(one: Owner, other: Owner) -> None:
    one.begin(2, parked=True, status=Status.BLOCKED)
    for n in range(3):
        one.store.post.send(mail(2, Cancel(f"{n}"), "request"))
    assert other.claimed() == []

    one.store.post.send(mail(2, Cancel("waits"), "@4:0"))
    poll = other.poll()

    assert [each.key for each in poll.claimed] == [2]
    assert [each.reply_to for each in poll.mail] == ["@4:0"]


def test_whoever_speaks_to_what_a_dead_member_has_left_is_heard_though_there_is_no_room(
    opened: Opener, one: Owner, other: Owner
) -> None:
    """The runs that are due, and those that somebody speaks to, have their turns with those that nobody had; all others wait."""
    third = Owner(opened)
    for key, fields in ((2, {}), (4, {}), (6, {"wake_at": 5}), (8, {"status": Status.QUEUED})):
        third.begin(key, **fields)
    for key in (4, 8):
        one.store.post.send(mail(key))
    one.begin(10, parked=True, status=Status.WAITING, wake_at=4)
    third.membership.hand_over()

    claimed = [[each.key for each in other.membership.poll(LATER, 100, 1, starts=False).claimed] for _ in range(5)]

    assert sorted(claimed) == [[], [], [4], [6], [10]]
    assert claimed.index([10]) < claimed.index([6])
    assert other.claimed() == [2, 8]


def test_an_owner_that_has_beaten_is_not_declared_dead(one: Owner, other: Owner) -> None:
    beat = other.poll().members[one.member]
    one.poll()

    assert not other.membership.declare_dead(one.member, beat)
    assert other.membership.declare_dead(one.member, beat + 1)
    assert not other.membership.declare_dead(one.member, beat + 1)


def test_an_owner_that_has_much_to_do_tells_that_it_lives_without_a_poll(one: Owner, other: Owner) -> None:
    beat = other.poll().members[one.member]
    one.membership.beat()

    assert not other.membership.declare_dead(one.member, beat)
    assert other.poll().members[one.member] == beat + 1
    one.poll()
    assert other.membership.declare_dead(one.member, beat + 2)
    one.membership.beat()
    with pytest.raises(base.OwnershipLost):
        one.poll()


def test_whoever_was_declared_dead_writes_nothing_and_never_comes_back(one: Owner, other: Owner) -> None:
    one.begin(2)
    assert other.membership.declare_dead(one.member, other.poll().members[one.member])

    for act in (
        lambda: one.commit(history=[HistoryRow(2, 2, b"zombie")]),
        lambda: one.poll(),
        lambda: one.membership.own([2]),
        lambda: one.membership.declare_dead(other.member, 0),
        lambda: one.membership.enter(2),
        lambda: one.membership.hand_over(),
    ):
        with pytest.raises(base.OwnershipLost):
            act()
    assert one.store.work.load([2])[2].history == [b"e"]


def test_runs_of_the_dead_are_claimed_by_whoever_polls_and_it_is_said_whose_they_were(
    opened: Opener, one: Owner, other: Owner
) -> None:
    third = Owner(opened)
    one.begin(2)
    assert other.membership.declare_dead(one.member, other.poll().members[one.member])

    assert third.poll(now=0).claimed == [Claimed(2, 1, one.member, deaths=1)]
    assert other.claimed() == []


def test_the_runs_of_the_dead_are_not_forgotten_when_another_process_joins(
    opened: Opener, one: Owner, other: Owner
) -> None:
    one.begin(2, parked=True, status=Status.WAITING, wake_at=5)
    idle = Owner(opened)
    assert idle.claimed() == [2]  # which is all it has ever done
    killed(idle, by=other)

    assert Owner(opened).claimed() == [2]


def test_dead_members_that_have_committed_are_remembered(opened: Opener, one: Owner, other: Owner) -> None:
    one.begin(2)
    one.membership.hand_over()
    assert other.claimed() == [2]

    Owner(opened)

    assert one.member in other.store.views.members([one.member])


def killed(member: Owner, by: Owner) -> None:
    assert by.membership.declare_dead(member.member, by.poll(claims=0).members[member.member])


def test_deaths_of_its_owners_are_counted_until_a_run_goes_on(opened: Opener, one: Owner, other: Owner) -> None:
    second = Owner(opened)
    one.begin(2)
    killed(one, by=other)
    assert second.claimed() == [2]
    second.commit(updated=[run(2)], parks=[(2, 1)])  # an attempt was lost, say, which is no event
    assert [each.deaths for each in second.membership.own([2]).values()] == [1]
    killed(second, by=other)

    assert other.poll().claimed == [Claimed(2, 3, second.member, deaths=2)]
    other.commit(updated=[run(2, seq=2)], history=[HistoryRow(2, 2, b"f")], parks=[(2, 2)])
    assert other.membership.own([2]) == {2: Claimed(2, 4)}


def test_whoever_polls_is_told_once_in_whose_turn_a_member_has_died(opened: Opener, one: Owner, other: Owner) -> None:
    third = Owner(opened)
    one.begin(2)
    one.begin(4)
    one.membership.enter(4)
    killed(one, by=other)

    assert other.membership.own([2, 4]).keys() == {2}  # else nobody would be told
    assert other.poll().claimed == [Claimed(4, 1, one.member, deaths=1, in_turn=True)]
    killed(other, by=third)
    assert [each.in_turn for each in third.poll().claimed] == [False, False]


def test_a_turn_that_was_left_is_not_what_a_member_has_died_in(one: Owner, other: Owner) -> None:
    one.begin(2)
    one.membership.enter(2)
    one.membership.enter(0)
    killed(one, by=other)

    assert other.poll().claimed == [Claimed(2, 1, one.member, deaths=1)]


def test_whoever_hands_over_has_not_died(one: Owner, other: Owner) -> None:
    one.begin(2)
    one.membership.enter(2)
    one.membership.hand_over()

    assert other.poll().claimed == [Claimed(2, 1, one.member)]


def test_whoever_hands_over_leaves_its_runs_to_the_next_poll(one: Owner, other: Owner) -> None:
    one.begin(2)

    one.membership.hand_over()

    assert other.poll(now=0).claimed == [Claimed(2, 1, one.member)]
    assert other.poll().members == {}


def test_mail_that_somebody_else_has_read_refuses_the_whole_batch(one: Owner) -> None:
    one.begin(2)
    one.store.post.send(mail(2))
    (letter,) = one.poll().mail
    one.commit(mail_read=[letter.id])

    with pytest.raises(base.OwnershipLost):
        one.commit(mail_read=[letter.id], history=[HistoryRow(2, 2, b"twice")])
    assert one.store.work.load([2])[2].history == [b"e"]


def test_a_run_that_has_gone_on_elsewhere_is_not_parked(one: Owner) -> None:
    one.begin(2)

    with pytest.raises(base.OwnershipLost):
        one.commit(parks=[(2, 7)], mail_kept=[mail(2)])
    assert one.poll().mail == []


def test_keys_grow_and_nobody_gets_them_twice(one: Owner, other: Owner) -> None:
    first, second = one.membership.reserve(3), other.membership.reserve(2)
    queued = one.store.post.submit(run(0, "queued", Status.QUEUED, seq=0), mail(0, start()))
    third = one.membership.reserve(1)

    keys = [*first, *second, queued.key, *third]
    assert keys == sorted(set(keys))
    assert all(key % 2 == 0 for key in (*first, *second, *third))


def second_commit(fault: base.Fault) -> base.Faults:
    faults = [None, fault]
    return lambda moment, batch: faults.pop(0) if moment == "before" else None


@pytest.mark.parametrize("written", [True, False])
def test_a_commit_in_doubt_is_ended_before_its_owner_looks_for_it(opened: Opener, written: bool) -> None:
    one = Owner(opened, second_commit("in-doubt-late-applied" if written else "in-doubt-late-lost"))
    one.begin(2)
    batch = base.Batch(history=[HistoryRow(2, 2, b"late")])

    with pytest.raises(base.CommitInDoubt):
        one.store.journal.commit(batch)

    assert one.store.work.load([2])[2].history == [b"e"]
    assert one.store.journal.settle(batch) is written
    assert one.store.work.load([2])[2].history == [b"e", b"late"][: 1 + written]


@pytest.mark.parametrize("written", [True, False])
def test_whether_a_run_was_parked_by_a_commit_in_doubt_can_be_seen(opened: Opener, written: bool) -> None:
    one = Owner(opened, second_commit("in-doubt-late-applied" if written else "in-doubt-late-lost"))
    one.begin(2, status=Status.COMPLETED)
    batch = base.Batch(parks=[(2, 1)])

    with pytest.raises(base.CommitInDoubt):
        one.store.journal.commit(batch)

    assert one.store.journal.settle(batch) is written


def test_a_commit_in_doubt_is_ended_before_its_owner_is_declared_dead(opened: Opener, other: Owner) -> None:
    one = Owner(opened, second_commit("in-doubt-late-applied"))
    one.begin(2)
    with pytest.raises(base.CommitInDoubt):
        one.commit(updated=[run(2)], history=[HistoryRow(2, 2, b"late")])
    assert other.membership.own([2]) == {}

    while not other.membership.declare_dead(one.member, other.poll().members[one.member]):
        pass  # while the server has it in hand

    assert other.claimed() == [2]
    assert other.store.work.load([2])[2].history == [b"e", b"late"]


def test_runs_go_to_owners_that_know_their_workflow_and_to_anybody_if_there_is_none(
    opened: Opener, one: Owner, other: Owner
) -> None:
    stranger = Owner(opened)
    stranger.store.admin.publish([base.DefinitionRow("workflow", "other", b"{}")])
    one.begin(2, parked=True, status=Status.WAITING, wake_at=5)
    one.begin(4, parked=True, status=Status.WAITING, wake_at=5, workflow="nobody's")

    assert stranger.claimed() == [4]
    assert other.claimed() == [2]


def test_a_pinned_run_goes_to_owners_of_its_build_and_to_anybody_if_there_is_none(opened: Opener, one: Owner) -> None:
    newer = Owner(opened, build="build-2")
    one.begin(2, parked=True, status=Status.WAITING, wake_at=5, pinned="build-1")

    assert newer.claimed() == []
    one.membership.hand_over()
    assert newer.claimed() == [2]


def test_runs_that_wait_for_other_code_and_that_nobody_owns_are_told_of(one: Owner, other: Owner) -> None:
    assert not one.poll().unmended
    one.begin(2, status=Status.BLOCKED, block=b"why")
    one.begin(4, parked=True, status=Status.QUARANTINED)
    one.begin(6, parked=True, status=Status.WAITING)
    assert not one.poll().unmended
    assert one.membership.mending(0, 10) == []

    for key, status in ((8, Status.HELD), (10, Status.BLOCKED), (12, Status.BLOCKED)):
        one.begin(key, parked=True, status=status)

    assert one.poll().unmended
    assert [each.key for each in one.membership.mending(0, 2)] == [8, 10]
    assert other.membership.mending(8, 10) == [Waiting(10, 1, 0), Waiting(12, 1, 0)]
    other.membership.own([8, 10, 12])
    assert not one.poll().unmended
    other.commit(parks=[(10, 1)])
    assert one.membership.mending(0, 10) == [Waiting(10, 1, 1)]


def test_of_the_members_of_a_build_the_eldest_is_told_of_runs_that_wait_for_other_code(
    opened: Opener, one: Owner, other: Owner
) -> None:
    others = [Owner(opened, build="build-2") for _ in range(2)]
    one.begin(2, parked=True, status=Status.BLOCKED)

    assert [each.poll().unmended for each in (one, other, *others)] == [True, False, True, False]
    one.membership.hand_over()

    assert [each.poll().unmended for each in (other, *others)] == [True, True, False]


def test_what_a_dead_worker_had_is_told_to_the_run_whoever_owns_it(one: Owner, other: Owner) -> None:
    one.begin(2)
    one.commit(tasks=[task(2)])
    hand = Hand(one.store)
    assert len(hand.take()) == 1

    assert other.store.tasks.bury(hand.member, other.poll().beats[hand.member])

    (letter,) = one.poll().mail
    lost = ended(member=hand.member, started_at=10, result=None, failure=LOST_FAILURE)
    assert (letter.run, letter.message) == (2, lost)
    assert other.store.tasks.orphans() == []


def test_mail_for_runs_that_are_not_there_is_answered_by_the_eldest_that_lives(one: Owner, other: Owner) -> None:
    """If two had it, the batch of one of them would be refused, and with it all that this member does."""
    one.store.post.send(mail(99, reply_to="request"))

    assert (other.poll().mail, [letter.run for letter in one.poll().mail]) == ([], [99])
    killed(one, by=other)
    assert [letter.run for letter in other.poll().mail] == [99]


def test_a_spare_key_is_given_once_and_to_nobody_else(one: Owner, other: Owner) -> None:
    given: list[int] = []
    for owner in (one, other, one, one, other):
        owner.poll()
        given += [owner.membership.spare(), owner.membership.spare(), *owner.membership.reserve(2)]
        key = owner.membership.reserve(1)[0]
        owner.begin(key)
        given += [key, owner.membership.spare()]

    keys = [key for key in given if key]
    assert len(keys) > 15 + 5
    assert len(set(keys)) == len(keys)
    assert all(key % 2 == 0 for key in keys)


def test_who_looks_for_ids_gets_keys_for_new_runs_that_are_above_all_that_were_found(one: Owner, other: Owner) -> None:
    first, second = one.membership.reserve(2)
    one.commit(created=[run(first, "a"), run(second, "b")])

    found, keys = other.membership.find(["c", "b", "a"])

    assert {id: row.key for id, row in found.items()} == {"a": first, "b": second}
    assert (
        len(set(keys)) == 3 and list(keys) == sorted(keys) and min(keys) > second and not any(key % 2 for key in keys)
    )
    assert not {*keys} & {*one.membership.reserve(10)}
