"""What a poll costs and finds when very much is waiting."""

from collections.abc import Iterator

import psycopg
import pytest

from perdure.kernel.events import Payload
from perdure.kernel.messages import Signal
from perdure.stores.base import MailRow
from perdure.stores.postgres.store import PostgresStore
from perdure.stores.postgres.work import MAIL_BYTES
from tests.conformance.conftest import COUNTED

FEW = 50
"""So many letters are looked at at once here."""

RUNS = 600


@pytest.fixture
def crowded(database: str) -> Iterator[psycopg.Connection]:
    """Two members, 1 and 2, and many queued runs of a workflow that only the second one knows; then one that both know."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            f"CREATE OR REPLACE FUNCTION perdure.letters_at_once() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT {FEW}::bigint'".encode()
        )
        connection.execute(COUNTED.encode())
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


def let_go(connection: psycopg.Connection, member: int) -> None:
    """What is due is due once more, as where more falls due than can be moved."""
    connection.execute("UPDATE perdure.runs SET owner = NULL WHERE owner = %s AND wake_at IS NOT NULL", (member,))


@pytest.mark.parametrize("claims", [1, 10])
def test_what_waits_behind_mail_that_nobody_can_take_is_found_however_much_is_due(
    crowded: psycopg.Connection, claims: int
) -> None:
    _queue(crowded, 10_001, 10_200, "known")
    crowded.execute("DELETE FROM perdure.mail WHERE run > 10000")
    crowded.execute("UPDATE perdure.runs SET status = 3, wake_at = 0 WHERE key > 10000")
    polls = 0
    found: list[int] = []
    while RUNS + 1 not in found:
        found = claimed(crowded, 1, claims)
        assert len(found) == claims
        let_go(crowded, 1)
        polls += 1
        assert polls <= 2 * (RUNS // FEW + 2)


def test_what_was_passed_by_is_found_however_much_is_sent(crowded: psycopg.Connection) -> None:
    """Always more than can be claimed: so the part of the mail that is looked at never comes to an end."""
    sent = RUNS + 1
    polls = 0
    found: list[int] = []
    while 1 not in found:
        _queue(crowded, sent + 1, sent + 20, "known")
        sent += 20
        found = claimed(crowded, 1, claims=10)
        crowded.execute("DELETE FROM perdure.mail WHERE run = ANY (%s)", (found,))
        if RUNS + 1 in found:
            crowded.execute("UPDATE perdure.runs SET workflow = 'known' WHERE key = 1")
        polls += 1
        assert polls <= 2 * (RUNS // FEW + 2) + 32
    assert found[0] == 1


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


def test_letters_to_no_run_are_answered_however_many_others_there_are(crowded: psycopg.Connection) -> None:
    crowded.execute("INSERT INTO perdure.mail (run, kind, body, reply_to) VALUES (999999, 7, 'x', 'me')")
    sql = "SELECT b FROM perdure.poll(%s, 0, 0, 1000, 100, true, false) WHERE kind = 1"
    for _ in range(RUNS // FEW + 2):
        found = {member: [run for (run,) in crowded.execute(sql, (member,))] for member in (1, 2)}
        if found[1]:
            break

    assert found[1] == [999999] and 999999 not in found[2]


def test_a_run_is_looked_at_once_however_many_letters_wait_for_it(crowded: psycopg.Connection) -> None:
    """Those to a blocked run wait for as long as it is blocked, and each poll meets them."""
    crowded.execute("DELETE FROM perdure.mail")
    crowded.execute("UPDATE perdure.runs SET status = 5 WHERE key = 1")
    crowded.execute(
        "INSERT INTO perdure.mail (run, kind, body, reply_to) SELECT 1, 6, '', '' FROM generate_series(1, 40)"
    )
    crowded.execute("VACUUM ANALYZE perdure.mail, perdure.runs")
    with crowded.transaction():
        assert claimed(crowded, 2) == []
        read = crowded.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'runs'"
        ).fetchone()

    assert read is not None and read[0] <= 4


def mail_from(connection: psycopg.Connection, member: int) -> int:
    """Where mail begins for a member that has polled a few times."""
    for _ in range(4):
        claimed(connection, member)
    found = connection.execute("SELECT mail_from FROM perdure.beats WHERE member = %s", (member,)).fetchone()
    assert found is not None
    return found[0]


def test_what_was_read_is_not_passed_by_again_but_for_what_may_still_come(
    crowded: psycopg.Connection, database: str
) -> None:
    crowded.execute("DELETE FROM perdure.mail")
    crowded.execute("UPDATE perdure.runs SET owner = 1")
    letter = "INSERT INTO perdure.mail (run, kind, body, reply_to) VALUES (7, 6, '', '') RETURNING id"
    with psycopg.connect(database) as slow:
        late = slow.execute(letter.encode()).fetchone()
        assert late is not None
        crowded.execute(letter.encode())
        crowded.execute("DELETE FROM perdure.mail")
        assert mail_from(crowded, 1) <= late[0]

    sql = "SELECT a FROM perdure.poll(1, 0, 0, 1000, 100, true, false) WHERE kind = 1"
    assert crowded.execute(sql.encode()).fetchall() == [late]
    crowded.execute("DELETE FROM perdure.mail")
    last = crowded.execute(letter.encode()).fetchone()
    assert last is not None
    # Where others write to the same server, whose transactions may just be open, it takes some polls more.
    while mail_from(crowded, 1) != last[0]:
        pass


def test_of_the_dead_only_those_are_looked_at_that_may_have_runs(crowded: psycopg.Connection) -> None:
    crowded.execute("DELETE FROM perdure.mail")
    crowded.execute("UPDATE perdure.runs SET owner = 1, wake_at = NULL WHERE key <= 30")
    crowded.execute("UPDATE perdure.members SET alive = false WHERE id = 1")
    dead = b"SELECT * FROM perdure.dead_owners()"

    for left in (30, 10):
        crowded.execute("SELECT perdure.tidy(0)")
        assert crowded.execute(dead).fetchall() == [(1,)]
        assert len(claimed(crowded, 2, claims=20)) == min(left, 20)
    crowded.execute("SELECT perdure.tidy(0)")
    assert crowded.execute(dead).fetchall() == []


def test_a_poll_brings_some_megabytes_of_mail_and_says_that_there_is_more(database: str) -> None:
    """Also where very many letters wait, and the runs lead to them."""
    store = PostgresStore(database)
    store.admin.try_own("here", 1, "b", 0)
    size = MAIL_BYTES * 2 // 5
    for _ in range(6):
        store.post.send(MailRow(0, 99, Signal("s", Payload(b"x" * size))))

    for limit in (20_000, 1):
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                f"CREATE OR REPLACE FUNCTION perdure.letters_at_once() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT {limit}::bigint'".encode()
            )
            if limit == 1:
                _queue(connection, 99, 99, "known")
                connection.execute("DELETE FROM perdure.mail WHERE kind = 1")
                connection.execute("UPDATE perdure.runs SET owner = (SELECT max(id) FROM perdure.members)")
            assert connection.execute("SELECT perdure.letter_bytes_at_once()").fetchone() == (MAIL_BYTES,)
        poll = store.membership.poll(0, 1_000, 0)

        assert (len(poll.mail), poll.more_mail) == (3, True)
        assert [mail.id for mail in poll.mail] == sorted(mail.id for mail in poll.mail)
    assert not store.membership.poll(0, 2, 0).more_mail
    store.admin.close()


def _pile(connection: psycopg.Connection, key: int, letters: int, size: int) -> None:
    sql = "INSERT INTO perdure.mail (run, kind, body, reply_to) SELECT %s, 9, repeat('x', %s)::bytea, '' FROM generate_series(1, %s)"
    connection.execute(sql.encode(), (key, size, letters))


@pytest.mark.parametrize(("pile", "size"), [(40, 200_000), (40, MAIL_BYTES), (4_000, 1), (4_000, 5_000)])
def test_behind_the_pile_of_one_run_the_others_hear_what_they_are_told(
    crowded: psycopg.Connection, pile: int, size: int
) -> None:
    """Be it of a few large letters or of very many small ones; and the run with the pile hears some of it, too."""
    crowded.execute("DELETE FROM perdure.mail")
    crowded.execute("UPDATE perdure.runs SET owner = 1, status = 1")
    _pile(crowded, 1, pile, size)
    for key in range(2, 101):
        _pile(crowded, key, 2, 10)
    first, last = crowded.execute("SELECT min(id), max(id) FROM perdure.mail").fetchone() or (0, 0)

    sql = "SELECT a, b, octet_length(body) FROM perdure.poll(1, 0, 0, 1000, 100, true, false) WHERE kind = 1"
    told = crowded.execute(sql.encode()).fetchall()

    assert [id for id, _, _ in told] == sorted({id for id, _, _ in told})
    assert {key for _, key, _ in told} == set(range(1, 101)) and told[-1][0] == last
    of_first = [id for id, key, _ in told if key == 1]
    assert of_first == list(range(first, first + len(of_first)))
    sizes = [each for _, _, each in told]
    assert sum(sizes[1:]) <= MAIL_BYTES + size
    assert len(told) == 1000 or sum(sizes) >= MAIL_BYTES


def test_letters_in_many_piles_cost_a_poll_a_few_times_what_it_tells(crowded: psycopg.Connection) -> None:
    crowded.execute("DELETE FROM perdure.mail")
    crowded.execute("UPDATE perdure.runs SET owner = 1, status = 1, wake_at = NULL")
    _pile(crowded, 7, 5_000, 10)
    for key in range(8, 40):
        _pile(crowded, key, 500, 10)
    crowded.execute("VACUUM ANALYZE perdure.mail, perdure.runs")
    crowded.execute("DELETE FROM perdure.runs WHERE key > 50")

    assert 1_000 <= rows_read(crowded, 1) <= 12_000
