"""Each query of docs/postgresql.md, asked of a database with runs, says what the page says; and what the page counts is counted."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg

from perdure import Client, Engine, activity, sleep, workflow
from perdure.kernel.run import Status
from perdure.stores.postgres.lines import IDLE_LINES
from tests.operations.page import PAGE, ask, queries, query
from tests.operations.shipments import ALL, begun, sent, until


@activity(queue="presses")
def press(sheet: int) -> int:
    return sheet


@workflow
async def printing(sheet: int) -> int:
    return await press(sheet)


@workflow
async def nothing(number: int) -> int:
    return number


@workflow
async def later(name: str) -> str:
    await sleep("1 day")
    return name


RUNS = query("open runs by state")
LAG = query("how late")
MAIL = query("mail that nobody")
QUEUES = query("queues:")
MEMBERS = query("members that are not declared dead")
DEAD = query("dead rows")
LONGEST = query("the longest transaction")
SIZE = query("bytes of a run")
STANDBYS = query("replication:")

MORE = [*ALL, press, printing, nothing, later]


def test_every_query_of_the_page_is_tested() -> None:
    assert len(queries()) == PAGE.count("```sql") == 9
    assert len({RUNS, LAG, MAIL, QUEUES, MEMBERS, DEAD, LONGEST, SIZE, STANDBYS}) == 9


def test_states_are_numbered_as_the_page_says() -> None:
    said = dict(re.findall(r"(\d) (\w+)", RUNS.splitlines()[0]))

    assert said == {str(int(status)): status.word for status in Status if status < 7}


def test_runs_members_and_size(database: str) -> None:
    with Engine(database, MORE, lease="20s", build="monday") as engine:
        sent(begun(engine, ["done"]))
        begun(engine, ["one", "two"])

        assert ask(database, RUNS) == [(int(Status.WAITING), 2)]
        [(_, host, pid, build, silent_for, lease, runs)] = ask(database, MEMBERS)
        assert (build, lease) == ("monday", 20) and host and pid > 0 and 0 <= runs <= 2
        assert silent_for < timedelta(seconds=lease)
        assert ask(database, SIZE)[0][0] > 1_000
    assert ask(database, MEMBERS) == []


def test_lag_and_mail(database: str) -> None:
    with Engine(database, MORE) as engine:
        handle = engine.start(later("x"), id="x").wait()
        until(lambda: handle.describe().wait().status == "waiting")
    with Client(database) as client:
        client.start("later", ["y"], id="y", start_delay="1 day").wait()
        assert ask(database, LAG) == [(0,)] and ask(database, MAIL) == [(0,)]
        client.start("later", ["z"], id="z").wait()
    assert ask(database, MAIL) == [(1,)]
    ask(database, "UPDATE perdure.runs SET wake_at = wake_at - 90000 * 1000000000::bigint WHERE id = 'x' RETURNING 1")

    [(lag,)] = ask(database, LAG)
    assert 3_600 - 60 < lag < 3_600 + 3_600


def test_queues(database: str) -> None:
    with Engine(database, MORE) as engine:
        for sheet in range(3):
            engine.start(printing(sheet), id=f"sheet-{sheet}").wait()
        until(lambda: ask(database, QUEUES) == [("presses", 3, 0, 0)])


def test_the_longest_transaction_and_dead_rows(database: str) -> None:
    with psycopg.connect(database) as stranger:
        stranger.execute("SELECT 1")
        ask(database, "INSERT INTO perdure.replies VALUES ('a', '', '', 1, NULL), ('b', '', '', 1, NULL) RETURNING 1")
        ask(database, "DELETE FROM perdure.replies RETURNING 1")

        [(pid, user, state, seconds)] = ask(database, LONGEST)
        assert (pid, user, state) == (stranger.info.backend_pid, "perdure", "idle in transaction") and seconds > 0
        until(lambda: ("replies", 2) in [(row[0], row[2]) for row in ask(database, DEAD)])


def test_connections_are_as_many_as_the_page_says(database: str) -> None:
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'perdure' AND datname = current_database()"

    def open_now() -> int:
        return ask(database, count)[0][0]

    async def engine_is_busy() -> None:
        async with Engine(database, MORE) as engine:
            await asyncio.gather(*(engine.run(nothing(n), id=f"n-{n}") for n in range(50)))
            until(lambda: open_now() <= 2 + IDLE_LINES == 6)
            assert open_now() >= 2

    asyncio.run(engine_is_busy())
    until(lambda: open_now() == 0)
    with Client(database) as client:
        handles = [client.handle(f"n-{n}") for n in range(50)]
        with ThreadPoolExecutor(20) as threads:
            assert list(threads.map(lambda handle: handle.result().wait(), handles)) == list(range(50))
        until(lambda: 1 <= open_now() <= IDLE_LINES == 4)
