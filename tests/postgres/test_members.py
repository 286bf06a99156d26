"""Locks of the membership's calls, with transactions that are held open in the midst of theirs."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from perdure.errors import StoreUnreachable
from perdure.kernel.project import HistoryRow
from perdure.stores import base
from perdure.stores.membership import Claimed
from perdure.stores.postgres.lines import Line, Row
from perdure.stores.postgres.store import PostgresStore
from tests.conformance.rows import Hand, run

_WAITERS = "SELECT pid FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"


def joined(address: str) -> tuple[PostgresStore, int]:
    store = PostgresStore(address)
    member = store.admin.try_own("here", 1, "build-1", 1)
    assert member is not None
    return store, member


def waited_for(watch: psycopg.Connection, pid: int) -> None:
    """Until somebody waits for that one."""
    while not watch.execute(_WAITERS, (pid,)).fetchone():
        pass


def test_a_member_finds_its_own_runs_though_somebody_holds_their_rows(database: str) -> None:
    """As a poll does that has seen a run without an owner and comes to its row when it has one."""
    store, _ = joined(database)
    store.journal.commit(base.Batch(created=[run(2)]))
    with psycopg.connect(database) as other:
        other.execute("SELECT 1 FROM perdure.runs WHERE key = 2 FOR NO KEY UPDATE")

        assert store.membership.own([2]) == {2: Claimed(2, 0)}
    store.admin.close()


def test_what_a_poll_has_claimed_whose_answer_was_lost_is_told_by_the_next_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would look after what a dead member has left in motion: it is neither due nor has it mail."""
    stores = [joined(database) for _ in range(2)]
    (dead, first), (store, _) = stores
    dead.journal.commit(base.Batch(created=[run(2)]))
    dead.membership.hand_over()
    ask = Line.ask

    def loses(self: Line, sql: str, values: Sequence[Any] = (), opened: int = 0) -> list[Row]:
        rows = ask(self, sql, values, opened)
        if "perdure.poll" not in sql:
            return rows
        raise psycopg.OperationalError("the server has gone")

    with monkeypatch.context() as patch, pytest.raises(StoreUnreachable):
        patch.setattr(Line, "ask", loses)
        store.membership.poll(0, 10, 10)

    assert store.membership.own([2]) == {2: Claimed(2, 1)}
    assert store.membership.poll(0, 10, 10).claimed == [Claimed(2, 1, first)]
    assert store.membership.poll(0, 10, 10).claimed == []
    for each, _ in stores:
        each.admin.close()


def test_a_poll_that_comes_when_its_member_has_given_it_up_claims_nothing(database: str) -> None:
    store, member = joined(database)
    store.journal.commit(base.Batch(created=[run(2, wake_at=5)], parks=[(2, 1)]))
    store.journal.fence.settle()

    with psycopg.connect(database, autocommit=True) as late:
        with pytest.raises(psycopg.Error) as raised:
            late.execute("SELECT perdure.poll(%s, 0, 100, 10, 10, true, false)", (member,))
        with pytest.raises(psycopg.Error):
            late.execute("SELECT perdure.own(%s, 0, ARRAY[2]::bigint[])", (member,))

    assert raised.value.sqlstate == "PD001"
    assert [each.key for each in store.membership.poll(100, 10, 10).claimed] == [2]
    store.admin.close()


def test_a_commit_in_doubt_is_not_found_by_a_member_that_was_declared_dead_meanwhile(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies there may be what another owner has written in its stead."""
    stores = [joined(database) for _ in range(2)]
    (store, first), (other, _) = stores
    settle = store.journal.fence.settle

    def renewed() -> None:
        settle()
        assert other.membership.declare_dead(first, 0)

    monkeypatch.setattr(store.journal.fence, "settle", renewed)
    with pytest.raises(base.OwnershipLost):
        store.journal.settle(base.Batch(mail_read=[1]))
    for each, _ in stores:
        each.admin.close()


@pytest.mark.parametrize("block", [None, b"a bug"])
def test_what_a_member_says_of_a_run_of_another_one_is_refused(database: str, block: bytes | None) -> None:
    """A failover that has lost the last moments gives keys again: what a member knows by such a key is not the run that lies there."""
    stores = [joined(database) for _ in range(2)]
    (store, _), (other, _) = stores
    other.journal.commit(base.Batch(created=[run(2)]))

    with pytest.raises(base.OwnershipLost):
        store.journal.commit(base.Batch(updated=[run(2, note="of another life", block=block)]))

    (kept,) = other.work.load([2]).values()
    assert kept.run == run(2)
    for each, _ in stores:
        each.admin.close()


def test_nobody_waits_for_another_member(database: str) -> None:
    """One that has a commit in hand is looked at again, so that members which declare each other dead do not wait in a circle."""
    stores = [joined(database) for _ in range(2)]
    (store, first), (_, second) = stores
    with psycopg.connect(database) as commit:
        commit.execute("SELECT perdure.fence(%s, 0)", (second,))

        assert not store.membership.declare_dead(second, 0)

    assert store.membership.declare_dead(second, 0)
    with pytest.raises(base.OwnershipLost):
        stores[1][0].membership.declare_dead(first, 0)
    for store, _ in stores:
        store.admin.close()


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_run_that_has_got_the_key_of_one_that_was_lost_is_not_taken_for_it(database: str, has_begun: bool) -> None:
    """After a failover that has lost the last moments: numbers are given again."""
    store, _ = joined(database)
    history = [HistoryRow(2, 1, b"e")] if has_begun else []
    batch = base.Batch(created=[run(2)], history=history)
    store.journal.commit(batch)
    assert store.journal.settle(batch)

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE perdure.runs SET run_id = 'another'")

    assert not store.journal.settle(batch)
    store.admin.close()


def test_who_was_not_seen_for_long_is_alive_to_no_client_but_dead_to_nobody(database: str) -> None:
    """The last engine has been killed: nobody is there to declare it dead."""
    (store, member), worker = joined(database), PostgresStore(database)
    hand = Hand(worker)
    store.admin.publish([base.DefinitionRow("workflow", "order", b'{"names": [], "required": 0, "schema": {}}')])

    with psycopg.connect(database, autocommit=True) as server:
        with pytest.raises(psycopg.errors.UndefinedObject):
            server.execute("SELECT perdure.start('newer')")
        for table in (b"beats", b"workers"):
            server.execute(b"UPDATE perdure.%b SET seen_at = seen_at - interval '1 hour'" % table)
        assert (store.views.owners(), store.views.workers()) == ([], [])
        server.execute("SELECT perdure.start('newer')")

    store.membership.poll(0, 10, 10)
    worker.tasks.beat(hand.member, ["gpu"], [])
    assert [row.id for row in store.views.owners()] == [member]
    assert [row.member for row in store.views.workers()] == [hand.member]
    for each in (store, worker):
        each.admin.close()
