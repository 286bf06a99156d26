"""A process that only works ends in words when its engine does."""

import asyncio
from pathlib import Path

import pytest

from perdure import Client, Engine, EngineNotRunning, activity, workflow
from perdure.errors import StoreCorrupt, StoreFull, WaitedTooLong
from perdure.testing import FaultAt, open_store


@activity
async def once(n: int) -> int:
    return n


@workflow
async def one_step(n: int) -> int:
    return await once(n)


async def test_serving_ends_with_the_fault_that_stops_the_engine() -> None:
    store = open_store("memory://", faults=FaultAt(2, "full"))
    async with Engine(store, [one_step, once]) as engine:
        serving = asyncio.create_task(engine.serve())
        with pytest.raises(EngineNotRunning, match="the engine has stopped: full by a fault"):
            await engine.run(one_step(1))
        with pytest.raises(EngineNotRunning, match="full by a fault") as served:
            await serving
        cause = served.value.__cause__

    assert isinstance(cause, StoreFull)


async def test_a_fault_that_nobody_was_told_is_told_by_leaving() -> None:
    store = open_store("memory://", faults=FaultAt(1, "full"))
    with pytest.raises(EngineNotRunning, match="the engine has stopped: full by a fault") as left:
        async with Engine(store, [one_step, once]) as engine:
            with Client(store) as client:
                await client.start("one_step", [1])
            while engine.owns:
                await asyncio.sleep(0)

    assert isinstance(left.value.__cause__, StoreFull)


async def test_serving_ends_when_the_engine_is_closed() -> None:
    engine = Engine("memory://", [one_step, once])
    async with engine:
        serving = asyncio.create_task(engine.serve())
        await asyncio.sleep(0)

    assert await serving is None


def test_an_error_in_the_block_is_not_covered_by_the_fault() -> None:
    store = open_store("memory://", faults=FaultAt(1, "full"))

    with pytest.raises(ZeroDivisionError), Engine(store, [one_step, once]) as engine:
        with pytest.raises(EngineNotRunning):
            engine.run(one_step(1)).wait()
        _ = 1 / 0


def test_who_waits_where_no_engine_runs_is_told_so(tmp_path: Path) -> None:
    with Client(f"sqlite:///{tmp_path / 'runs.db'}", create=True) as client:
        handle = client.start("one_step", [1], id="a").wait()

        with pytest.raises(WaitedTooLong, match="no engine runs on the database: the run goes on when one is started"):
            handle.result(timeout="10ms").wait()


def test_a_client_of_the_engines_own_store_leaves_it_open() -> None:
    with Engine("memory://", [one_step, once]) as engine:
        with Client(engine.store) as client:
            assert client.run("one_step", [1]).wait() == 1

        assert engine.run(one_step(2)).wait() == 2


def test_a_database_that_is_deleted_under_its_engine_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    with pytest.raises(EngineNotRunning) as left, Engine(f"sqlite:///{path}", [one_step, once]) as engine:
        path.unlink()
        engine.serve().wait()

    assert isinstance(left.value.__cause__, StoreCorrupt)
    assert f"{path}: the file was deleted or replaced while an engine was using it" in str(left.value)


def test_whoever_looks_at_runs_once_a_fault_has_stopped_the_engine_is_told_of_that(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    with Engine(f"sqlite:///{path}", [one_step, once]) as engine:
        handle = engine.start(one_step(1), id="a").wait()
        handle.result().wait()
        path.unlink()
        with pytest.raises(EngineNotRunning):
            engine.serve().wait()
        engine.store.admin.close()

        for look in (handle.describe, handle.history, handle.export, handle.cancel, engine.list, engine.count):
            with pytest.raises(EngineNotRunning, match="the file was deleted or replaced while an engine was using it"):
                look().wait()
