"""Others may keep transactions open for as long as they like: what owners and workers hold meanwhile, and how long they wait."""

import re
from importlib import resources

import psycopg
import pytest

from perdure.kernel.run import Status
from perdure.kernel.streams import ChunkRow
from perdure.stores import base
from perdure.stores.membership import Claimed
from tests.conformance.rows import Hand, run, task
from tests.postgres.test_members import joined

PART_OF_OTHERS = {"enlist", "enlist_mail"}
"""Called in a transaction of an application, whose limits are the application's."""

WITHOUT_LOCKS = {
    "join_workers",
    "reserve",
    "nudge",
    "nudge_workers",
    "timeline",
    "write_rest",
    "end_rest",
    "pulse",
    "clock",
    "key_for",
}
"""They insert, or read, or notify, pass over what is locked, or are for a run that is new."""

_CALLED = re.compile(r"perdure\.(\w+)\(")


def test_whatever_an_owner_or_a_worker_calls_has_an_end_to_its_patience(database: str) -> None:
    files = resources.files("perdure.stores.postgres").iterdir()
    called = {name for file in files if file.name.endswith(".py") for name in _CALLED.findall(file.read_text())}
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'perdure'::regnamespace AND proname = ANY (%s) AND provolatile = 'v' "
            "AND NOT coalesce(array_to_string(proconfig, ',') LIKE '%%lock_timeout%%', false)",
            (list(called),),
        ).fetchall()

    assert {name for (name,) in found} - PART_OF_OTHERS - WITHOUT_LOCKS == set()


def reusing(connection: psycopg.Connection, id: str) -> None:
    """An application starts the next run of an id, and does not commit."""
    connection.execute("SELECT perdure.start('order', id => %s, id_reuse => 'allow_duplicate')", (id,))


def test_a_batch_is_told_which_of_its_runs_an_application_has_locked(database: str) -> None:
    store, _ = joined(database)
    ended = run(2, status=Status.COMPLETED, closed_at=5)
    store.journal.commit(base.Batch(created=[ended, run(4)]))
    with psycopg.connect(database) as application:
        reusing(application, ended.id)

        with pytest.raises(base.IdTaken) as told:
            store.journal.commit(base.Batch(parks=[(2, 1), (4, 1)]))
        assert told.value.runs == [2]
        store.journal.commit(base.Batch(parks=[(4, 1)]))
        assert store.membership.own([4]) == {4: Claimed(4, 1)}
    store.journal.commit(base.Batch(parks=[(2, 1)]))
    store.admin.close()


def test_whoever_has_locked_the_row_of_a_member_spoils_no_batch(database: str) -> None:
    store, _ = joined(database)
    store.journal.commit(base.Batch(created=[run(2)]))
    with psycopg.connect(database) as other:
        other.execute("SELECT 1 FROM perdure.members FOR UPDATE")

        with pytest.raises(base.StoreUnavailable):
            store.journal.commit(base.Batch(parks=[(2, 1)]))
    store.admin.close()


def test_what_an_attempt_writes_waits_for_no_run_that_has_ended(database: str) -> None:
    store, _ = joined(database)
    ended = run(2, status=Status.COMPLETED, closed_at=5)
    store.journal.commit(base.Batch(created=[ended, run(4)]))
    chunks = [ChunkRow(key, "tokens", 1, 2, b"ab", "0:1", 1) for key in (2, 4)]
    with psycopg.connect(database) as application:
        reusing(application, ended.id)

        assert store.streams.append(chunks) == ["unwanted", ""]
    store.admin.close()


def test_a_beat_does_not_wait_for_a_task_that_is_just_ending(database: str) -> None:
    store, _ = joined(database)
    store.journal.commit(base.Batch(created=[run(2)], tasks=[task(2), task(2, "0:2")]))
    hand = Hand(store)
    hand.take()
    with psycopg.connect(database) as other:
        other.execute("DELETE FROM perdure.tasks WHERE step = '0:1'")

        store.tasks.beat(hand.member, [], [(2, step, 1, b"half") for step in ("0:1", "0:2")])
        other.rollback()
        told = other.execute("SELECT step, details FROM perdure.tasks ORDER BY step").fetchall()
    assert told == [("0:1", None), ("0:2", b"half")]
    store.admin.close()


def test_a_worker_locks_no_more_tasks_than_it_takes_and_passes_over_those_of_others(database: str) -> None:
    store, _ = joined(database)
    names = ("render", "sort", "scan")
    tasks = [task(2, f"0:{n}", name=names[n % 3]) for n in range(300)]
    store.journal.commit(base.Batch(created=[run(2)], tasks=tasks))
    holder, hand, want = Hand(store), Hand(store), base.Want(names, 5)
    free = "SELECT count(*) FROM (SELECT 1 FROM perdure.tasks WHERE member = 0 FOR UPDATE SKIP LOCKED) AS found"
    with psycopg.connect(database) as other, psycopg.connect(database, autocommit=True) as watch:
        other.execute(
            "SELECT perdure.exchange(%s, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{gpu}', %s::jsonb, 0, 0, 8::smallint)",
            (holder.member, '[{"names": ["render", "sort", "scan"], "most": 5}]'),
        )
        assert watch.execute(free.encode()).fetchone() == (295,)
        other.execute("SELECT 1 FROM perdure.tasks ORDER BY id LIMIT 250 FOR UPDATE")

        got = store.tasks.exchange(hand.member, [], ["gpu"], [want], 1).tasks
    assert [each.step for each in got] == [f"0:{n}" for n in range(250, 255)]
    store.admin.close()
