"""Batches of several owners that want the same rows wait for each other one way round, also if they name them in another order."""

import threading
from typing import Any

import psycopg
import pytest

from perdure.stores import base
from perdure.stores.postgres.store import PostgresStore
from perdure.stores.postgres.texts import to_json
from tests.conformance.rows import run

ROWS = [run(2, "a"), run(4, "m"), run(6, "z")]
NEW = {"created": ROWS}, {"created": [run(14, "z"), run(12, "m"), run(10, "a")]}
FOLLOWERS = {"followed": [(2, 12), (4, 14), (6, 16)]}, {"followed": [(6, 26), (4, 24), (2, 22)]}

INSERT_M = """
INSERT INTO perdure.runs SELECT (jsonb_populate_record(NULL::perdure.runs, to_jsonb(r) || '{"key": 99, "id": "m"}')).*
FROM perdure.runs r WHERE r.key = 98
"""


@pytest.mark.parametrize(
    ("kept", "batches", "hold", "refused"),
    [
        ([run(98)], NEW, INSERT_M, "23505"),
        (ROWS, FOLLOWERS, "SELECT 1 FROM perdure.runs WHERE key = 4 FOR UPDATE", "PD003"),
    ],
    ids=["created", "followed"],
)
def test_the_second_waits_for_the_first_and_neither_for_the_other_in_a_circle(
    database: str, kept: list[Any], batches: tuple[Any, Any], hold: str, refused: str
) -> None:
    store = PostgresStore(database)
    member = store.admin.try_own("here", 1, "build-1", 1)
    store.journal.commit(base.Batch(created=kept))
    outcomes: dict[int, str | None] = {}

    def blocked(pid: int) -> bool:
        return watch.execute("SELECT pg_blocking_pids(%s) <> '{}'", (pid,)).fetchall()[0][0]

    def begin(connection: psycopg.Connection, rest: Any) -> threading.Thread:
        def call() -> None:
            try:
                connection.execute("SELECT perdure.begin_rest(%s, %s::jsonb)", (member, to_json(rest)))
                outcomes[connection.info.backend_pid] = None
            except psycopg.Error as error:
                outcomes[connection.info.backend_pid] = error.sqlstate

        thread = threading.Thread(target=call)
        thread.start()
        while thread.is_alive() and not blocked(connection.info.backend_pid):
            pass
        return thread

    with (
        psycopg.connect(database, autocommit=True) as watch,
        psycopg.connect(database) as holder,
        psycopg.connect(database, autocommit=True) as one,
        psycopg.connect(database, autocommit=True) as other,
    ):
        watch.execute("ALTER FUNCTION perdure.take_ids RESET lock_timeout")  # they wait here for as long as it takes
        holder.execute(hold.encode())
        threads = [begin(one, batches[0]), begin(other, batches[1])]
        holder.rollback()
        for thread in threads:
            thread.join()

        assert outcomes == {one.info.backend_pid: None, other.info.backend_pid: refused}
    store.admin.close()
