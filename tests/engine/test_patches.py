"""A change in three deploys: `if patched`, `deprecate_patch`, and nothing; each run keeps to the way it began to go."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import DefinitionError, Engine, RunBlocked, activity, deprecate_patch, patched, sleep, workflow
from perdure.testing import replay
from tests.engine.clocks import Later

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


@activity
async def note(what: str) -> None:
    done.append(what)


def order(code: Callable[..., Any]) -> Any:
    return workflow(name="order")(code)


@order
async def before(pause: float) -> None:
    await note("first")
    await sleep(pause)
    await note("old")


@order
async def changed(pause: float) -> None:
    await note("first")
    await sleep(pause)
    await note("new" if patched("new-way") else "old")


@order
async def changed_above(pause: float) -> None:
    """The change comes before the pause, so that runs that sleep have passed it."""
    if patched("greet"):
        await note("hello")
    await note("first")
    await sleep(pause)
    await note("end")


@order
async def unchanged_above(pause: float) -> None:
    await note("first")
    await sleep(pause)
    await note("end")


@order
async def deprecated_above(pause: float) -> None:
    deprecate_patch("greet")
    await note("hello")
    await note("first")
    await sleep(pause)
    await note("end")


@order
async def removed_above(pause: float) -> None:
    await note("hello")
    await note("first")
    await sleep(pause)
    await note("end")


def left_asleep(address: str, code: Any, id: str = "o") -> None:
    """A run that is to sleep for an hour when its engine ends."""
    with Engine(address, [code, note]) as engine:
        engine.start(code(3600), id=id).wait()
        while engine.handle(id).describe().wait().status != "waiting":
            pass


def ended(address: str, code: Any, id: str = "o") -> None:
    with Engine(address, [code, note], world=Later()) as engine:
        engine.handle(id).result().wait()


def test_a_run_that_has_passed_before_the_change_keeps_the_old_way_and_new_runs_go_the_new_one(address: str):
    left_asleep(address, unchanged_above)
    ended(address, changed_above)
    assert done == ["first", "end"]

    with Engine(address, [changed_above, note]) as engine:
        engine.run(changed_above(0), id="new").wait()
    assert done[2:] == ["hello", "first", "end"]


def test_a_run_that_has_not_come_to_the_change_goes_the_new_way(address: str):
    left_asleep(address, before)
    ended(address, changed)

    assert done == ["first", "new"]


def test_a_run_that_went_the_new_way_goes_on_with_code_that_has_no_old_one(address: str):
    left_asleep(address, changed_above)
    ended(address, deprecated_above)

    assert done == ["hello", "first", "end"]


def test_a_run_that_went_the_old_way_is_blocked_by_code_that_has_none_with_an_explanation(address: str):
    left_asleep(address, unchanged_above)
    with pytest.raises(RunBlocked) as blocked:
        ended(address, deprecated_above)

    message = str(blocked.value)
    assert "went the old way of the change 'greet'" in message
    assert "deprecate_patch('greet')" in message
    assert "if patched('greet'): ... else: ..." in message
    ended(address, changed_above)  # the code that knows both ways releases it
    assert done == ["first", "end"]


def test_a_run_begun_under_deprecate_patch_goes_on_when_the_call_is_gone(address: str):
    left_asleep(address, deprecated_above)
    ended(address, removed_above)

    assert done == ["hello", "first", "end"]


def test_code_that_forgets_a_change_too_early_is_told_to_deprecate_it(address: str):
    left_asleep(address, changed_above)
    with pytest.raises(RunBlocked) as blocked:
        ended(address, removed_above)

    assert "recorded patch greet" in str(blocked.value)
    assert "deprecate_patch('greet')  where it said  if patched('greet')" in str(blocked.value)


def test_a_deprecated_mark_fits_code_that_still_asks(address: str):
    left_asleep(address, deprecated_above)
    ended(address, changed_above)

    assert done == ["hello", "first", "end"]


def test_in_a_loop_the_first_answer_holds(address: str):
    @order
    async def looping(pause: float) -> None:
        for n in range(4):
            await note(f"step {n}")
            await sleep(pause if n == 1 else 0)

    @order
    async def patched_loop(pause: float) -> None:
        for n in range(4):
            await note(f"new {n}" if patched("loop") else f"step {n}")
            await sleep(pause if n == 1 else 0)

    left_asleep(address, looping)
    ended(address, patched_loop)

    assert done == [f"step {n}" for n in range(4)]


async def test_branches_that_run_at_the_same_time_get_one_answer_and_one_mark():
    @order
    async def branches(pause: float) -> list[bool]:
        async def branch(n: int) -> bool:
            await note(str(n))
            answer = patched("both")
            deprecate_patch("both")
            return answer

        return await asyncio.gather(*(branch(n) for n in range(5)))

    async with Engine("memory://", [branches, note]) as engine:
        handle = await engine.start(branches(0), id="b")
        answers = await handle.result()
        marks = [event for event in await handle.history() if event["type"] == "PatchMarked"]
        run = await handle.export()

    assert answers == [True] * 5
    assert len(marks) == 1
    assert len(replay(run, [branches, note]).verdicts) == 1


async def test_outside_a_workflow_the_new_way_is_taken():
    deprecate_patch("anything")

    assert patched("anything")


@pytest.mark.parametrize("function", [patched, deprecate_patch])
def test_a_change_is_named_by_a_text(function: Callable[[Any], Any]):
    with pytest.raises(DefinitionError, match=r"takes a text that names the change, not ''"):
        function("")
