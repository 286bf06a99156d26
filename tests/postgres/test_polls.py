"""What a poll costs and finds when very much is waiting."""

from collections.abc import Iterator

import psycopg
import pytest

FEW = 50
"""So many letters are looked at at once here."""

RUNS = 600


@pytest.fixture
def crowded(database: str) -> Iterator[psycopg.Connection]:
    """Two members, and many queued runs of a workflow that only the second one knows; then one that both know."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            f"CREATE OR REPLACE FUNCTION perdure.letters_at_once() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT {FEW}::bigint'".encode()
        )
        for workflows in ("{known}", "{known,theirs}"):
            connection.execute("SELECT perdure.join_members('here', 1, 'b', 0, 10, 0, 1)")
            connection.execute("UPDATE perdure.beats SET workflows = %s WHERE workflows = '{}'", (workflows,))
        _queue(connection, 1, RUNS, "theirs")
        _queue(connection, RUNS + 1, RUNS + 1, "known")
        yield connection


def _queue(connection: psycopg.Connection, first: int, last: int, workflow: str) -> None:
    connection.execute(
        "INSERT INTO perdure.runs (key, id, run_id, workflow, status, note, build, started_at, seq, open_tail, strikes, "
        "followed_by, chain, request, parent, root, pinned) "
        "SELECT n, 'run-' || n, '', %s, 0, '', '', n, 0, false, 0, 0, 0, '', 0, 0, '' FROM generate_series(%s::bigint, %s) AS n",
        (workflow, first, last),
    )
    connection.execute(
        "INSERT INTO perdure.mail (run, kind, body, reply_to) SELECT n, 1, '', '' FROM generate_series(%s::bigint, %s) AS n",
        (first, last),
    )


def claimed(connection: psycopg.Connection, member: int, claims: int = 100) -> list[int]:
    sql = "SELECT a FROM perdure.poll(%s, 0, 0, 1000, %s, true, false) WHERE kind = 0 ORDER BY a"
    return [key for (key,) in connection.execute(sql, (member, claims))]


def rows_read(connection: psycopg.Connection, member: int) -> int:
    """Of runs and letters, by one poll. The server counts what it has not reported yet of earlier transactions, too."""
    with connection.transaction():
        before = _counted(connection)
        claimed(connection, member)
        return _counted(connection) - before


def _counted(connection: psycopg.Connection) -> int:
    found = connection.execute(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables "
        "WHERE relname IN ('runs', 'mail')"
    ).fetchone()
    assert found is not None
    return found[0]


def test_what_is_for_others_hides_nothing_however_much_it_is(crowded: psycopg.Connection) -> None:
    found: list[int] = []
    polls = 0
    while not found:
        found = claimed(crowded, 1)
        polls += 1

    assert found == [RUNS + 1]
    assert polls <= RUNS // FEW + 2


def test_the_oldest_are_claimed_first_and_each_once(crowded: psycopg.Connection) -> None:
    found: list[int] = []
    while len(found) < RUNS:
        found += claimed(crowded, 2, claims=20)

    assert sorted(found) == list(range(1, RUNS + 1))
    assert found[:20] == list(range(1, 21))


def test_a_poll_reads_a_bounded_part_of_what_waits(crowded: psycopg.Connection) -> None:
    crowded.execute("ANALYZE perdure.runs")
    crowded.execute("ANALYZE perdure.mail")

    assert rows_read(crowded, 1) <= 8 * FEW


def test_letters_to_runs_of_the_member_s_own_are_found_behind_all_others(crowded: psycopg.Connection) -> None:
    crowded.execute("UPDATE perdure.runs SET owner = 1, status = 1 WHERE key = %s", (RUNS + 1,))
    crowded.execute("INSERT INTO perdure.mail (run, kind, body, reply_to) VALUES (%s, 9, 'x', '')", (RUNS + 1,))

    sql = "SELECT b, body FROM perdure.poll(1, 0, 0, 1000, 100, true, false) WHERE kind = 1 ORDER BY a"
    assert (RUNS + 1, b"x") in crowded.execute(sql.encode()).fetchall()


def test_runs_that_wait_for_other_code_cost_a_poll_next_to_nothing_however_many(crowded: psycopg.Connection) -> None:
    crowded.execute("DELETE FROM perdure.mail")
    crowded.execute("UPDATE perdure.runs SET status = 5")
    crowded.execute("VACUUM ANALYZE perdure.runs")
    crowded.execute("VACUUM ANALYZE perdure.mail")
    found = crowded.execute("SELECT e FROM perdure.poll(1, 0, 0, 1000, 100, true, false) WHERE kind = 5").fetchall()

    assert found == [(True,)]
    assert rows_read(crowded, 1) <= 2
