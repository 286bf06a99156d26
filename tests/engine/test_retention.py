"""Runs that have ended are kept as long as the engine was told; then they are gone for everybody."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, activity, errors, workflow
from perdure.testing import TestEngine
from tests.conformance.conftest import database as database
from tests.conformance.conftest import server as server

HOUR = 3_600


@activity
async def double(number: int) -> int:
    return 2 * number


@workflow
async def doubled(number: int) -> int:
    return await double(number)


@workflow
async def parent(number: int, seconds: float) -> int:
    value = await doubled(number).with_options(id=f"child-{number}")
    await asyncio.sleep(seconds)
    return value


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("database")
    return f"memory://{tmp_path}" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"


def wait_until_gone(engine: TestEngine, id: str) -> None:
    with pytest.raises(errors.RunNotFound):
        while True:
            engine.handle(id).describe().wait()
            engine.sleep(HOUR / 4).wait()


def test_a_run_is_gone_when_its_time_is_over(address: str):
    if address.startswith("postgresql"):
        pytest.skip("TestEngine has a clock of its own, and shares no store")
    with TestEngine([doubled, double], store=address, retention="1h") as engine:
        handle = engine.start(doubled(4), id="old").wait()
        assert handle.result().wait() == 8

        engine.sleep(2 * HOUR).wait()
        wait_until_gone(engine, "old")

        with pytest.raises(errors.RunNotFound):
            handle.result().wait()
        assert engine.run(doubled(6), id="old").wait() == 12  # its id is free


def test_a_family_is_kept_until_all_of_it_has_ended():
    with TestEngine([parent, doubled, double], retention="1h") as engine:
        handle = engine.start(parent(4, 10 * HOUR), id="parent").wait()

        engine.sleep(9 * HOUR).wait()
        assert engine.handle("child-4").result().wait() == 8
        assert handle.result().wait() == 8

        wait_until_gone(engine, "parent")
        wait_until_gone(engine, "child-4")


@pytest.mark.parametrize(("retention", "told"), [("10s", "at least 60 s"), ("soon", "Engine: retention: ")])
def test_what_makes_no_sense_is_refused(retention: Any, told: str):
    with pytest.raises(errors.DefinitionError, match=told):
        Engine("memory://", [], retention=retention)
