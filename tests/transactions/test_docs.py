"""What docs/transactions.md shows for PostgreSQL runs on a server; the rest of the page is run by tests/docs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from perdure import Engine, activity, workflow
from tests.postgres.server import Server

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "transactions.md").read_text()
SHOWN = "postgresql://shop@localhost/shop"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@activity
async def pack(number: int) -> str:
    return f"order {number} is packed"


@workflow
async def order(number: int) -> str:
    return await pack(number)


@pytest.mark.parametrize("program", blocks("python compile"), ids=["psycopg", "activity"])
def test_programs_for_a_server_run(program: str, database: str, tmp_path: Path):
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE orders (number integer)")
        connection.execute("CREATE TABLE stock (item text, left_over integer)")
        connection.execute("INSERT INTO stock VALUES ('pen', 1)")
    assert SHOWN in program
    (tmp_path / "program.py").write_text(program.replace(SHOWN, database))

    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_recipe_of_a_test_with_a_database_passes_on_a_server(server: Server, tmp_path: Path):
    page = (ROOT / "docs" / "testing.md").read_text()
    recipe = re.search(r"## With a real PostgreSQL.*?^```python pytest\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert recipe is not None
    (tmp_path / "test_program.py").write_text(recipe[1])

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TEST_SERVER": server.address()},
    )
    assert (done.returncode, done.stdout.count("1 passed")) == (0, 1), done.stdout


def test_sql_is_run_by_the_server(database: str):
    (script,) = blocks("sql")
    with Engine(database, [order, pack]) as engine:
        engine.run(order(0)).wait()
        with psycopg.connect(database) as connection:
            connection.execute(script.encode())

        assert engine.handle("order-1", order).result().wait() == "order 1 is packed"
        assert len(engine.list(attributes={"region": "eu"}).wait()) == 1
