"""What is asked often is found by an index, however many runs there are."""

from collections.abc import Iterator

import psycopg
import pytest

from perdure.kernel.attributes import Choice, Kind, Wanted
from perdure.stores.base import RunFilter
from perdure.stores.filtering_sql import conditions
from perdure.stores.postgres.filters import POSTGRES
from perdure.stores.postgres.store import PostgresStore

FILL = """
INSERT INTO perdure.runs (key, id, run_id, workflow, status, note, build, started_at, seq, open_tail, strikes, followed_by, chain,
                          request, parent, root, pinned)
SELECT n, 'order-' || n, '', 'w', CASE WHEN n % 500 = 0 THEN 4 ELSE 7 END, '', '', n, 1, false, 0, 0, 0, '', 0, 0, ''
FROM generate_series(1, 20000) AS n;
INSERT INTO perdure.attributes
SELECT n, 'text', 0, 1, 'value-' || n, NULL, NULL FROM generate_series(1, 20000) AS n;
INSERT INTO perdure.attributes
SELECT n, 'whole', 0, 2, NULL, n, NULL FROM generate_series(1, 20000) AS n;
INSERT INTO perdure.attributes
SELECT n, 'float', 0, 3, NULL, NULL, n FROM generate_series(1, 20000) AS n;
ANALYZE perdure.runs;
ANALYZE perdure.attributes;
"""


@pytest.fixture
def full(emptied: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(emptied, autocommit=True) as connection:
        connection.execute(FILL.encode())
        yield connection


def wanted(name: str, *choice: object) -> RunFilter:
    return RunFilter(attributes=(Wanted(name, (Choice(*choice),)),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (RunFilter(id_prefix="order-1999"), "runs_by_id"),
        (RunFilter(statuses=(4,)), "runs_by_status"),
        (RunFilter(parent="order-7"), "runs_by_id"),
        (wanted("text", (Kind.TEXT,), "value-77", "value-77"), "attributes_by_text"),
        (wanted("whole", (Kind.WHOLE, Kind.FLOAT), 77, 78), "attributes_by_number"),
        (wanted("float", (Kind.WHOLE, Kind.FLOAT), 76.5, 78), "attributes_by_float"),
    ],
)
def test_a_list_is_found_by_an_index(full: psycopg.Connection, asked: RunFilter, index: str) -> None:
    where, values = conditions(asked, POSTGRES)
    sql = f"EXPLAIN SELECT key FROM perdure.runs WHERE {where} LIMIT 100"

    plan = "\n".join(line for (line,) in full.execute(sql.encode(), values))

    assert index in plan
    assert "Seq Scan on attributes" not in plan
    assert "Seq Scan on runs" not in plan


def test_the_end_of_a_chain_is_found_without_reading_history(emptied: str) -> None:
    """Nor all runs in the order of their keys, which is what a planner likes that sees so many of one id."""
    store = PostgresStore(emptied)
    with psycopg.connect(emptied, autocommit=True) as connection:
        connection.execute(FILL.encode())
        connection.execute(
            "UPDATE perdure.runs SET id = 'loop', chain = CASE key WHEN 1 THEN 0 ELSE 1 END, "
            "followed_by = CASE key WHEN 1000 THEN 0 ELSE key + 1 END WHERE key <= 1000"
        )
        connection.execute("ANALYZE perdure.runs")
        end = store.views.end_of_chain(1)
        store.admin.close()
        for sql in (
            "EXPLAIN SELECT key FROM perdure.runs WHERE id = 'loop' AND 1 IN (key, chain) ORDER BY key + 0 DESC LIMIT 1",
            "EXPLAIN SELECT key FROM perdure.runs WHERE id = 'loop' AND request = 'r' AND chain = 0 ORDER BY key + 0 DESC LIMIT 1",
        ):
            plan = "\n".join(line for (line,) in connection.execute(sql.encode()).fetchall())
            assert "runs_by_id" in plan and "runs_pkey" not in plan

    assert end is not None and end.key == 1000
