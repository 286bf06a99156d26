"""On which event loop an engine is entered, and on which it is used."""

import asyncio
import threading

import pytest

from perdure import Engine, EngineNotRunning, activity, workflow
from perdure.client.handle import Handle


@activity
async def on_loop(n: int) -> int:
    return n + 1


@activity
def in_thread(n: int) -> int:
    return n + 1


@workflow
async def async_step(n: int) -> int:
    return await on_loop(n)


@workflow
async def plain_step(n: int) -> int:
    return await in_thread(n)


ALL = [async_step, plain_step, on_loop, in_thread]
NOT_RUNNING = "the event loop that entered this engine is not running, so its async activities cannot run; enter"


class ElsewhereEntered:
    """An engine that a loop has entered which does not run any more, as a fixture of a wider scope may do."""

    def __enter__(self) -> Engine:
        self.loop = asyncio.new_event_loop()
        self.engine = Engine("memory://", ALL)
        return self.loop.run_until_complete(self.engine.__aenter__())

    def __exit__(self, *_: object) -> None:
        self.loop.run_until_complete(self.engine.__aexit__(None, None, None))
        self.loop.close()


def test_waiting_on_another_loop_than_the_one_that_entered_is_refused_if_that_stands_still() -> None:
    async def elsewhere(engine: Engine) -> None:
        with pytest.raises(EngineNotRunning, match=NOT_RUNNING):
            await engine.run(async_step(1))
        handle = await engine.start(async_step(1))
        with pytest.raises(EngineNotRunning, match=NOT_RUNNING):
            await handle.result()

    with ElsewhereEntered() as engine:
        asyncio.run(elsewhere(engine))


def test_waiting_without_a_loop_is_refused_as_well() -> None:
    with ElsewhereEntered() as engine, pytest.raises(EngineNotRunning, match=NOT_RUNNING):
        engine.run(plain_step(1)).wait()


def test_the_result_of_a_run_that_has_ended_is_there_all_the_same() -> None:
    async def ended(engine: Engine) -> Handle[int]:
        handle = await engine.start(async_step(1))
        await handle.result()
        return handle

    elsewhere = ElsewhereEntered()
    with elsewhere as engine:
        handle = elsewhere.loop.run_until_complete(ended(engine))

        assert handle.result().wait() == 2


def test_an_engine_whose_loop_runs_in_another_thread_can_be_used_from_anywhere() -> None:
    ready, over = threading.Event(), threading.Event()
    engines: list[Engine] = []

    async def at_home() -> None:
        async with Engine("memory://", ALL) as engine:
            engines.append(engine)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=[at_home()])
    thread.start()
    ready.wait(300)

    async def elsewhere() -> int:
        return await engines[0].run(async_step(1))

    try:
        assert asyncio.run(elsewhere()) == 2
        assert engines[0].run(async_step(2)).wait() == 3
    finally:
        over.set()
        thread.join()


def test_an_engine_with_a_loop_of_its_own_can_be_used_on_any() -> None:
    async def anywhere(engine: Engine) -> int:
        return await engine.run(async_step(1))

    with Engine("memory://", ALL) as engine:
        assert asyncio.run(anywhere(engine)) == 2
        assert asyncio.run(anywhere(engine)) == 2


def test_a_closed_engine_says_what_to_do() -> None:
    async def main() -> None:
        async with Engine("memory://", ALL) as engine:
            handle = await engine.start(plain_step(1))

        with pytest.raises(
            EngineNotRunning, match="the engine is closed; use it within its block, or enter another one"
        ):
            await engine.run(plain_step(1))
        with pytest.raises(EngineNotRunning, match="the engine is closed; use it within its block"):
            await handle.result()

    asyncio.run(main())
