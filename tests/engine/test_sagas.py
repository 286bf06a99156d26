"""Sagas in a running engine: each step begins with a replay, so what is undone is so after any eviction, too."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    ActivityFailed,
    Client,
    Engine,
    Retry,
    RunBlocked,
    RunCancelled,
    RunFailed,
    RunTerminated,
    activity,
    saga,
    workflow,
)
from perdure.testing import TestEngine

calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> Iterator[None]:
    calls.clear()
    yield
    calls.clear()


@activity
async def book(what: str) -> str:
    calls.append(f"book {what}")
    if what == "unicorn":
        raise activity.NonRetryable("there is none")
    if what == "slow train":
        await asyncio.Event().wait()
    return what


@activity
async def cancel(what: str) -> None:
    calls.append(f"cancel {what}")


@workflow
async def trip(whats: list[str], parallel: bool = False, seconds: float | None = None) -> list[str]:
    async with asyncio.timeout(seconds), saga(parallel=parallel) as undo:
        for what in whats:
            undo(cancel, what)
            await book(what)
    return whats


ALL = [trip, book, cancel]


def test_a_failed_run_has_undone_what_it_did():
    with TestEngine(ALL) as engine, pytest.raises(RunFailed, match="there is none"):
        engine.run(trip(["flight", "hotel", "unicorn"])).wait()

    assert calls == ["book flight", "book hotel", "book unicorn", "cancel unicorn", "cancel hotel", "cancel flight"]


def test_a_parallel_saga_undoes_everything_before_the_run_fails():
    with TestEngine(ALL) as engine, pytest.raises(RunFailed):
        engine.run(trip(["flight", "hotel", "unicorn"], parallel=True)).wait()

    assert sorted(calls[3:]) == ["cancel flight", "cancel hotel", "cancel unicorn"]


def test_a_run_that_takes_too_long_is_undone():
    with TestEngine(ALL) as engine, pytest.raises(RunFailed, match="TimeoutError"):
        engine.run(trip(["flight", "slow train"], seconds=1)).wait()

    assert calls == ["book flight", "book slow train", "cancel slow train", "cancel flight"]


def until_booked(engine: Any, handle: Any) -> None:
    """Until the slow train is being booked."""
    while "book slow train" not in calls:
        handle.describe().wait()


def test_a_cancelled_run_is_undone():
    with Engine("memory://", ALL) as engine:
        handle = engine.start(trip(["flight", "slow train"])).wait()
        until_booked(engine, handle)
        handle.cancel("rain").wait()
        with pytest.raises(RunCancelled, match="rain"):
            handle.result().wait()

    assert calls == ["book flight", "book slow train", "cancel slow train", "cancel flight"]


def test_a_terminated_run_is_not_undone():
    with Engine("memory://", ALL) as engine:
        handle = engine.start(trip(["flight", "slow train"])).wait()
        until_booked(engine, handle)
        handle.terminate().wait()
        with pytest.raises(RunTerminated):
            handle.result().wait()

    assert calls == ["book flight", "book slow train"]


def workflow_of(build: str) -> list[Any]:
    """The same workflow with a bug, in which cleanup may be, and mended."""

    @workflow
    async def careful() -> str:
        async with saga() as undo:
            undo(cancel, "flight")
            await book("flight")
            if build == "broken":
                await book(undefined_name)  # type: ignore[name-defined]  # noqa: F821
            if build == "broken with cleanup":
                try:
                    await book(undefined_name)  # type: ignore[name-defined]  # noqa: F821
                finally:
                    await cancel("taxi")
        return "mended"

    return [careful, book, cancel]


def test_a_bug_undoes_nothing_and_mended_code_goes_on_in_the_block(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, workflow_of("broken")) as engine, pytest.raises(RunBlocked, match="undefined_name"):
        engine.run("careful", id="trip").wait()
    before = list(calls)
    with Engine(address, workflow_of("mended")) as engine:
        result = engine.run("careful", id="trip").wait()

    assert (before, result, calls) == (["book flight"], "mended", ["book flight"])


def test_a_bug_whose_cleanup_is_recorded_fails_the_run_when_everything_is_undone(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    with (
        Engine(address, workflow_of("broken with cleanup")) as engine,
        pytest.raises(RunFailed, match="undefined_name"),
    ):
        engine.run("careful", id="trip").wait()

    assert calls == ["book flight", "cancel taxi", "cancel flight"]


def test_a_bug_whose_cleanup_is_recorded_is_undone_however_often_the_run_is_read_again():
    with TestEngine(workflow_of("broken with cleanup")) as engine, pytest.raises(RunFailed, match="undefined_name"):
        engine.run("careful", id="trip").wait()

    assert calls == ["book flight", "cancel taxi", "cancel flight"]


repaired: list[bool] = []
"""Not empty: what refuses to be undone does so no longer."""


@activity(retry=Retry(initial=0.001, max_attempts=2))
async def refund(what: str) -> None:
    calls.append(f"refund {what}, attempt {activity.info().attempt}")
    if not repaired:
        raise ConnectionError(f"the bank of {what} is closed")


@activity(retry=Retry(bugs="fail"))
async def clumsy() -> None:
    raise TypeError("wrong")


@workflow
async def payment() -> None:
    async with saga() as undo:
        undo(cancel, "flight")
        undo(refund, "hotel")
        undo(cancel, "car")
        await clumsy()


PAYMENT = [payment, clumsy, refund, cancel]


@pytest.fixture(autouse=True)
def _nothing_repaired() -> None:
    repaired.clear()


def test_a_compensation_that_uses_up_its_policy_is_held_and_says_so():
    with Engine("memory://", PAYMENT) as engine:
        with pytest.raises(RunBlocked) as held:
            engine.run(payment(), id="p").wait()
        description = engine.handle("p").describe().wait()

    assert str(held.value) == (
        "run 'p' is held: compensation refund failed after 2 attempts: ConnectionError: the bank of hotel is closed\n"
        "  hint: put right what stops it, then: perdure retry p"
    )
    assert description.status == "held"
    assert description.note == "refund held: ConnectionError: the bank of hotel is closed"
    assert [(step.name, step.state, step.compensation) for step in description.steps] == [
        ("clumsy", "failed", False),
        ("cancel", "completed", True),
        ("refund", "held", True),
    ]
    assert calls == ["cancel car", "refund hotel, attempt 1", "refund hotel, attempt 2"]


def test_a_time_limit_around_the_block_does_not_keep_those_waiting_whose_compensation_is_held(tmp_path: Path):
    @workflow
    async def patient() -> None:
        async with asyncio.timeout(3_600), saga() as undo:
            undo(refund, "hotel")
            raise ValueError

    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, [patient, refund]) as engine, pytest.raises(RunBlocked, match="compensation refund"):
        engine.run(patient(), id="p").wait()
    with Client(address) as client, pytest.raises(RunBlocked, match="compensation refund"):
        client.handle("p").result().wait()
    repaired.append(True)
    with Engine(address, [patient, refund]) as engine, pytest.raises(RunFailed, match="ValueError"):
        engine.handle("p").retry().wait()
        engine.handle("p").result().wait()


def test_a_held_compensation_has_all_its_attempts_again_after_a_retry_and_the_rest_follows():
    with Engine("memory://", PAYMENT) as engine:
        with pytest.raises(RunBlocked):
            engine.run(payment(), id="p").wait()
        engine.handle("p").retry().wait()
        with pytest.raises(RunBlocked, match="after 4 attempts"):
            engine.handle("p").result().wait()
        repaired.append(True)
        engine.handle("p").retry().wait()
        with pytest.raises(RunFailed, match="TypeError: wrong"):
            engine.handle("p").result().wait()

    assert calls[-2:] == ["refund hotel, attempt 5", "cancel flight"]


def test_new_code_tries_a_held_compensation_again(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"

    @activity(name="refund", retry=Retry(max_attempts=2))
    async def gentle_refund(what: str) -> None:
        calls.append(f"gently {what}")

    with Engine(address, PAYMENT) as engine, pytest.raises(RunBlocked):
        engine.run(payment(), id="p").wait()
    with Engine(address, [payment, clumsy, gentle_refund, cancel]) as engine, pytest.raises(RunFailed):
        engine.handle("p").result().wait()

    assert calls[-2:] == ["gently hotel", "cancel flight"]


def test_a_run_whose_compensation_is_held_can_be_terminated():
    with Engine("memory://", PAYMENT) as engine:
        with pytest.raises(RunBlocked):
            engine.run(payment(), id="p").wait()
        engine.handle("p").terminate("paid by hand").wait()
        with pytest.raises(RunTerminated, match="paid by hand"):
            engine.handle("p").result().wait()

    assert "cancel flight" not in calls


def test_a_cancellation_does_not_end_a_held_compensation():
    with Engine("memory://", PAYMENT) as engine:
        with pytest.raises(RunBlocked):
            engine.run(payment(), id="p").wait()
        engine.handle("p").cancel("enough").wait()
        with pytest.raises(RunBlocked, match="compensation refund"):
            engine.handle("p").result().wait()


@pytest.mark.parametrize("parallel", [False, True])
def test_a_compensation_that_says_it_can_never_succeed_is_held_too(parallel: bool):
    @activity
    async def undoable() -> None:
        raise activity.NonRetryable("the goods are eaten")

    @workflow
    async def dinner() -> None:
        async with saga(parallel=parallel) as undo:
            undo(undoable)
            undo(cancel, "table")
            raise ValueError

    words = "compensation undoable failed after 1 attempt: NonRetryable: the goods are eaten"
    with Engine("memory://", [dinner, undoable, cancel]) as engine, pytest.raises(RunBlocked, match=words):
        engine.run(dinner()).wait()

    assert calls == ["cancel table"]


def test_a_function_that_undoes_may_set_its_steps_a_limit_and_find_another_way():
    @workflow
    async def payment_by_hand() -> None:
        async def try_the_bank() -> None:
            try:
                await refund("hotel").with_options(schedule_to_close=0.05, retry=Retry(initial=0.01))
            except ActivityFailed:
                await cancel("by hand")

        async with saga() as undo:
            undo(try_the_bank)
            raise ValueError

    with Engine("memory://", [payment_by_hand, refund, cancel]) as engine, pytest.raises(RunFailed, match="ValueError"):
        engine.run(payment_by_hand()).wait()

    assert calls[-1] == "cancel by hand"


@activity(at_most_once=True)
async def once() -> None: ...


@activity(schedule_to_close="1h", schedule_to_start="1m")
async def in_time() -> None: ...


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (once, "once has the option at_most_once, but a compensation is not given up"),
        (in_time, r"write: undo\(in_time\(...\).with_options\(schedule_to_close=None\)\)"),
    ],
)
def test_an_activity_that_may_be_given_up_cannot_be_a_compensation(call: Any, words: str):
    @workflow
    async def careless() -> None:
        async with saga() as undo:
            undo(call)

    with Engine("memory://", [careless, once, in_time]) as engine, pytest.raises(RunBlocked, match=words):
        engine.run(careless()).wait()


def twice_broken(mended: bool) -> list[Any]:
    """A bug whose cleanup is recorded and has a bug of its own, in the turn in which it leaves the saga."""

    @workflow
    async def careful() -> str:
        async with saga() as undo:
            undo(cancel, "flight")
            try:
                raise TypeError("the first bug")
            finally:
                await cancel("taxi")
                if not mended:
                    raise NameError("the second bug")

    return [careful, cancel]


def test_a_bug_whose_cleanup_is_recorded_is_undone_when_the_cleanup_is_mended(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, twice_broken(mended=False)) as engine, pytest.raises(RunBlocked, match="the second bug"):
        engine.run("careful", id="trip").wait()
    before = list(calls)
    with Engine(address, twice_broken(mended=True)) as engine, pytest.raises(RunFailed, match="the first bug"):
        engine.run("careful", id="trip").wait()

    assert (before, calls) == (["cancel taxi"], ["cancel taxi", "cancel flight"])
