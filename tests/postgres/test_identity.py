"""Who is who in a database that has gone back: by a failover to a standby that had not got the last moments, or a backup.

Numbers that its sequences had given away are given again, while whoever has got them before goes on.
"""

import select
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from perdure.kernel.events import Payload
from perdure.kernel.messages import Signal
from perdure.kernel.project import HistoryRow
from perdure.stores import base
from perdure.stores.postgres.store import PostgresStore
from tests.conformance.rows import Hand, ended, mail, run, task

NOBODY = """
DELETE FROM perdure.members; DELETE FROM perdure.beats; DELETE FROM perdure.workers; UPDATE perdure.tasks SET member = 0;
ALTER TABLE perdure.members ALTER id RESTART;
"""
"""The database is as it was before anybody had joined, or taken a task."""


def told(address: str, script: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(script.encode())
        return cursor.fetchall() if cursor.description is not None else []


def joined(address: str) -> tuple[PostgresStore, int]:
    store = PostgresStore(address)
    member = store.admin.try_own("here", 1, "build-1", 1)
    assert member is not None
    return store, member


def test_a_member_that_the_database_has_forgotten_is_none_of_those_that_join_then(database: str) -> None:
    lost, _ = joined(database)
    lost.membership.poll(0, 10, 10)
    told(database, NOBODY)
    new, number = joined(database)
    new.journal.commit(base.Batch(created=[run(2)]))
    pulses = "SELECT beat + pulse FROM perdure.beats"

    calls: list[Callable[[], Any]] = [
        lambda: lost.journal.commit(base.Batch(updated=[run(2, note="of another life")])),
        lambda: lost.membership.poll(0, 10, 10),
        lambda: lost.membership.own([2]),
        lambda: lost.membership.declare_dead(number, 0),
        lambda: lost.journal.settle(base.Batch(mail_read=[1])),
        lambda: lost.admin.publish([]),
        lost.membership.hand_over,
    ]
    lost.membership.beat()
    assert told(database, pulses) == [(0,)]
    for call in calls:
        with pytest.raises(base.OwnershipLost):
            call()
    again = lost.admin.try_own("here", 1, "build-1", 1)

    assert [owner.id for owner in new.views.owners()] == [number, again]
    assert new.membership.poll(0, 10, 10).claimed == []
    assert new.work.load([2])[2].run == run(2)
    for store in (lost, new):
        store.admin.close()


def test_a_worker_that_the_database_has_forgotten_is_none_of_those_that_join_then(database: str) -> None:
    lost = Hand(PostgresStore(database))
    store, _ = joined(database)
    store.journal.commit(base.Batch(created=[run(2)], tasks=[task(2)]))
    assert lost.take()
    told(database, NOBODY)
    new = Hand(PostgresStore(database))
    assert [each.attempt for each in new.take()] == [1]

    calls: list[Callable[[], Any]] = [
        lambda: lost.bring(2, ended(member=lost.member)),
        lambda: lost.take(),
        lambda: lost.beat((2, "0:1", 1, b"details")),
        lambda: lost.store.tasks.look(lost.member, ["gpu"]),
    ]
    for call in calls:
        with pytest.raises(base.WorkerGone):
            call()
    lost.store.tasks.leave(lost.member)

    assert [(each.member, each.beat) for each in store.views.workers()] == [(new.member, 0)]
    assert told(database, "SELECT member, details FROM perdure.tasks") == [(new.member, None)]
    assert new.bring(2, ended(member=new.member)) == [True]
    for each in (store, lost.store, new.store):
        each.admin.close()


def test_what_was_polled_is_not_written_to_a_database_that_knows_nothing_of_that_poll(database: str) -> None:
    """A letter that was read may have gone, and another one have its number."""
    store, _ = joined(database)
    store.journal.commit(base.Batch(created=[run(2)]))
    store.post.send(mail(2))
    (read,) = store.membership.poll(0, 10, 10).mail
    told(database, "UPDATE perdure.beats SET beat = beat - 1")
    store.work._line.close()  # by a server that has taken the place of another

    with pytest.raises(base.OwnershipLost):
        store.journal.commit(base.Batch(updated=[run(2)], mail_read=[read.id]))

    assert [each.id for each in store.work.load([2])[2].mail] == [read.id]
    store.admin.close()


FAILED_OVER = """
CREATE OR REPLACE FUNCTION perdure.timeline() RETURNS bigint LANGUAGE sql AS 'SELECT 77::bigint';
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database();
"""
"""Another server has taken the place of this one."""


def fails_over(owner: PostgresStore, address: str, lost: str = "") -> None:
    """And the member's connection is seen to have ended."""
    connection = owner.work._line._opened().connection
    told(address, lost + FAILED_OVER)
    ended = select.poll()
    ended.register(connection, select.POLLIN)
    ended.poll()


LOST = "DELETE FROM perdure.history; UPDATE perdure.runs SET seq = 1 WHERE key = 2;"
"""And it has not got what was written last."""


def gone_on(key: int = 2) -> base.Batch:
    return base.Batch(updated=[run(key, seq=2)], history=[HistoryRow(key, 2, b"went on")])


@pytest.fixture
def owner(database: str) -> Iterator[PostgresStore]:
    """It has two runs, and the database has all that it was told of."""
    store, _ = joined(database)
    store.journal.commit(base.Batch(created=[run(2), run(4)]))
    store.membership.poll(0, 10, 10)
    yield store
    store.admin.close()


def test_a_commit_that_was_lost_is_missed_though_the_member_was_told_since_what_it_has(
    owner: PostgresStore, database: str
) -> None:
    owner.journal.commit(gone_on())
    assert owner.membership.own([4]).keys() == {4}
    fails_over(owner, database, LOST)

    with pytest.raises(base.OwnershipLost):
        owner.membership.poll(0, 10, 10)


def test_a_commit_that_was_lost_is_missed_though_one_that_shows_nothing_came_after_it(
    owner: PostgresStore, database: str
) -> None:
    owner.journal.commit(gone_on())
    owner.journal.commit(base.Batch(pins=[(4, "build-2")]))
    fails_over(owner, database, LOST)

    with pytest.raises(base.OwnershipLost):
        owner.membership.poll(0, 10, 10)


def test_a_claim_that_was_lost_is_missed(owner: PostgresStore, database: str) -> None:
    owner.journal.commit(base.Batch(parks=[(4, 1)]))
    assert owner.membership.own([4]).keys() == {4}
    fails_over(owner, database, "UPDATE perdure.runs SET owner = NULL, claims = 0 WHERE key = 4;")

    with pytest.raises(base.OwnershipLost):
        owner.membership.poll(0, 10, 10)


def test_a_commit_in_doubt_that_was_found_and_then_lost_is_missed(owner: PostgresStore, database: str) -> None:
    owner.journal.commit(gone_on(4))
    batch = gone_on()
    with psycopg.connect(database) as connection:  # as if its answer had been lost
        connection.execute("UPDATE perdure.runs SET seq = 2 WHERE key = 2")
        connection.execute("INSERT INTO perdure.history VALUES (2, 2, %s)", (b"went on",))
    assert owner.journal.settle(batch)
    fails_over(
        owner, database, "DELETE FROM perdure.history WHERE run = 2; UPDATE perdure.runs SET seq = 1 WHERE key = 2;"
    )

    with pytest.raises(base.OwnershipLost):
        owner.membership.poll(0, 10, 10)


def test_a_letter_that_was_read_and_lost_is_not_deleted_as_another_one(owner: PostgresStore, database: str) -> None:
    owner.post.send(mail(2, Signal("words", Payload(b"1"))))
    (read,) = owner.work.unread([2], 10, 1_000).mail
    told(database, f"DELETE FROM perdure.mail; SELECT setval('perdure.mail_id_seq', {read.id}, false);")
    fails_over(owner, database)
    client = PostgresStore(database)
    client.post.send(mail(4, Signal("words", Payload(b"2"))))

    with pytest.raises(base.OwnershipLost):
        owner.journal.commit(base.Batch(updated=[run(2)], mail_read=[read.id]))

    assert [(each.id, each.run) for each in client.work.unread([2, 4], 10, 1_000).mail] == [(read.id, 4)]
    client.admin.close()


def test_whoever_fails_over_while_this_process_stands_still_is_looked_at(
    owner: PostgresStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the member has made sure of its connection, and before it says anything."""
    owner.journal.commit(gone_on())
    fence = owner.journal.fence
    open_it = fence.open

    def open_and_stand_still() -> None:
        open_it()
        monkeypatch.setattr(fence, "open", open_it)
        fails_over(owner, database, LOST)

    monkeypatch.setattr(fence, "open", open_and_stand_still)
    with pytest.raises(base.CommitInDoubt):
        owner.journal.commit(gone_on(4))
    with pytest.raises(base.OwnershipLost):
        owner.journal.settle(gone_on(4))

    assert told(database, "SELECT * FROM perdure.history") == []


def test_a_failover_that_has_lost_nothing_ends_nothing(owner: PostgresStore, database: str) -> None:
    owner.post.send(mail(4, Signal("words", Payload(b"1"))))
    owner.journal.commit(gone_on())
    assert owner.membership.own([4]).keys() == {4}
    (read,) = owner.work.unread([4], 10, 1_000).mail
    fails_over(owner, database)

    owner.journal.commit(base.Batch(updated=[run(4)], mail_read=[read.id]))
    assert owner.membership.poll(0, 10, 10).claimed == []
