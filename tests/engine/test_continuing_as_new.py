"""Runs that go on as new ones, and runs that speak to others."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    DefinitionError,
    Engine,
    RunBlocked,
    RunCancelled,
    RunClosed,
    RunExists,
    RunNotFound,
    RunTimedOut,
    activity,
    continue_as_new,
    external,
    saga,
    start_child,
    workflow,
)
from perdure.kernel.limits import CONTINUE_SUGGESTED_EVENTS
from perdure.testing import TestEngine

LARGE = "x" * 200_000
undone: list[int] = []


@activity
async def count(n: int) -> int:
    return n + 1


@activity
async def take_back(n: int) -> None:
    undone.append(n)


@workflow
async def counts(n: int, to: int, ballast: str = "") -> int:
    n = await count(n)
    if n < to:
        continue_as_new(n, to, ballast)
    return n + len(ballast)


@workflow
async def until_suggested(rounds: int) -> int:
    while not workflow.info().continue_as_new_suggested:
        await count(1)
    if rounds:
        await asyncio.sleep(1)
        workflow.continue_as_new(rounds - 1)
    return workflow.info().history_length


@workflow
async def tells(n: int) -> dict[str, Any]:
    info = workflow.info()
    if n:
        workflow.set_attributes({"round": n, "gone": None})
        workflow.set_memo({"round": n, "gone": None})
        continue_as_new(tells(n - 1).with_options(memo={"own": True})) if n == 7 else continue_as_new(n - 1)
    return {"attributes": info.attributes, "attempt": info.attempt, "parent": info.parent and info.parent.id}


@workflow
async def tells_its_parent() -> dict[str, Any]:
    return await tells(2).with_options(attributes={"kept": "yes", "gone": "x"})


@workflow(run_timeout="1h", execution_timeout="150m")
async def sleeps_for_ever() -> None:
    await workflow.sleep("50m")
    continue_as_new()


@workflow
async def becomes_another(n: int) -> int:
    continue_as_new(counts(n, n + 1).with_options(run_timeout="1h"))


@workflow
async def leaves_a_saga(n: int) -> int:
    async with saga() as undo:
        undo(take_back, n)
        if n:
            continue_as_new(n - 1)
        undo(take_back, 99).discard()
    return n


@workflow
async def with_open_children(n: int) -> str:
    await start_child(naps().with_options(id=f"kept-{n}", parent_close="abandon"))
    await start_child(naps().with_options(id=f"gone-{n}"))
    if n:
        continue_as_new(n - 1)
    return "over"


@workflow
async def naps() -> None:
    await workflow.sleep(timedelta(days=1))


@workflow
async def waits_a_little(n: int) -> str:
    """Most of the time it is between two of its runs."""
    try:
        await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        return "cancelled"
    return continue_as_new(n + 1)


@workflow
async def wrongly(how: str) -> None:
    if how == "arguments":
        continue_as_new(1, 2, 3)
    if how == "option":
        continue_as_new(wrongly("").with_options(id="x"))
    continue_as_new(count(1))


@workflow
async def cancels(id: str, run_id: str | None) -> str:
    try:
        await external(id, run_id=run_id).cancel("by another")
    except (RunNotFound, RunClosed) as error:
        return f"{type(error).__name__}: {error}"
    return "cancelled"


ALL = [
    counts,
    until_suggested,
    tells,
    tells_its_parent,
    sleeps_for_ever,
    becomes_another,
    leaves_a_saga,
    with_open_children,
]
ALL += [naps, waits_a_little, wrongly, cancels, count, take_back]


async def states(engine: Any, id: str) -> list[str]:
    """Of the runs of an id, the first first."""
    return [row.status for row in reversed(await engine.list(id_prefix=id)) if row.id == id]


async def test_whoever_waits_for_the_first_run_gets_the_result_of_the_last(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        handle = await engine.start(counts(0, 4, LARGE), id="c")

        results = [await handle.result(), await client.handle("c").result()]
        results += [await client.handle("c", run_id=handle.run_id).result()]

        assert results == [4 + len(LARGE)] * 3
        assert await states(engine, "c") == ["continued as new"] * 3 + ["completed"]


async def test_runs_are_linked_and_begin_with_an_empty_history():
    async with TestEngine(ALL) as engine:
        await engine.run(counts(0, 3), id="c")

        runs = [await engine.handle("c", run_id=row.run_id).describe() for row in reversed(await engine.list())]
        assert [run.input for run in runs] == [[n, 3, ""] for n in range(3)]
        assert [run.previous_run_id for run in runs[1:]] == [run.run_id for run in runs[:-1]]
        assert [run.next_run_id for run in runs[:-1]] == [run.run_id for run in runs[1:]]
        assert {run.first_run_id for run in runs[1:]} == {runs[0].run_id}
        assert [run.attempt for run in runs] == [1, 1, 1]


async def test_it_is_suggested_when_the_history_is_long_and_the_length_is_that_of_the_history():
    async with Engine("memory://", ALL) as engine:
        length = await engine.run(until_suggested(1), id="s")

        first, last = [row.events for row in reversed(await engine.list())]
        assert length >= CONTINUE_SUGGESTED_EVENTS
        assert last == length + 1
        assert first > CONTINUE_SUGGESTED_EVENTS


async def test_attributes_memo_and_parent_go_on_with_it():
    async with TestEngine(ALL) as engine:
        told = await engine.run(tells_its_parent(), id="p")

        assert told == {"attributes": {"kept": "yes", "round": 1}, "attempt": 1, "parent": "p"}
        assert [row.status for row in await engine.list(parent="p")] == ["completed"] + ["continued as new"] * 2
        handle = await engine.start(
            tells(2), id="m", memo={"kept": "yes", "gone": 1}, attributes={"kept": "yes", "gone": "x"}
        )
        await handle.result()
        last = await engine.handle("m").describe()
        assert last.memo == {"kept": "yes", "round": 1}
        assert await engine.count(attributes={"kept": "yes", "round": 1}, id_prefix="m") == 2


async def test_a_memo_of_its_own_may_be_given():
    async with TestEngine(ALL) as engine:
        await engine.run(tells(7), id="m", memo={"first": True})

        second = list(reversed(await engine.list()))[1]
        assert (await engine.handle("m", run_id=second.run_id).describe()).memo["own"] is True
        assert "first" not in (await engine.handle("m").describe()).memo


async def test_the_run_timeout_is_each_runs_and_the_execution_timeout_that_of_all():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunTimedOut, match="execution_timeout of 9000 s"):
            await engine.run(sleeps_for_ever(), id="s")

        assert await states(engine, "s") == ["continued as new"] * 2 + ["timed out"]


async def test_it_may_go_on_as_another_workflow_with_other_limits():
    async with TestEngine(ALL) as engine:
        assert await engine.run(becomes_another(5), id="b") == 6

        last = await engine.handle("b").describe()
        assert (last.workflow, last.run_timeout) == ("counts", 3600.0)


async def test_a_saga_that_is_left_by_it_undoes_nothing():
    undone.clear()
    async with TestEngine(ALL) as engine:
        assert await engine.run(leaves_a_saga(3), id="s") == 0

    assert undone == []


@workflow
async def fails_and_goes_on(n: int) -> int:
    try:
        async with saga() as undo:
            undo(take_back, n)
            raise ValueError("in vain")
    except ValueError:
        return n if n == 3 else continue_as_new(n + 1)


async def test_a_cancellation_that_came_while_a_saga_was_undone_is_not_left_behind():
    async with TestEngine([fails_and_goes_on, take_back]) as engine:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def take_back_slowly(n: int) -> None:
            begun.set()
            await ended.wait()

        engine.replace(take_back, take_back_slowly)
        handle = await engine.start(fails_and_goes_on(1), id="r")
        await begun.wait()
        await handle.cancel()
        ended.set()

        with pytest.raises(RunCancelled):
            await handle.result()


async def test_children_stay_behind_with_the_run_that_started_them():
    async with TestEngine(ALL) as engine:
        await engine.run(with_open_children(1), id="p")
        for n in (0, 1):
            await engine.handle(f"kept-{n}").result()

        ends = {row.id: row.status for row in await engine.list(parent="p")}
        assert ends == {"kept-0": "completed", "gone-0": "terminated", "kept-1": "completed", "gone-1": "terminated"}


async def test_a_cancellation_reaches_whichever_run_of_the_chain_is_there(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine:
        for n in range(10):
            handle = await engine.start(waits_a_little(0), id=f"w{n}")
            await asyncio.sleep(0.003 * n)
            await handle.cancel()

            assert await handle.result() == "cancelled"


@pytest.mark.parametrize(
    ("how", "message"), [("arguments", "wrongly"), ("option", "takes no option 'id'"), ("", "a call of a workflow")]
)
async def test_what_cannot_be_gone_on_with_blocks_the_run_where_it_is_written(how: str, message: str):
    async with TestEngine(ALL) as engine:
        with pytest.raises(Exception, match=message):
            await engine.run(wrongly(how), id="w")
        run = await engine.handle("w").describe()
        assert run.status == "blocked"
        assert run.block is not None and "test_continuing_as_new.py" in run.block.source


def test_outside_of_a_workflow_there_is_nothing_to_continue():
    with pytest.raises(DefinitionError, match="in a workflow that an engine runs"):
        continue_as_new(1)


async def test_another_run_is_cancelled_and_what_cannot_be_is_told():
    async with TestEngine(ALL) as engine:
        other = await engine.start(naps(), id="other")
        wrong = await engine.run(cancels("other", "0" * 32), id="a")
        assert wrong == f"RunNotFound: there is no run 'other' with run_id {'0' * 32}"
        assert await engine.run(cancels("other", other.run_id), id="b") == "cancelled"

        with pytest.raises(RunCancelled, match="by another"):
            await other.result()
        assert await engine.run(cancels("other", None), id="c") == "RunClosed: run 'other' is cancelled already"
        assert (await engine.run(cancels("nobody", None), id="d")).startswith("RunNotFound: there is no run 'nobody'")


@pytest.mark.parametrize("way", ["engine", "client"])
async def test_the_same_start_made_again_finds_what_it_has_made_whatever_that_goes_on_as(way: str, tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        runs = engine if way == "engine" else client
        assert await engine.run(counts(0, 3), id="c") == 3
        assert await engine.run(becomes_another(5), id="b") == 6

        assert await runs.run("counts", [0, 3], id="c") == 3
        assert await runs.run("becomes_another", [5], id="b") == 6
        for other in ([2, 3], [0, 4]):
            with pytest.raises(RunExists, match="other arguments"):
                await runs.run("counts", other, id="c")
        assert await engine.count(id_prefix="c") == 3


async def test_two_starts_in_one_batch_of_a_run_that_goes_on_at_once_are_the_same():
    async with TestEngine([for_now]) as engine:
        answers = await asyncio.gather(*[engine.run(for_now(3), id="n") for _ in range(5)])

        assert answers == [0] * 5
        assert await engine.count() == 4


@workflow
async def for_now(n: int) -> int:
    if n:
        continue_as_new(n - 1)
    return n


async def test_a_blocked_run_takes_its_cancellation_when_it_is_mended_and_nobody_waits_for_that():
    async with TestEngine(ALL) as engine:
        other = await engine.start(wrongly("option"), id="other")
        with pytest.raises(RunBlocked):
            await other.result()

        assert await engine.run(cancels("other", None), id="c") == "cancelled"
        await other.terminate()
