"""What any process sees of a store: lists, owners, checks, addresses; against every store."""

from pathlib import Path

import msgspec
import pytest

from perdure import errors
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.messages import Cancel, Move
from perdure.kernel.project import HistoryRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.open import open_store
from tests.conformance.rows import Hand, Opener, hand_over, mail, of_one_owner, of_several_owners, polled, run, start


@pytest.fixture
def listed(store: base.Store) -> base.Views:
    statuses = [Status.COMPLETED, Status.RUNNING, Status.FAILED]
    store.journal.commit(
        base.Batch(
            created=[
                run(2 * n, f"{'order' if n % 2 else 'Order'}-{n:02}", statuses[n % 3], workflow=f"flow-{n % 4}")
                for n in range(1, 13)
            ]
        )
    )
    return store.views


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (base.RunFilter(), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (base.RunFilter(limit=2), [12, 11]),
        (base.RunFilter(limit=2, before_key=22), [10, 9]),
        (base.RunFilter(statuses=(Status.COMPLETED,)), [12, 9, 6, 3]),
        (base.RunFilter(statuses=(Status.RUNNING, Status.FAILED), limit=3), [11, 10, 8]),
        (base.RunFilter(statuses=(Status.COMPLETED, Status.FAILED)), [12, 11, 9, 8, 6, 5, 3, 2]),
        (base.RunFilter(workflow="flow-1"), [9, 5, 1]),
        (base.RunFilter(workflow="flow"), []),
        (base.RunFilter(id_prefix="order-0"), [9, 7, 5, 3, 1]),
        (base.RunFilter(id_prefix=""), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (base.RunFilter(started_since=120), [12, 11, 10]),
        (base.RunFilter(statuses=(Status.COMPLETED,), workflow="flow-1", id_prefix="order", started_since=110), [9]),
    ],
)
def test_search_and_count(listed: base.Views, wanted: base.RunFilter, found: list[int]) -> None:
    assert [row.key // 2 for row in listed.search(wanted)] == found

    everything = listed.search(msgspec.structs.replace(wanted, before_key=None, limit=100))
    assert listed.count(wanted) == len(everything)
    assert listed.count(wanted, 2) == min(len(everything), 2)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (base.RunFilter(parent="a"), [6, 4, 3]),
        (base.RunFilter(parent="a", statuses=(Status.RUNNING,)), [4]),
        (base.RunFilter(parent="child"), [5]),
        (base.RunFilter(parent="b"), []),
        (base.RunFilter(root="a"), [6, 5, 4, 3, 2, 1]),
        (base.RunFilter(root="a", limit=2, before_key=10), [4, 3]),
        (base.RunFilter(root="child"), []),
        (base.RunFilter(root="b"), [7]),
        (base.RunFilter(root="nobody"), []),
    ],
)
def test_families_are_found_by_the_id_of_a_parent_or_of_the_root(
    store: base.Store, wanted: base.RunFilter, found: list[int]
) -> None:
    done, runs = Status.COMPLETED, Status.RUNNING
    rows = [run(2, "a", done, followed_by=4), run(4, "a", runs)]
    rows += [run(6, "child", done, parent=2, root=2), run(8, "other", runs, parent=4, root=4)]
    rows += [
        run(10, "grandchild", done, parent=6, root=2),
        run(12, "third", done, parent=2, root=2),
        run(14, "b", done),
    ]
    store.journal.commit(base.Batch(created=rows))

    assert [row.key // 2 for row in store.views.search(wanted)] == found
    assert store.views.count(msgspec.structs.replace(wanted, before_key=None)) >= len(found)


def test_a_run_keeps_its_parent_whatever_an_update_says(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a"), run(4, "child", parent=2, root=2)]))

    store.journal.commit(base.Batch(updated=[run(4, "child", Status.COMPLETED, parent=0, root=0)]))

    (row,) = store.views.search(base.RunFilter(parent="a"))
    assert (row.status, row.parent, row.root) == (Status.COMPLETED, 2, 2)


def test_prefixes_complete_to_ids_newest_first(listed: base.Views) -> None:
    assert listed.prefixed("order-0") == ["order-09", "order-07", "order-05", "order-03", "order-01"]
    assert listed.prefixed("Order-1", 1) == ["Order-12"]
    assert listed.prefixed("%") == []


@pytest.mark.parametrize("prefix", ["ä", "a\U0010ffff", "\U0010ffff", "\ud7ff", "*", "a_"])
def test_prefixes_of_any_character_mean_themselves(store: base.Store, prefix: str) -> None:
    ids = [prefix, prefix + "\U0010ffff", prefix + "x", "ax", "b", "\ue000"]
    store.journal.commit(base.Batch(created=[run(2 * n, id) for n, id in enumerate(ids, 1)]))

    assert sorted(store.views.prefixed(prefix)) == sorted(ids[:3])


def test_rows_by_key_leave_out_what_is_missing(listed: base.Views) -> None:
    assert {key: row.key for key, row in listed.rows_by_key([2, 4, 999]).items()} == {2: 2, 4: 4}


@of_one_owner
def test_one_owner_at_a_time(opened: Opener) -> None:
    first, second = opened(), opened()
    assert not first.views.owners()

    assert first.admin.try_own("host-a", 11, "build-a", 5) == 1
    assert second.admin.try_own("host-b", 22, "build-b", 6) is None
    assert first.admin.try_own("host-a", 11, "build-a", 7) is None
    assert first.views.owners() == second.views.owners() == [base.MemberRow(1, "host-a", 11, "build-a", 5)]

    first.journal.commit(base.Batch(created=[run(2)]))
    first.admin.close()
    assert not second.views.owners()
    assert second.admin.try_own("host-b", 22, "build-b", 8) == 2
    assert second.views.members([2, 1, 3]) == {
        1: base.MemberRow(1, "host-a", 11, "build-a", 5),
        2: base.MemberRow(2, "host-b", 22, "build-b", 8),
    }
    first.admin.close()
    assert second.views.owners()


@of_several_owners
def test_owners_that_live_are_seen_the_eldest_first_and_workers_are_none(opened: Opener) -> None:
    first, second, looker = opened(), opened(), opened()
    first.admin.try_own("host-a", 11, "build-a", 5)
    second.admin.try_own("host-b", 22, "build-b", 6)
    Hand(looker)

    assert [(owner.host, owner.build) for owner in looker.views.owners()] == [
        ("host-a", "build-a"),
        ("host-b", "build-b"),
    ]
    hand_over(first)
    assert [owner.host for owner in looker.views.owners()] == ["host-b"]


def test_of_earlier_owners_only_those_are_remembered_that_have_committed(opened: Opener) -> None:
    commits = [True, False, True, False, False]
    members: list[int] = []
    for committed, key in zip(commits, range(2, 12, 2), strict=True):
        store = opened()
        members.append(store.admin.try_own("here", 1, "b", 1) or 0)
        if committed:
            store.journal.commit(base.Batch(created=[run(key)]))
        hand_over(store)
    store = opened()

    members.append(store.admin.try_own("here", 1, "b", 1) or 0)
    assert members == sorted(set(members))
    assert list(store.views.members(members)) == [members[n] for n in (0, 2, 5)]


def test_a_commit_that_was_not_written_is_nothing_to_remember_an_owner_for(opened: Opener) -> None:
    members: list[int] = []
    for fault in ("refused", "in-doubt-lost"):
        store = opened(faults=lambda moment, batch, fault=fault: fault if moment == "before" else None)
        members.append(store.admin.try_own("here", 1, "b", 1) or 0)
        with pytest.raises((base.CommitRefused, base.CommitInDoubt)):
            store.journal.commit(base.Batch(created=[run(2)]))
        hand_over(store)
    store = opened()

    last = store.admin.try_own("here", 1, "b", 1) or 0
    assert list(store.views.members([*members, last])) == [last]


def test_only_the_owner_commits(opened: Opener) -> None:
    owner, other = opened(), opened()
    owner.admin.try_own("here", 1, "b", 1)

    with pytest.raises(base.OwnershipLost):
        other.journal.commit(base.Batch(created=[run(2)]))
    owner.admin.close()
    with pytest.raises(base.OwnershipLost):
        owner.journal.commit(base.Batch(created=[run(2)]))

    assert other.work.last_key() == 0


def test_a_new_owner_finds_everything(opened: Opener) -> None:
    first = opened()
    first.admin.try_own("here", 1, "b", 1)
    first.journal.commit(base.Batch(created=[run(2, wake_at=5)], history=[HistoryRow(2, 1, b"x")], mail_kept=[mail(2)]))
    before = first.work.load([2])
    hand_over(first)

    second = opened()
    second.admin.try_own("here", 2, "b", 2)

    assert second.work.load([2]) == before
    assert second.work.running() == polled(second, 5).due == [2]


def test_definitions_are_replaced(store: base.Store) -> None:
    old = base.DefinitionRow("workflow", "old", b"{}")
    store.admin.publish([old, base.DefinitionRow("workflow", "a", b'{"names":["x"]}')])

    rows = [base.DefinitionRow("activity", "b", b'{"names":[]}'), base.DefinitionRow("workflow", "a", b"{}")]
    store.admin.publish(rows[::-1])

    assert store.views.definitions() == (rows if store.membership is None else [*rows, old])


@of_one_owner
def test_the_turn_marker_outlives_its_owner(opened: Opener) -> None:
    first = opened()
    first.admin.try_own("here", 1, "b", 1)
    assert first.marking is not None
    marker = first.marking.marker()
    assert marker.left_by_the_dead() == 0
    marker.enter(2)
    marker.leave()
    marker.enter(2**40 + 4)
    first.admin.close()

    second = opened()
    second.admin.try_own("here", 2, "b", 2)

    assert second.marking is not None
    heir = second.marking.marker()
    assert (heir.left_by_the_dead(), heir.left_by_the_dead()) == (2**40 + 4, 0)
    second.admin.close()
    third = opened()
    third.admin.try_own("here", 3, "b", 3)
    assert third.marking is not None and third.marking.marker().left_by_the_dead() == 0


def test_a_check_finds_holes_and_damage_in_histories(store: base.Store) -> None:
    started = wire.encode([ev.RunStarted(1, "order", ev.Payload(b"[]"), b"r", "b")])
    fired = wire.encode([ev.TimerFired(2, "0:1"), ev.TimerFired(3, "0:2")])
    store.journal.commit(
        base.Batch(
            created=[run(2, seq=3), run(4, seq=4), run(6, seq=2), run(8, seq=1), run(10, seq=0, wake_at=1, status=8)],
            history=[
                *[HistoryRow(2, 1, started), HistoryRow(2, 2, fired)],
                *[HistoryRow(4, 1, started), HistoryRow(4, 3, fired)],
                HistoryRow(6, 1, started),
                HistoryRow(8, 1, b"rubbish"),
            ],
        )
    )

    lines = store.admin.check()

    assert len(lines) == 4
    assert lines[0] == "run 'run-4': events 2 to 2 of its history are missing"
    assert lines[1] == "run 'run-6': its summary counts 2 events, its history has 1"
    assert lines[2].startswith("run 'run-8': its history cannot be read from event 1 on")
    assert lines[3] == "run 'run-10': has ended, yet would be woken again"


def test_a_sound_store_has_no_problems(store: base.Store) -> None:
    assert store.admin.check() == []


def test_closing_twice_is_fine(store: base.Store) -> None:
    store.admin.close()
    store.admin.close()


def test_memory_is_private_unless_named() -> None:
    for address, shared in (("memory://", False), ("memory://conformance", True)):
        first, second = open_store(address), open_store(address)
        first.post.submit(run(0, "a", Status.QUEUED), mail(0, start()))
        assert (second.views.row("a") is not None) is shared


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("postgresql+psycopg://me:hush@localhost/x", "write postgresql://me@localhost/x"),
        ("sqlite://orders.db", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("orders.db", "write sqlite:///orders.db"),
        ("mysql://x", "there is no store named 'mysql'"),
        ("postgresql:/me:hush@host/x", "begins with postgresql:// and this does not"),
        ("host=db port=5433 user=me password=hush dbname=x", "write them as postgresql://me@db:5433/x$"),
        ("", "not an address of a store"),
    ],
)
def test_other_addresses_are_refused_with_advice(address: str, advice: str) -> None:
    with pytest.raises(errors.StoreUnreachable, match=advice):
        open_store(address)


def test_sqlite_addresses_are_relative_or_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    relative = open_store("sqlite:///here.db")
    absolute = open_store(f"sqlite:///{tmp_path}/here.db")

    assert relative.address == absolute.address == f"sqlite:///{tmp_path}/here.db"
    assert open_store(relative.address).address == relative.address


def test_builds_tell_how_many_runs_each_has_and_a_run_may_be_moved_to_another(store: base.Store) -> None:
    pinned = msgspec.structs.replace(run(2, "a", started_at=5), build="old", pinned="old")
    free = msgspec.structs.replace(run(4, "b", Status.COMPLETED, started_at=7), build="old")
    other = msgspec.structs.replace(run(6, "c", started_at=6), build="new")
    store.journal.commit(base.Batch(created=[pinned, free, other]))
    assert store.admin.builds() == [
        base.BuildRow("old", False, 1, 0, 7),
        base.BuildRow("new", False, 1, 1, 6),
        base.BuildRow("old", True, 1, 1, 5),
    ]

    store.journal.commit(base.Batch(updated=[pinned], pins=[(2, "new")]))

    assert store.views.rows_by_key([2])[2].pinned == "new"
    assert store.admin.builds()[-1] == base.BuildRow("new", True, 1, 1, 5)
    store.journal.commit(base.Batch(updated=[msgspec.structs.replace(pinned, note="on", pinned="nobody's")]))
    assert store.views.rows_by_key([2])[2].pinned == "new"


def test_a_run_that_waits_for_its_build_is_told_to_move(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, status=Status.BLOCKED, block=b"why")]))
    store.post.send(base.MailRow(0, 2, Cancel()))
    store.post.send(base.MailRow(0, 2, Move()))

    assert [letter.message for letter in store.work.poll(0, 9).mail] == [Move()]


def placed(key: int, id: str, run_id: bytes, **fields: object) -> base.Placed:
    row = msgspec.structs.replace(run(key, id), run_id=run_id, followed_by=0, **fields)
    return base.Placed(row, wire.encode([ev.CancelRequested(1)]), mail=[Cancel("late")], blobs=[(b"d" * 32, b"data")])


def test_runs_from_elsewhere_get_keys_of_their_own_and_come_in_order(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "other")]))
    first, second = placed(90, "a", b"1"), placed(92, "a", b"2", chain=90)

    assert store.post.place([first, second]) == [True, True]
    older, newer = store.views.row_of("a", b"1"), store.views.row("a")
    assert older is not None
    assert newer is not None
    assert (newer.run_id, newer.chain, older.followed_by) == (b"2", older.key, newer.key)
    stored = store.views.stored(newer.key)
    assert stored is not None
    assert [mail.message for mail in stored.mail] == [Cancel("late")]
    assert wire.decode_history(stored.history) == [ev.CancelRequested(1)]
    assert store.views.blob(newer.key, b"d" * 32) == b"data"
    assert store.post.place([first, second, placed(94, "a", b"3")]) == [False, False, True]


def test_an_id_that_is_taken_refuses_all_of_what_is_placed(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "b")]))

    assert store.post.place([placed(90, "a", b"1"), placed(92, "b", b"2")]) == [True, None]
    assert store.views.row("a") is None
    assert store.work.last_key() == 2
    assert store.post.place([placed(90, "a", b"1")]) == [True]
    assert store.post.place([placed(92, "a", b"2")]) == [None]
