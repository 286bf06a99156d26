"""A process that dies while it deletes runs leaves each of them whole, or nothing of it, wherever it dies."""

import os
import sqlite3
from pathlib import Path

from perdure import Engine, activity, workflow
from perdure.stores.pruning import Prune
from perdure.stores.sqlite import pruning
from perdure.stores.sqlite.store import SqliteStore

FAR = 2**62
RUNS = 5


@activity
async def large() -> str:
    return "x" * 200_000


@workflow
async def order(number: int) -> None:
    await large()
    workflow.set_attributes({"number": number})


def test_wherever_a_process_dies_that_prunes_no_run_is_left_in_part(tmp_path: Path):
    path = str(tmp_path / "runs.db")
    with Engine(f"sqlite:///{path}", [order, large]) as engine:
        for number in range(RUNS):
            engine.run(order(number), id=f"order-{number}").wait()
    rows = count(path)
    assert min(rows.values()) > 0

    deaths = 0
    while dies_at(path, deaths):
        deaths += 1
        assert count(path) == rows
        assert problems(path) == []

    assert deaths > len(pruning.FORGET)
    assert set(count(path).values()) == {0}
    assert problems(path) == []


def dies_at(path: str, statement: int) -> bool:
    """Whether a process that prunes comes to its statement of that number, where it dies."""
    child = os.fork()
    if child == 0:
        try:
            store = SqliteStore(path)
            with store.post.line.use() as connection:
                connection.set_trace_callback(_death_at(statement))
            store.admin.prune(Prune(FAR, limit=100))
            os._exit(0)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def _death_at(statement: int):
    seen = [0]

    def count_down(sql: str) -> None:
        if seen[0] == statement:
            os._exit(9)
        seen[0] += 1

    return count_down


def count(path: str) -> dict[str, int]:
    connection = sqlite3.connect(path)
    try:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("runs", "history", "blobs", "attributes")
        }
    finally:
        connection.close()


def problems(path: str) -> list[str]:
    store = SqliteStore(path)
    try:
        return store.admin.check()
    finally:
        store.admin.close()
