"""A run that is blocked while an attempt of it hangs stays with the engine that makes that: whoever operates reaches it all the same."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perdure import Client, Engine, RunBlocked, RunTerminated, activity, workflow
from perdure.client.description import unended
from perdure.stores.base import Store
from perdure.stores.memory import MemoryStore, Shelf
from perdure.stores.postgres.store import PostgresStore

Open = Callable[[], Store]


@pytest.fixture(params=["shared memory", "postgres"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    if request.param == "postgres":
        address = request.getfixturevalue("database")
        yield lambda: PostgresStore(address)
    else:
        shelf = Shelf(shared=True)
        yield lambda: MemoryStore(shelf=shelf)


class Hanging:
    """`code("old")` breaks down while its activity hangs; the new one would not."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.may_end = asyncio.Event()
        self.mended = False

    def code(self, age: str) -> list[Any]:
        is_broken = age == "old"

        @activity
        async def hangs() -> str:
            self.begun.set()
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "ended"

        @activity
        async def begins() -> None:
            await self.begun.wait()

        @workflow
        async def order() -> str:
            hanging = asyncio.ensure_future(hangs())
            await begins()
            if is_broken and not self.mended:
                raise NameError("a bug")
            return await hanging

        return [order, hangs, begins]


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


async def blocked(engine: Engine, hanging: Hanging) -> None:
    order = hanging.code("old")[0]
    handle = await engine.start(order(), id="o")
    with pytest.raises(RunBlocked):
        await handle.result()


async def test_it_is_told_what_has_not_ended_and_the_run_is_terminated(opened: Open, hanging: Hanging):
    async with Engine(opened(), hanging.code("old")) as engine, Client(opened()) as client:
        await blocked(engine, hanging)
        (text,) = unended(await client.handle("o").describe())

        await client.handle("o").terminate("enough")

        with pytest.raises(RunTerminated, match="enough"):
            await client.handle("o").result()
        await hanging.cancelled.wait()
    assert text.startswith("attempt 1 of hangs [0.1:1], in ")


async def test_it_is_tried_again_where_it_is_and_its_attempt_is_not_made_twice(opened: Open, hanging: Hanging):
    """What made the code break is put right meanwhile."""
    async with Engine(opened(), hanging.code("old")) as engine, Client(opened()) as client:
        await blocked(engine, hanging)
        hanging.mended = True

        await client.handle("o").retry()
        hanging.may_end.set()

        assert await client.handle("o").result() == "ended"
        steps = {step.name: step for step in (await client.handle("o").describe()).steps}
    assert steps["hangs"].attempts_total == 1


async def test_other_code_gets_it_when_the_attempt_has_ended(opened: Open, hanging: Hanging):
    async with Engine(opened(), hanging.code("old")) as engine, Client(opened()) as client:
        await blocked(engine, hanging)
        async with Engine(opened(), hanging.code("new")):
            await client.handle("o").retry()  # in vain: it is with the old code
            hanging.may_end.set()

            while (found := await client.handle("o").describe()).status != "completed":
                assert found.status in ("blocked", "running", "waiting")
                await asyncio.sleep(0.05)
        assert await client.handle("o").result() == "ended"
