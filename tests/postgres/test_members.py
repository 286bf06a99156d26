"""Locks of the membership's calls, with transactions that are held open in the midst of theirs."""

import threading

import psycopg

from perdure.stores import base
from perdure.stores.membership import Claimed
from perdure.stores.postgres.store import PostgresStore
from tests.conformance.rows import run

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


def test_members_that_declare_each_other_dead_do_not_wait_in_a_circle(database: str) -> None:
    stores = [joined(database) for _ in range(2)]
    (_, first), (_, second) = stores
    outcomes: dict[int, object] = {}

    def declare(connection: psycopg.Connection, me: int, suspect: int) -> threading.Thread:
        def call() -> None:
            try:
                outcomes[me] = connection.execute("SELECT perdure.declare_dead(%s, %s, 0)", (me, suspect)).fetchone()
            except psycopg.Error as error:
                outcomes[me] = error.sqlstate

        thread = threading.Thread(target=call)
        thread.start()
        return thread

    with (
        psycopg.connect(database, autocommit=True) as watch,
        psycopg.connect(database) as commit,
        psycopg.connect(database, autocommit=True) as one,
        psycopg.connect(database, autocommit=True) as other,
    ):
        commit.execute("SELECT perdure.fence(%s)", (second,))
        threads = [declare(one, first, second)]
        waited_for(watch, commit.info.backend_pid)  # it has the row of its own member, and waits for the other one
        threads.append(declare(other, second, first))
        waited_for(watch, one.info.backend_pid)
        commit.rollback()
        for thread in threads:
            thread.join()

    assert outcomes == {first: (True,), second: "PD001"}
    for store, _ in stores:
        store.admin.close()
