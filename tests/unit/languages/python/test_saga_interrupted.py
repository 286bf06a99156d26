"""Sagas and what comes from outside: cancellation and time limits, other tasks and other sagas, bugs."""

import asyncio
import gc

import pytest

from perdure.kernel import events as ev
from perdure.workflows import Saga, saga
from tests.unit.languages.python.trips import (
    blocked,
    book,
    cancel,
    complete,
    fail,
    failure_of,
    faithful,
    flight_and_hotel,
    scheduled,
    started,
)

# cancellation


def test_a_cancelled_run_is_undone_and_then_ends_cancelled() -> None:
    async def trip() -> None:
        async with saga() as undo:
            await flight_and_hotel(undo)

    driver = started(trip)
    complete(driver, "flight")
    driver.cancel("rain")

    assert scheduled(driver) == ["cancel hotel"]
    complete(driver, "hotel", "flight")
    assert driver.outcome == ev.RunCancelled(driver.now, "rain")
    assert faithful(driver)


def test_a_timeout_around_the_block_is_one_when_everything_is_undone() -> None:
    async def trip() -> list[int]:
        try:
            async with asyncio.timeout(1), saga() as undo:
                undo(cancel, "flight")
                await book("flight")
        except TimeoutError:
            return [asyncio.current_task().cancelling()]  # type: ignore[union-attr]
        return []

    driver = started(trip)
    driver.wake()

    assert scheduled(driver) == ["cancel flight"]
    complete(driver, "flight")
    assert driver.result == [0]


def test_a_run_cancelled_while_a_failure_is_undone_hears_of_it_at_its_next_await() -> None:
    async def trip() -> str:
        try:
            async with saga() as undo:
                undo(cancel, "flight")
                undo(cancel, "hotel")
                raise ValueError
        except ValueError:
            await book("nothing")
        return "never"

    driver = started(trip)
    driver.cancel("rain")
    complete(driver, "hotel")
    assert scheduled(driver) == ["cancel flight"]
    complete(driver, "flight")

    assert driver.outcome == ev.RunCancelled(driver.now, "rain")
    assert "book" not in [getattr(event, "name", "") for event in driver.history]
    assert faithful(driver)


def test_a_failure_is_not_lost_to_a_cancellation_while_it_is_undone() -> None:
    async def trip() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            raise ValueError

    driver = started(trip)
    driver.cancel("rain")
    complete(driver, "flight")

    assert failure_of(driver) == "ValueError"


def test_a_timeout_that_ends_while_a_failure_is_undone_leaves_no_trace() -> None:
    async def trip() -> list[int]:
        try:
            async with asyncio.timeout(1), saga() as undo:
                undo(cancel, "flight")
                raise ValueError
        except ValueError:
            await book("train")
        return [asyncio.current_task().cancelling()]  # type: ignore[union-attr]

    driver = started(trip)
    driver.wake()
    complete(driver, "flight", "train")

    assert driver.result == [0]
    assert faithful(driver)


def test_a_run_cancelled_while_a_timeout_is_undone_is_cancelled_and_not_timed_out() -> None:
    async def trip() -> str:
        try:
            async with asyncio.timeout(1), saga() as undo:
                undo(cancel, "flight")
                await book("flight")
        except TimeoutError:
            return "timed out"
        return "never"

    driver = started(trip)
    driver.wake()
    driver.cancel("rain")
    complete(driver, "flight")

    assert driver.outcome == ev.RunCancelled(driver.now, "rain")


def test_a_cancellation_is_delivered_once() -> None:
    async def trip() -> None:
        try:
            async with asyncio.timeout(1), saga() as undo:
                undo(cancel, "flight")
                await book("flight")
        finally:
            await book("the broom")

    driver = started(trip)
    driver.wake()
    driver.cancel("rain")
    complete(driver, "flight")

    assert scheduled(driver) == ["book the broom"]
    complete(driver, "the broom")
    assert isinstance(driver.outcome, ev.RunCancelled)


def test_a_task_group_that_aborts_waits_until_its_children_are_undone() -> None:
    async def leg(what: str) -> None:
        async with saga() as undo:
            undo(cancel, what)
            await book(what)

    async def trip() -> list[str]:
        try:
            async with asyncio.TaskGroup() as group:
                for what in ("flight", "hotel", "car"):
                    group.create_task(leg(what))
        except ExceptionGroup as failed:
            return [str(error) for error in failed.exceptions]
        return []

    driver = started(trip)
    fail(driver, "hotel")

    complete(driver, "hotel")
    assert scheduled(driver) == ["cancel flight", "cancel car"]
    complete(driver, "flight", "car")
    assert driver.result == ["activity book failed after 1 attempt: ValueError: no hotel"]
    assert faithful(driver)


def test_a_task_group_whose_child_fails_while_its_own_block_is_undone_raises_both() -> None:
    async def trip() -> list[str]:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(book("hotel"))
                async with saga() as undo:
                    undo(cancel, "flight")
                    raise ValueError("rain")
        except ExceptionGroup as failed:
            await book("train")
            kinds = [type(error).__name__ for error in failed.exceptions]
            return [*kinds, str(asyncio.current_task().cancelling())]  # type: ignore[union-attr]
        return []

    driver = started(trip)
    fail(driver, "hotel")
    complete(driver, "flight", "train")

    assert driver.result == ["ActivityFailed", "ValueError", "0"]


def test_timeouts_and_groups_work_within_what_undoes() -> None:
    async def call_off() -> None:
        try:
            async with asyncio.timeout(1):
                await cancel("by phone")
        except TimeoutError:
            async with asyncio.TaskGroup() as group:
                group.create_task(cancel("by mail"))
                group.create_task(cancel("by letter"))

    async def trip() -> None:
        async with saga() as undo:
            undo(call_off)
            await book("flight")

    driver = started(trip)
    driver.cancel("rain")
    driver.wake()
    complete(driver, "by letter", "by mail")

    assert isinstance(driver.outcome, ev.RunCancelled)
    assert faithful(driver)


# tasks, and several sagas


def test_an_inner_saga_is_undone_before_the_outer_one() -> None:
    async def trip() -> None:
        async with saga() as outer:
            outer(cancel, "flight")
            async with saga() as inner:
                inner(cancel, "hotel")
                raise ValueError

    driver = started(trip)

    assert scheduled(driver) == ["cancel hotel"]
    complete(driver, "hotel")
    assert scheduled(driver) == ["cancel flight"]
    complete(driver, "flight")
    assert failure_of(driver) == "ValueError"
    assert faithful(driver)


def test_a_saga_that_has_succeeded_is_not_undone_by_a_later_failure() -> None:
    async def trip() -> None:
        async with saga() as first:
            first(cancel, "flight")
        async with saga() as second:
            second(cancel, "hotel")
            raise ValueError

    driver = started(trip)

    assert scheduled(driver) == ["cancel hotel"]
    complete(driver, "hotel")
    assert failure_of(driver) == "ValueError"


def test_a_saga_within_what_undoes_is_one_like_any_other() -> None:
    async def move() -> None:
        async with saga() as undo:
            undo(cancel, "new flight")
            await book("new flight")

    async def trip() -> None:
        async with saga() as undo:
            undo(move)
            raise ValueError

    driver = started(trip)
    complete(driver, "new flight")

    assert failure_of(driver) == "ValueError"


def test_tasks_of_the_block_register_in_one_order() -> None:
    async def leg(undo: Saga, what: str) -> None:
        await book(what)
        undo(cancel, what)

    async def trip() -> None:
        async with saga() as undo:
            await asyncio.gather(leg(undo, "flight"), leg(undo, "hotel"))
            raise ValueError

    driver = started(trip)
    complete(driver, "hotel", "flight")

    assert scheduled(driver) == ["cancel flight"]
    complete(driver, "flight")
    assert scheduled(driver) == ["cancel hotel"]


def test_what_a_task_registers_while_the_block_is_undone_is_undone_too() -> None:
    async def leg(undo: Saga, what: str) -> None:
        await book(what)
        undo(cancel, what)

    async def trip() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            asyncio.create_task(leg(undo, "hotel"))  # noqa: RUF006
            raise ValueError

    driver = started(trip)
    complete(driver, "hotel")
    complete(driver, "flight")

    assert scheduled(driver) == ["cancel hotel"]
    complete(driver, "hotel")
    assert failure_of(driver) == "ValueError"


def test_a_run_ends_when_the_sagas_of_all_its_tasks_are_undone() -> None:
    async def leg(what: str) -> None:
        async with saga() as undo:
            undo(cancel, what)
            await book(what)

    async def trip() -> None:
        await asyncio.gather(leg("flight"), leg("hotel"), book("car"))

    driver = started(trip)
    fail(driver, "car")
    assert driver.run.is_open
    assert scheduled(driver) == ["cancel flight", "cancel hotel"]
    complete(driver, "flight")
    assert driver.run.is_open
    complete(driver, "hotel")

    assert failure_of(driver) == "ActivityFailed"
    assert faithful(driver)


def test_a_result_waits_until_a_saga_that_nobody_awaits_is_undone() -> None:
    async def leg() -> None:
        try:
            async with saga() as undo:
                undo(cancel, "flight")
                await book("flight")
        finally:
            await book("never told")

    async def trip() -> str:
        asyncio.create_task(leg())  # noqa: RUF006
        return await book("hotel")

    driver = started(trip)
    complete(driver, "hotel")
    assert driver.run.is_open
    complete(driver, "flight")

    assert driver.result == "hotel"
    assert faithful(driver)


def test_a_saga_that_can_never_end_blocks_the_run_with_its_line() -> None:
    async def leg() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            try:
                await book("flight")
            except asyncio.CancelledError:
                await asyncio.Event().wait()

    async def trip() -> str:
        asyncio.create_task(leg())  # noqa: RUF006
        return await book("hotel")

    driver = started(trip)
    block = blocked(lambda: complete(driver, "hotel"))

    assert block.source == f"{__file__}:{leg.__code__.co_firstlineno + 6}"


# bugs


def test_a_bug_undoes_nothing_and_blocks_the_run_at_its_line() -> None:
    async def trip() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            await book("flight")
            undefined()  # type: ignore[name-defined]  # noqa: F821

    driver = started(trip)
    block = blocked(lambda: complete(driver, "flight"))

    assert block.kind == "bug"
    assert block.message == "NameError: name 'undefined' is not defined"
    assert block.source == f"{__file__}:{trip.__code__.co_firstlineno + 4}"
    assert not block.commands


def test_nobody_further_out_can_take_a_bug_for_a_failure() -> None:
    async def trip() -> str:
        try:
            async with saga() as undo:
                undo(cancel, "flight")
                raise TypeError("wrong")
        except Exception:  # noqa: BLE001
            return "sorry"

    assert blocked(lambda: started(trip)).message == "TypeError: wrong"


def test_a_bug_that_leaves_a_saga_with_nothing_to_undo_is_one_like_any_other() -> None:
    async def trip() -> str:
        try:
            async with saga():
                raise TypeError("wrong")
        except TypeError:
            return "caught"

    assert started(trip).result == "caught"


def test_a_bug_in_another_task_of_the_group_does_not_undo_those_it_cancels() -> None:
    async def leg() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            await book("flight")

    async def wrong() -> None:
        await book("hotel")
        raise TypeError("wrong")

    async def trip() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wrong())
            group.create_task(leg())

    driver = started(trip)
    block = blocked(lambda: complete(driver, "hotel"))

    assert block.message == "TypeError: wrong"


def test_a_bug_of_the_workflow_itself_does_not_undo_the_sagas_of_its_tasks() -> None:
    async def leg() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            await book("flight")

    async def trip() -> None:
        asyncio.create_task(leg())  # noqa: RUF006
        await book("hotel")
        raise TypeError("wrong")

    driver = started(trip)
    block = blocked(lambda: complete(driver, "hotel"))

    assert block.message == "TypeError: wrong"


async def cleans_up(undo: Saga) -> None:
    undo(cancel, "flight")
    try:
        raise TypeError("wrong")
    finally:
        await book("the broom")


def test_a_bug_whose_cleanup_is_recorded_is_undone_like_any_failure() -> None:
    async def trip() -> None:
        async with saga() as undo:
            await cleans_up(undo)

    driver, traced = started(trip), started(trip, traced=True)
    assert blocked(lambda: complete(driver, "the broom")).kind == "bug"
    again = blocked(lambda: complete(traced, "the broom"))
    assert (again.kind, again.raised_earlier, again.goes_on) == ("bug", True, True)
    traced.record(again.commands)
    traced.traced = False
    traced.evict()

    assert scheduled(traced) == ["cancel flight"]
    end = blocked(lambda: complete(traced, "flight"))
    assert end.failure is not None and end.failure.type == "TypeError"


def test_a_bug_that_new_code_has_where_old_code_had_none_is_told_as_one() -> None:
    new_code: list[bool] = []

    async def trip() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            await book("flight")
            if new_code:
                undefined()  # type: ignore[name-defined]  # noqa: F821
            await book("hotel")

    driver = started(trip)
    complete(driver, "flight")
    new_code.append(True)

    assert blocked(driver.evict).message == "NameError: name 'undefined' is not defined"


def test_a_failure_of_what_undoes_blocks_the_run_and_names_it() -> None:
    async def call_off(what: str) -> None:
        await cancel(what)
        raise ValueError("no answer")

    async def trip() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            undo(call_off, "hotel")
            raise ConnectionError

    driver = started(trip)
    block = blocked(lambda: complete(driver, "hotel"))

    assert block.kind == "bug"
    assert block.message == "ValueError in compensation call_off: no answer"
    assert block.source == f"{__file__}:{call_off.__code__.co_firstlineno + 2}"


def test_letting_go_of_a_program_undoes_nothing_and_makes_no_noise(recwarn: pytest.WarningsRecorder) -> None:
    async def trip() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            await book("flight")

    driver = started(trip)
    driver.evict()
    complete(driver, "flight")
    gone = started(trip)
    fail(gone, "flight")
    gone.program.close()
    gc.collect()

    assert isinstance(driver.outcome, ev.RunCompleted)
    assert [str(warning.message) for warning in recwarn] == []
