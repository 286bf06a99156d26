"""Databases as earlier versions have left them: this one brings them to its schema, and goes on with their runs."""

import contextlib
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perdure.stores.sqlite import migrations, opening
from perdure.testing import TestEngine
from tests.engine.databases.record import ALL, HERE, RESULTS, dump

RECORDED = sorted(HERE.glob("schema-*.sql"))
DAY = datetime(2026, 11, 25, 7, tzinfo=UTC)


@pytest.fixture(params=RECORDED, ids=[path.stem for path in RECORDED])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database with what was recorded."""
    path = tmp_path / "runs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(request.param.read_text())
    return path


async def test_runs_of_an_earlier_version_are_listed_and_come_to_their_end(path: Path):
    before, _ = dump(path)
    async with TestEngine(ALL, store=f"sqlite:///{path}", start=DAY) as engine:
        for id, result in RESULTS.items():
            assert await engine.handle(id).result() == result
        rows = await engine.list()
        again = await engine.start("tries_again", ["d"], id="next attempt", request_id="once")
        problems = engine.store.admin.check()

    assert before < opening.version(str(path)) == len(migrations.schema())
    assert {row.id: row.attributes for row in rows} == {id: {} for id in RESULTS}
    assert again.run_id in [row.run_id for row in rows]
    assert problems == []


async def test_runs_of_an_earlier_version_are_described_without_a_memo_and_new_ones_beside_them_are_found(path: Path):
    async with TestEngine(ALL, store=f"sqlite:///{path}", start=DAY) as engine:
        await engine.run("quick", ["z"], id="new", attributes={"region": "eu"}, memo={"customer": "Ada"})

        assert [row.id for row in await engine.list(attributes={"region": "eu"})] == ["new"]
        described = [await engine.handle(id).describe() for id in ("sleeping", "next attempt", "new")]
        assert [run.memo for run in described] == [{}, {}, {"customer": "Ada"}]


def test_what_was_recorded_has_the_schema_of_its_version(path: Path):
    """Otherwise it was changed afterwards, or a migration was, which databases in the world have behind them."""
    version, statements = dump(path)
    made = path.with_name("made.db")
    opening.upgrade(str(made), migrations.schema()[:version])

    assert f"schema-{version}.sql" in [recorded.name for recorded in RECORDED]
    assert definitions(dump(made)[1]) == definitions(statements)


def definitions(statements: str) -> list[str]:
    return sorted(re.findall(r"^CREATE [^;]*;", statements, re.MULTILINE))
