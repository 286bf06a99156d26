"""Who is who in a database that has gone back: by a failover to a standby that had not got the last moments, or a backup.

Numbers that its sequences had given away are given again, while whoever has got them before goes on.
"""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

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
