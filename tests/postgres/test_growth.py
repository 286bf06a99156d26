"""What keeps the tables of a database small: what is updated beside its old version, what vacuum is told."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from perdure.kernel.project import HistoryRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.postgres.store import PostgresStore
from tests.conformance.rows import run

PATIENCE_SECONDS = 120.0


@pytest.fixture
def store(database: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(database)
    opened.admin.try_own("here", 1, "build-1", 1)
    opened.admin.publish([base.DefinitionRow("workflow", "order", b"{}")])
    yield opened
    opened.admin.close()


def updates(database: str, expected: int) -> tuple[int, int]:
    """How many rows of `runs` were updated, and of those so many without any index, once the server has counted them."""
    with psycopg.connect(database, autocommit=True) as connection:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = connection.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'perdure.runs'::regclass"
            ).fetchone()
            assert found is not None
            if found[0] >= expected or time.monotonic() > end:
                return found


def test_a_run_of_three_steps_touches_indexes_when_it_begins_and_when_it_ends(database: str, store: PostgresStore):
    keys = range(2, 602, 2)
    rows = {key: run(key) for key in keys}
    store.journal.commit(base.Batch(created=list(rows.values()), history=[HistoryRow(key, 1, b"e") for key in keys]))

    for seq in (2, 3, 4):
        for row in rows.values():
            row.seq = seq
            if seq == 4:
                row.status, row.closed_at = Status.COMPLETED, 500
        parks = [(key, seq) for key in keys] if seq == 4 else []
        parts = [HistoryRow(key, seq, b"e") for key in keys]
        store.journal.commit(base.Batch(updated=list(rows.values()), history=parts, parks=parks))
    store.admin.close()  # a server counts what a connection has done at its end, at the latest

    assert updates(database, 3 * len(keys)) == (3 * len(keys), 2 * len(keys))


def test_a_run_that_is_parked_with_its_summary_must_be_the_members(database: str, store: PostgresStore):
    row = run(2)
    store.journal.commit(base.Batch(created=[row], parks=[(2, 1)]))
    row.seq = 2

    with pytest.raises(base.OwnershipLost):
        store.journal.commit(base.Batch(updated=[row], parks=[(2, 2)]))
    with pytest.raises(base.CommitRefused):
        store.journal.commit(base.Batch(updated=[run(4)], parks=[(4, 1)]))


def test_vacuum_comes_early_to_tables_through_which_much_goes(database: str, store: PostgresStore):
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT c.relname, c.reloptions FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'perdure' AND c.relkind = 'r' AND c.reloptions IS NOT NULL"
        ).fetchall()
    options = {name: dict(option.split("=") for option in listed) for name, listed in found}

    for name in ("mail", "tasks", "replies", "beats", "members", "workers"):
        assert options[name]["autovacuum_vacuum_scale_factor"] == "0"
        assert int(options[name]["autovacuum_vacuum_threshold"]) <= 2_000
    for name in ("runs", "history", "attempts", "blobs", "chunks"):
        assert float(options[name]["autovacuum_vacuum_scale_factor"]) <= 0.02
