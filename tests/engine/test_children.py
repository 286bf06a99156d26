"""Workflows that start others: as steps of their own, or to go on without them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    ChildFailed,
    DefinitionError,
    Engine,
    PerdureError,
    RunCancelled,
    RunExists,
    RunFailed,
    RunTerminated,
    activity,
    continue_as_new,
    saga,
    start_child,
    workflow,
)
from perdure.errors import ChildCancelled, ChildrenTooDeep, ChildTerminated, ChildTimedOut, CircularChild
from perdure.kernel.limits import CHILD_DEPTH
from perdure.testing import TestEngine

LARGE = "x" * 200_000
done: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@activity
async def note(text: str) -> str:
    done.append(text)
    return text


class Refused(Exception):
    pass


@workflow
async def leaf(text: str) -> str:
    return await note(text)


@workflow
async def refuses(text: str) -> None:
    raise Refused(text)


@workflow
async def naps(seconds: float) -> str:
    """Says how it ends."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await note("cleaned up")
        raise
    return await note("slept")


@workflow
async def fans_out(texts: list[str]) -> list[str]:
    return await asyncio.gather(*[leaf(text) for text in texts])


@workflow
async def says_what_it_saw(kind: str) -> str:
    child: Any = {
        "failed": lambda: refuses("no"),
        "timed out": lambda: naps(3600).with_options(run_timeout="1m"),
        "retried": lambda: refuses("no").with_options(retry=3),
    }[kind]()
    try:
        await child
    except ChildFailed as error:
        return f"{type(error).__name__}: {error}; {error.is_a(Refused)}; {type(error.__cause__).__name__}"
    return "nothing"


@workflow
async def nests(depth: int) -> str:
    info = workflow.info()
    if depth == 0:
        return f"{info.parent.id if info.parent else ''} of {info.root.id if info.root else ''}"
    return await nests(depth - 1).with_options(id=f"nested-{depth - 1}")


@workflow
async def for_ever(n: int) -> None:
    await for_ever(n + 1)


@workflow
async def takes_its_own_id() -> str:
    try:
        await takes_its_own_id().with_options(id=workflow.info().id)
    except CircularChild as error:
        return str(error)
    return "nothing"


@workflow
async def takes_that_of_its_parent(parent: str, terminates: bool) -> str:
    options = {"id_conflict": "terminate_existing"} if terminates else {}
    try:
        await leaf("x").with_options(id=parent, **options)
    except RunExists as error:
        return type(error).__name__
    return "nothing"


@workflow
async def lets_it_try(terminates: bool) -> str:
    return await takes_that_of_its_parent(workflow.info().id, terminates)


@workflow
async def starts(id: str, options: dict[str, Any], then_sleeps: float = 0.0) -> str:
    child = await start_child(naps(3600).with_options(id=id, **options))
    await asyncio.sleep(then_sleeps)
    return child.run_id


@workflow
async def leaves_after_an_hour(policy: str) -> str:
    await start_child(naps(7200).with_options(id="left", parent_close=policy))
    await asyncio.sleep(3600)
    return "left"


@workflow
async def waits_under_a_timeout(cancellation: str) -> str:
    try:
        async with asyncio.timeout(60):
            return await naps(3600).with_options(id="awaited", cancellation=cancellation)
    except TimeoutError:
        return f"timed out, {len(done)} done"


@workflow
async def cancels_what_it_started() -> str:
    child = await start_child(naps(3600).with_options(id="started"))
    await asyncio.sleep(1)
    child.cancel("not needed")
    child.cancel("twice")
    try:
        await child
    except ChildCancelled as error:
        return str(error)
    return "nothing"


@workflow
async def undoes() -> None:
    async with saga() as undo:
        undo(note, "undone")
        await refuses("no")


@workflow
async def outlives() -> str:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(leaf("a"))
        second = group.create_task(leaf("b"))
    return first.result() + second.result()


@workflow
async def awaits(id: str) -> str:
    try:
        return await naps(60).with_options(id=id)
    except ChildTerminated as error:
        return str(error)


@workflow
async def ends(how: str, policy: str) -> str:
    """With a child that is open."""
    if workflow.info().attempt > 1 or how == "at last":
        return how
    await start_child(naps(7200).with_options(id="left", parent_close=policy))
    if how in ("failed", "retried"):
        raise Refused(how)
    if how == "continued as new":
        continue_as_new("at last", policy)
    if how != "completed":
        await asyncio.sleep(3600)
    return how


@workflow
async def ends_where_it_starts_them(policy: str) -> str:
    """In one turn."""
    starts = [naps(60).with_options(id="named", parent_close=policy), naps(60).with_options(parent_close=policy)]
    tasks = [asyncio.create_task(start_child(call)) for call in starts]
    await asyncio.sleep(0)
    return f"over, {len(tasks)} started"


@workflow
async def goes_deep(depth: int) -> int:
    try:
        child = await start_child(goes_deep(depth + 1))
    except ChildrenTooDeep:
        return depth
    return await child


@workflow
async def swells() -> str:
    return LARGE


@workflow
async def gets_the_same_twice() -> int:
    return sum(len(text) for text in await asyncio.gather(swells(), swells()))


@workflow
async def starts_the_same_again(times: int, many: int) -> str:
    """More than what lies in the mail can be read at once."""
    await asyncio.gather(*[start_child(naps(3600).with_options(id=f"child-{n}")) for n in range(many)])
    return "over" if times == 1 else continue_as_new(times - 1, many)


ALL = [leaf, refuses, naps, fans_out, says_what_it_saw, nests, for_ever, takes_its_own_id, takes_that_of_its_parent]
ALL += [lets_it_try, starts, leaves_after_an_hour, waits_under_a_timeout, cancels_what_it_started, undoes, outlives]
ALL += [awaits, note, ends, ends_where_it_starts_them, goes_deep, swells, gets_the_same_twice, starts_the_same_again]


@asynccontextmanager
async def engine_on(kind: str, tmp_path: Path) -> AsyncIterator[Any]:
    if kind == "tests":
        async with TestEngine(ALL) as engine:
            yield engine
    else:
        async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine:
            yield engine


@pytest.mark.parametrize("kind", ["tests", "sqlite"])
async def test_children_are_awaited_like_any_call_and_large_values_go_both_ways(kind: str, tmp_path: Path):
    async with engine_on(kind, tmp_path) as engine:
        assert await engine.run(fans_out(["a", LARGE, "c"]), id="p") == ["a", LARGE, "c"]
        assert await engine.run(outlives(), id="group") == "ab"

        assert sorted(done) == sorted(["a", LARGE, "c", "a", "b"])
        children = await engine.list(parent="p")
        assert [child.status for child in children] == ["completed"] * 3
        assert all(child.id.startswith("p/") for child in children)


async def test_a_child_without_a_result_raises_what_became_of_it():
    async with TestEngine(ALL) as engine:
        failed = await engine.run(says_what_it_saw("failed"), id="f")
        assert failed.startswith("ChildFailed: child refuses (f/")
        assert failed.endswith(") failed: Refused: no; True; RemoteError")
        timed_out = await engine.run(says_what_it_saw("timed out"), id="t")
        assert timed_out.startswith("ChildTimedOut: ") and "run_timeout of 60 s" in timed_out
        assert issubclass(ChildTimedOut, ChildFailed)


async def test_a_child_that_is_tried_again_tells_its_parent_only_of_its_last_attempt():
    async with TestEngine(ALL) as engine:
        assert (await engine.run(says_what_it_saw("retried"), id="r")).startswith("ChildFailed")

        assert [child.status for child in await engine.list(parent="r")] == ["failed"] * 3
        history = [event["type"] for event in await engine.handle("r").history()]
        assert history == ["RunStarted", "ChildScheduled", "ChildFailed", "RunCompleted"]


async def test_a_failure_that_nobody_catches_fails_the_parent_with_the_whole_chain_of_causes():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(undoes(), id="u")

    assert done == ["undone"]
    cause = failed.value.__cause__
    assert "child refuses" in str(cause) and "Refused: no" in str(cause.__cause__)


async def test_descendants_know_their_parent_and_their_root_and_are_found_by_them():
    async with TestEngine(ALL) as engine:
        assert await engine.run(nests(3), id="nested-3") == "nested-1 of nested-3"

        assert [run.id for run in await engine.list(parent="nested-2")] == ["nested-1"]
        assert [run.id for run in await engine.list(root="nested-3")] == [
            "nested-0",
            "nested-1",
            "nested-2",
            "nested-3",
        ]
        assert await engine.count(root="nested-3", status="completed") == 4
        assert await engine.count(root="nested-2") == await engine.count(parent="nested-0") == 0
        middle = await engine.handle("nested-1").describe()
        assert middle.parent is not None and middle.parent.id == "nested-2"
        assert middle.root is not None and middle.root.id == "nested-3"
        (child,) = middle.children
        assert (child.id, child.workflow, child.state, child.parent_close) == (
            "nested-0",
            "nests",
            "completed",
            "terminate",
        )
        assert [(step.kind, step.name, step.state) for step in middle.steps] == [("child", "nests", "completed")]


async def test_a_workflow_that_calls_itself_for_ever_fails_at_a_depth_that_has_a_name():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(for_ever(0), id="top")
        assert await engine.count(root="top") == CHILD_DEPTH + 1

        error: Any = failed.value
        while error.__cause__ is not None:
            error = error.__cause__
        assert f"at most {CHILD_DEPTH} are allowed" in str(error)


async def test_a_child_cannot_have_the_id_of_a_run_it_descends_from():
    async with TestEngine(ALL) as engine:
        said = await engine.run(takes_its_own_id(), id="me")
        assert said.startswith("the id 'me' belongs to the run that has started this one")
        for terminates in (False, True):
            assert await engine.run(lets_it_try(terminates), id=f"up-{terminates}") == "CircularChild"


async def test_an_id_in_use_is_told_where_the_child_is_started_and_nothing_is_started():
    async with TestEngine(ALL) as engine:
        await engine.start(naps(1e6), id="taken")

        with pytest.raises(RunFailed, match="the id 'taken' belongs to a run that is waiting") as failed:
            await engine.run(starts("taken", {}), id="p")

        assert failed.value.__cause__.type == "perdure.errors.RunExists"
        assert await engine.count(parent="p") == 0
        await engine.run(leaf("x"), id="over")
        with pytest.raises(RunFailed, match="is completed, and this start says id_reuse"):
            await engine.run(starts("over", {"id_reuse": "reject_duplicate"}), id="q")
        await engine.run(starts("over", {"parent_close": "abandon"}), id="r")
        assert (await engine.handle("over").describe()).parent.id == "r"


async def test_a_child_may_take_the_place_of_the_run_that_has_its_id():
    async with TestEngine(ALL) as engine:
        before = await engine.start(naps(1e6), id="taken")

        run_id = await engine.run(
            starts("taken", {"id_conflict": "terminate_existing", "parent_close": "abandon"}), id="p"
        )

        assert (await engine.handle("taken", run_id=before.run_id).describe()).status == "terminated"
        assert (await engine.handle("taken").describe()).run_id == run_id


@pytest.mark.parametrize(
    ("policy", "status", "noted"),
    [("terminate", "terminated", []), ("cancel", "cancelled", ["cleaned up"]), ("abandon", "completed", ["slept"])],
)
async def test_a_child_that_is_open_when_its_parent_ends(policy: str, status: str, noted: list[str]):
    async with TestEngine(ALL) as engine:
        await engine.run(leaves_after_an_hour(policy), id="p")

        try:
            await engine.handle("left").result()
        except (RunCancelled, RunTerminated) as error:
            assert "its parent 'p' has ended" in str(error)
        assert (await engine.handle("left").describe()).status == status
        assert done == noted


LEFT = {"terminate": ("terminated", []), "cancel": ("cancelled", ["cleaned up"]), "abandon": ("completed", ["slept"])}


@pytest.mark.parametrize("policy", LEFT)
@pytest.mark.parametrize(
    "how", ["completed", "failed", "cancelled", "terminated", "timed out", "continued as new", "retried"]
)
async def test_what_becomes_of_a_child_is_the_same_however_its_parent_ends(how: str, policy: str):
    options: dict[str, Any] = {"timed out": {"run_timeout": "1h"}, "retried": {"retry": 2}}.get(how, {})
    async with TestEngine(ALL) as engine:
        parent = await engine.start(ends(how, policy), id="p", **options)
        while not await engine.count(parent="p"):
            await asyncio.sleep(0.001)
        if how in ("cancelled", "terminated"):
            await (parent.cancel() if how == "cancelled" else parent.terminate())
        with suppress(PerdureError):
            await parent.result()
        with suppress(PerdureError):
            await engine.handle("left").result()

        rows = list(reversed(await engine.list(id_prefix="p")))
        assert rows[0].status == ("failed" if how == "retried" else how)
        assert ((await engine.handle("left").describe()).status, done) == LEFT[policy]
        assert await engine.count(parent="p") == 1


@pytest.mark.parametrize("policy", LEFT)
async def test_children_that_are_started_in_the_last_turn_begin_and_meet_what_was_chosen_for_them(policy: str):
    async with TestEngine(ALL) as engine:
        assert await engine.run(ends_where_it_starts_them(policy), id="p") == "over, 2 started"

        children = await engine.list(parent="p")
        assert len(children) == 2
        for child in children:
            with suppress(PerdureError):
                await engine.handle(child.id).result()
            assert (await engine.handle(child.id).describe()).status == LEFT[policy][0]


async def test_whoever_starts_a_child_that_would_be_too_deep_is_told_there_also_without_an_id():
    async with TestEngine(ALL) as engine:
        assert await engine.run(goes_deep(0), id="d") == CHILD_DEPTH
        assert await engine.count(root="d") == CHILD_DEPTH + 1


async def test_children_may_have_the_same_large_result(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine:
        assert await engine.run(gets_the_same_twice(), id="p") == 2 * len(LARGE)


async def test_a_run_that_continues_as_new_gets_the_ids_of_the_children_that_end_with_the_one_before():
    async with Engine("memory://", ALL) as engine:
        assert await engine.run(starts_the_same_again(2, 1_200), id="p") == "over"

        assert await engine.count(parent="p") == 2_400
        for row in await engine.list(parent="p", status="waiting"):
            with pytest.raises(RunTerminated):
                await engine.handle(row.id).result()
        assert await engine.count(parent="p", status="terminated") == 2_400


async def test_a_parent_that_is_terminated_takes_its_children_with_it():
    async with TestEngine(ALL) as engine:
        parent = await engine.start(awaits("child"), id="p")
        while not await engine.count(parent="p", status="waiting"):
            await asyncio.sleep(0.005)
        await parent.terminate("enough")

        with pytest.raises(RunTerminated, match="its parent 'p' has ended"):
            await engine.handle("child").result()


async def test_a_child_that_is_terminated_raises_that_in_its_parent():
    async with TestEngine(ALL) as engine:
        parent = await engine.start(awaits("child"), id="p")
        while not await engine.count(parent="p", status="waiting"):
            await asyncio.sleep(0.005)
        await engine.handle("child").terminate("by hand")

        assert await parent.result() == "child naps (child) was terminated: by hand"


@workflow
async def ends_its_own_way(fails: bool) -> str:
    try:
        await asyncio.sleep(3_600)
    except asyncio.CancelledError:
        if fails:
            raise Refused("broken on the way out") from None
    return "done all the same"


@workflow
async def asks_again_and_again(fails: bool) -> str:
    while True:
        with suppress(ChildFailed):
            await note(await ends_its_own_way(fails))


@workflow
async def asks_once() -> str:
    return await ends_its_own_way(False)


async def told_to_stop(call: Any) -> Any:
    async with TestEngine([ends_its_own_way, asks_again_and_again, asks_once, note]) as engine:
        handle = await engine.start(call, id="p")
        while not await engine.list(parent="p", status="waiting"):
            await asyncio.sleep(0)
        await handle.cancel()
        return await handle.result()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_that_a_child_did_not_heed_comes_at_the_next_await(fails: bool):
    with pytest.raises(RunCancelled):
        await told_to_stop(asks_again_and_again(fails))

    assert done == []


async def test_and_if_there_is_none_the_result_is_not_lost():
    assert await told_to_stop(asks_once()) == "done all the same"


@pytest.mark.parametrize(
    ("cancellation", "result", "status"),
    [
        ("wait", "timed out, 1 done", "cancelled"),
        ("try", "timed out, 0 done", "terminated"),
        ("abandon", "timed out, 0 done", "terminated"),
    ],
)
async def test_what_a_cancelled_await_does_to_the_child(cancellation: str, result: str, status: str):
    async with TestEngine(ALL) as engine:
        assert await engine.run(waits_under_a_timeout(cancellation), id="p") == result
        with pytest.raises((RunCancelled, RunTerminated)):
            await engine.handle("awaited").result()

        asked = [event["type"] for event in await engine.handle("p").history()]
        assert ("ChildCancelRequested" in asked) == (cancellation != "abandon")
        assert (await engine.handle("awaited").describe()).status in (status, "cancelled")


async def test_a_cancelled_parent_waits_for_its_child_to_clean_up_and_is_cancelled_then():
    async with TestEngine(ALL) as engine:
        parent = await engine.start(awaits("child"), id="p")
        while not await engine.count(parent="p", status="waiting"):
            await asyncio.sleep(0.005)
        await parent.cancel("enough")

        with pytest.raises(RunCancelled, match="enough"):
            await parent.result()
        assert (await engine.handle("child").describe()).status == "cancelled"
        assert done == ["cleaned up"]


async def test_a_child_is_cancelled_by_its_handle_once():
    async with TestEngine(ALL) as engine:
        assert await engine.run(cancels_what_it_started(), id="p") == "child naps (started) was cancelled: not needed"

        history = [event["type"] for event in await engine.handle("p").history()]
        assert history.count("ChildCancelRequested") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parent_close": "forget"}, 'parent_close is one of "terminate", "cancel", "abandon"'),
        ({"cancellation": "now"}, 'cancellation is one of "wait", "try", "abandon"'),
        ({"id_conflict": "use_existing"}, 'id_conflict is one of "fail", "terminate_existing"'),
        ({"id": ""}, "an id is a text of 1 to 200 characters"),
        ({"queue": "q"}, "has no option queue"),
        ({"run_timeout": -1}, "run_timeout"),
        ({"memo": 3}, "a memo is a mapping"),
    ],
)
def test_options_that_make_no_sense_are_refused_where_they_are_written(options: dict[str, Any], message: str):
    call = leaf("x")
    with pytest.raises(DefinitionError, match=message):
        call.with_options(**options)
    call.close()


async def test_options_of_a_child_are_not_ignored_by_a_start():
    async with TestEngine(ALL) as engine:
        with pytest.raises(DefinitionError, match="with_options"):
            await engine.start(leaf("x").with_options(id="y"))


async def test_a_child_with_code_that_nobody_has_waits_for_it_and_its_parent_with_it(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, [fans_out, note]) as engine:
        await engine.start(fans_out(["a"]), id="p")
        while not await engine.count(parent="p", status="blocked"):
            await asyncio.sleep(0.005)
        (child,) = await engine.list(parent="p")
        assert "was not given the workflow 'leaf'" in child.note
    async with Engine(address, ALL) as engine:
        assert await engine.handle("p", fans_out).result() == ["a"]
