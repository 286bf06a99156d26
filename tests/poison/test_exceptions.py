"""Whatever a workflow or an activity raises is told in words, and hurts nobody beside."""

import asyncio
from typing import Any

import pytest

from perdure import Retry, RunBlocked, RunFailed, activity, channel, errors, workflow
from tests.poison.beside import FEW_COMMITS, Seen, add, beside_neighbours
from tests.poison.exceptions import EXCEPTIONS, EndlessWhenAsked

ENDLESS = "whose text never ends"
MAKING = {**EXCEPTIONS, ENDLESS: (EndlessWhenAsked, "")}
over = channel("over", str)


def make(how: str) -> BaseException:
    return MAKING[how][0]()


@workflow
async def at_once(how: str) -> None:
    raise make(how)


@workflow
async def in_a_task(how: str) -> None:
    task = asyncio.create_task(raises(how))
    await add(1, 1)
    await task


async def raises(how: str) -> None:
    raise make(how)


@activity(retry=Retry(initial=0.001, max_attempts=2))
async def on_the_loop(how: str) -> None:
    raise make(how)


@activity(retry=Retry(initial=0.001, max_attempts=2))
def in_a_thread(how: str) -> None:
    raise make(how)


@workflow
async def by_the_loop(how: str) -> None:
    await on_the_loop(how)


@workflow
async def by_a_thread(how: str) -> None:
    await in_a_thread(how)


@workflow
class Talks:
    @workflow.run
    async def run(self) -> str:
        return await over.receive()

    @workflow.query
    def asked(self, how: str) -> int:
        raise make(how)

    @workflow.update
    def told(self, how: str) -> int:
        raise make(how)

    @workflow.update
    def checked(self, how: str) -> None:
        pass

    @checked.validator
    def _check(self, how: str) -> None:
        raise make(how)

    @workflow.signal
    def heard(self, how: str) -> None:
        raise make(how)


ALL: list[Any] = [at_once, in_a_task, by_the_loop, by_a_thread, on_the_loop, in_a_thread, Talks]
TAKEN_FOR_A_CANCELLATION = "that says it was cancelled"


def assert_told(seen: Seen, how: str) -> None:
    assert isinstance(seen.outcome, RunFailed)
    assert str(seen.outcome).startswith("run 'poison' failed: ")
    assert MAKING[how][1] in str(seen.outcome)
    assert len(str(seen.outcome)) < 10_000
    assert seen.commits <= FEW_COMMITS


@pytest.mark.parametrize("how", EXCEPTIONS)
@pytest.mark.parametrize("where", [at_once, in_a_task], ids=lambda each: each.name)
async def test_a_workflow_that_raises_an_exception(where: Any, how: str):
    assert_told(await beside_neighbours(where(how), ALL), how)


@pytest.mark.parametrize("how", EXCEPTIONS)
@pytest.mark.parametrize("where", [by_the_loop, by_a_thread], ids=lambda each: each.name)
async def test_an_activity_that_raises_an_exception(where: Any, how: str):
    assert_told(await beside_neighbours(where(how), ALL), how)


@pytest.mark.parametrize("where", [at_once, in_a_task], ids=lambda each: each.name)
async def test_a_workflow_that_raises_an_exception_whose_text_never_ends_is_interrupted(where: Any):
    seen = await beside_neighbours(where(ENDLESS), ALL, stuck_after=0.3)

    assert isinstance(seen.outcome, RunBlocked)
    assert "did not come to an await in time and was interrupted at" in str(seen.outcome)
    assert "tests/poison/exceptions.py" in str(seen.outcome)
    assert seen.commits <= FEW_COMMITS


@pytest.mark.parametrize("how", [*EXCEPTIONS, ENDLESS])
async def test_what_is_asked_of_a_run_may_raise_it(how: str):
    async def ask(run: Any) -> None:
        with pytest.raises(errors.QueryFailed):
            await run.query(Talks.asked, how)
        with pytest.raises(errors.UpdateRejected):
            await run.update(Talks.checked, how)
        await run.signal(over, "well")

    seen = await beside_neighbours(Talks.run(), ALL, ask, stuck_after=0.3 if how == ENDLESS else 60.0)

    assert seen.outcome == "well"
    assert seen.commits <= FEW_COMMITS


@pytest.mark.parametrize("how", EXCEPTIONS)
async def test_an_update_that_raises_it_is_answered_with_its_words(how: str):
    async def ask(run: Any) -> None:
        with pytest.raises(errors.UpdateFailed) as failed:
            await run.update(Talks.told, how)
        assert MAKING[how][1] in str(failed.value)
        await run.signal(over, "well")

    assert (await beside_neighbours(Talks.run(), ALL, ask)).outcome == "well"


@pytest.mark.parametrize("how", [how for how in EXCEPTIONS if how != TAKEN_FOR_A_CANCELLATION])
async def test_a_signal_whose_handler_raises_it_fails_the_run_with_its_words(how: str):
    async def tell(run: Any) -> None:
        await run.signal(Talks.heard, how)

    assert_told(await beside_neighbours(Talks.run(), ALL, tell), how)


async def test_an_update_whose_exception_never_ends_blocks_its_run():
    async def ask(run: Any) -> None:
        with pytest.raises(RunBlocked):
            await run.update(Talks.told, ENDLESS)

    seen = await beside_neighbours(Talks.run(), ALL, ask, stuck_after=0.3)

    assert isinstance(seen.outcome, RunBlocked)
