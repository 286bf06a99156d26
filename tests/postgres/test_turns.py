"""A turn that goes alone is written by plain values: to the same end as any batch, and refused as any batch is. And what is asked
often is prepared by the server, which nothing depends on."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import psycopg
import pytest

from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.project import HistoryRow, RunRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.postgres import turn
from perdure.stores.postgres.asking import OFTEN
from perdure.stores.postgres.rows import RUN_COLUMNS
from perdure.stores.postgres.store import PostgresStore
from tests.conformance.rows import run
from tests.postgres.pooler import OwnPooler
from tests.postgres.server import Server
from tests.postgres.test_members import joined

ALL = (
    f"SELECT {RUN_COLUMNS}, (SELECT count(*) FROM perdure.members WHERE id <= owner), claims, deaths, left_by FROM perdure.runs ORDER BY key",
    "SELECT run, seq, events FROM perdure.history ORDER BY run, seq",
    "SELECT alive, term FROM perdure.members ORDER BY id",
)
"""Members not by their numbers, which are drawn, but by their order; nobody is the 0th."""


def first(row: RunRow, events: bytes = b"began", parks: bool = False) -> base.Batch:
    parked = [(row.key, row.seq)] if parks else []
    return base.Batch(created=[row], history=[HistoryRow(row.key, 1, events)], parks=parked, at=7)


def then(row: RunRow, events: bytes = b"went on", parks: bool = False) -> base.Batch:
    parked = [(row.key, row.seq)] if parks else []
    return base.Batch(updated=[row], history=[HistoryRow(row.key, row.seq, events)], parks=parked, at=8)


def at(seq: int, key: int = 2, **fields: Any) -> RunRow:
    return run(key, seq=seq, **fields)


LIVES: dict[str, list[base.Batch]] = {
    "a run that ends at once": [first(at(1, status=Status.COMPLETED, note="7", closed_at=9), parks=True)],
    "a run of three turns": [
        first(at(1, note="charge")),
        then(at(2, note="mail")),
        then(at(3, status=Status.COMPLETED, closed_at=12), parks=True),
    ],
    "a run that waits, and is called again": [
        first(at(1, wake_at=99), parks=True),
        then(at(2, wake_at=None)),
        then(at(3, wake_at=END_OF_TIME)),
    ],
    "all that a new run may have": [
        first(at(1, id="übung/1", workflow="größe", request="r-1", expires_at=55, pinned="build-1", run_id=bytes(16))),
        then(at(2, id="übung/1", note="a\0b", request="r-1", expires_at=55, pinned="build-1")),
    ],
    "a part of no bytes, and one of many": [first(at(1), b""), then(at(2), b"x" * 3_000_000)],
}
"""None of these goes another way."""

REFUSED: dict[str, base.Batch] = {
    "a key that exists": first(run(2, "another")),
    "an id that exists": first(run(8, "run-2")),
    "a part of history that exists": then(at(1)),
    "a run that is not there": then(at(2, key=40)),
    "a run of somebody else": then(at(2, key=4)),
    "a run of nobody that is to be parked": then(at(2, key=6), parks=True),
    "a run that has less history than is known": then(at(9)),
    "a number that is too large": then(at(2, wake_at=2**63)),
    "half a character": then(at(2, note="\ud800")),
    "half a character in a new one": first(run(8, "\ud800")),
    "a text that is too long to be found by": first(run(8, "".join(chr(1000 + n) for n in range(9000)))),
}


@pytest.fixture
def alone(database: str) -> Iterator[PostgresStore]:
    store, _ = joined(database)
    store.journal.commit(base.Batch(pins=[(0, "")]))  # the first batch of a member tells more than others
    yield store
    store.admin.close()


@pytest.fixture
def whole(emptied: str) -> Iterator[PostgresStore]:
    store, _ = joined(emptied)
    store.journal.commit(base.Batch(pins=[(0, "")]))
    yield store
    store.admin.close()


@pytest.fixture
def in_full(monkeypatch: pytest.MonkeyPatch) -> Callable[[PostgresStore, base.Batch], None]:
    """Commits a batch as those of several runs are."""

    def commit(store: PostgresStore, batch: base.Batch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(turn, "packed", lambda batch: None)
            store.journal.commit(batch)

    return commit


def told(address: str) -> list[list[Any]]:
    with psycopg.connect(address) as connection:
        return [connection.execute(sql.encode()).fetchall() for sql in ALL]


@pytest.mark.parametrize("life", LIVES)
def test_it_leaves_what_a_batch_leaves(
    alone: PostgresStore, whole: PostgresStore, database: str, emptied: str, in_full: Any, life: str
) -> None:
    for batch in LIVES[life]:
        assert turn.packed(batch) is not None
        alone.journal.commit(batch)
        in_full(whole, batch)

        assert told(database) == told(emptied)


@pytest.mark.parametrize("why", REFUSED)
def test_it_is_refused_as_a_batch_is_and_leaves_nothing(
    alone: PostgresStore, whole: PostgresStore, database: str, emptied: str, in_full: Any, why: str
) -> None:
    refusals: list[type[Exception]] = []
    for store, address in ((alone, database), (whole, emptied)):
        store.journal.commit(base.Batch(created=[run(2), run(4), run(6)], history=[HistoryRow(2, 1, b"began")]))
        with psycopg.connect(address) as connection:
            connection.execute("UPDATE perdure.runs SET owner = 77 WHERE key = 4")
            connection.execute("UPDATE perdure.runs SET owner = NULL WHERE key = 6")
    before = told(database)

    for store, commit in ((alone, alone.journal.commit), (whole, partial(in_full, whole))):
        with pytest.raises((base.CommitRefused, base.OwnershipLost)) as refused:
            commit(REFUSED[why])
        refusals.append(refused.type)
        assert store.journal.fence.in_doubt is False

    assert refusals[0] is refusals[1]
    assert told(database) == told(emptied) == before
    alone.journal.commit(then(at(2)))


def test_a_member_that_was_declared_dead_writes_nothing(alone: PostgresStore, database: str) -> None:
    alone.journal.commit(first(at(1)))
    other, _ = joined(database)
    members = other.membership.poll(0, 10, 10).members
    assert other.membership.declare_dead(*next(iter(members.items())))

    for batch in (then(at(2)), first(run(8))):
        with pytest.raises(base.OwnershipLost, match="declared dead"):
            alone.journal.commit(batch)

    assert [row.seq for row in other.views.rows_by_key([2, 8]).values()] == [1]
    other.admin.close()


def test_what_comes_late_of_a_connection_that_was_given_up_writes_nothing(alone: PostgresStore, database: str) -> None:
    alone.journal.commit(first(at(1)))
    call = turn.packed(then(at(2)))
    assert call is not None
    alone.journal.fence.in_doubt = True
    alone.journal.fence.open()  # a new term

    with psycopg.connect(database) as late, pytest.raises(psycopg.Error, match="gone on without this call"):
        late.execute(
            "SELECT perdure.commit_turn(%s, 0, 2, 1::smallint, '', NULL, NULL, 2, 1, 2, '', false)",
            [alone.journal.member],
        )

    alone.journal.commit(then(at(2)))


def test_an_application_that_has_taken_the_id_or_locked_the_row_is_not_waited_for(
    alone: PostgresStore, database: str
) -> None:
    alone.journal.commit(first(at(1)))
    with psycopg.connect(database) as application:
        application.execute("SELECT perdure.start('order', id => 'wanted')")
        application.execute("SELECT 1 FROM perdure.runs WHERE key = 2 FOR UPDATE")

        with pytest.raises(base.IdTaken):
            alone.journal.commit(first(run(8, "wanted")))
        with pytest.raises(base.IdTaken) as taken:
            alone.journal.commit(then(at(2)))
        assert taken.value.runs == [2]

    alone.journal.commit(then(at(2)))


def test_whoever_has_locked_the_row_of_the_member_is_not_taken_for_one_who_has_an_id(
    alone: PostgresStore, database: str
) -> None:
    with psycopg.connect(database) as other:
        other.execute("SELECT 1 FROM perdure.members FOR UPDATE")

        with pytest.raises(base.StoreUnavailable):
            alone.journal.commit(first(at(1)))


@pytest.mark.parametrize(
    "more",
    [
        {"history": [HistoryRow(2, 2, b"x"), HistoryRow(4, 1, b"x")]},
        {"history": [HistoryRow(4, 2, b"x")]},
        {"history": []},
        {"updated": [at(2), run(4)]},
        {"updated": [at(2, block=b"x")]},
        {"updated": [at(2, open_tail=True)]},
        {"updated": [at(2, strikes=1)]},
        {"mail_read": [1]},
        {"parks": [(4, 2)]},
        {"parks": [(2, 5)]},
        {"parks": [(2, 2), (4, 1)]},
        {"pins": [(2, "b")]},
        {"replies": [base.ReplyRow("r", "", "", 5)]},
    ],
    ids=str,
)
def test_what_is_more_than_a_turn_goes_as_a_batch(more: dict[str, Any]) -> None:
    assert turn.packed(then(at(2))) is not None
    assert turn.packed(msgspec.structs.replace(then(at(2)), **more)) is None


@pytest.mark.parametrize("field", ["followed_by", "chain", "parent", "root", "strikes"])
def test_a_new_run_that_has_to_do_with_others_goes_as_a_batch(field: str) -> None:
    assert turn.packed(first(at(1))) is not None
    assert turn.packed(first(at(1, **{field: 1}))) is None


def prepared(store: PostgresStore) -> list[str]:
    found = store.journal._line.ask("SELECT name FROM pg_prepared_statements ORDER BY name")
    return [name.rpartition("_")[0] for (name,) in found]


def test_what_is_asked_often_is_prepared_and_goes_on_when_the_server_has_forgotten_it(alone: PostgresStore) -> None:
    for n in range(OFTEN):
        alone.journal.commit(first(run(2 * n + 2)))
        alone.membership.find([f"new-{n}"])
    assert prepared(alone) == ["perdure.commit_start", "perdure.key_for"]

    alone.journal._line.ask("DEALLOCATE ALL")
    alone.journal.commit(first(run(100)))
    assert alone.membership.find(["run-100"])[0]["run-100"].key == 100

    assert prepared(alone) == []


def test_a_prepared_call_finds_a_function_that_was_made_anew(alone: PostgresStore, database: str) -> None:
    for n in range(OFTEN):
        alone.membership.find([f"new-{n}"])
    with psycopg.connect(database) as migrating:
        migrating.execute("DROP FUNCTION perdure.key_for(text)")
        migrating.execute("CREATE FUNCTION perdure.key_for(new_id text) RETURNS bigint LANGUAGE sql AS 'SELECT 424242'")

    assert alone.membership.find(["another"]) == ({}, [424242])


def test_nothing_is_prepared_behind_a_pooler(server: Server, database: str) -> None:
    with OwnPooler(server, database.rpartition("/")[2].partition("?")[0], size=1) as pooler:
        store, _ = joined(pooler.address())
        for n in range(OFTEN + 3):
            store.journal.commit(first(run(2 * n + 2)))

        assert prepared(store) == []
        store.admin.close()
