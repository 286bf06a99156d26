import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from perdure.activities import activity
from perdure.errors import DefinitionError, InvalidArguments, PayloadTooLarge
from perdure.kernel import events as ev
from perdure.kernel.commands import ScheduleActivity
from perdure.kernel.program import ProgramBlocked, replay
from perdure.workflows import Saga, patched, saga, workflow
from tests.unit.languages.python.workflow_driver import Driver


@activity
async def book(what: str) -> str:
    return what


@activity
async def cancel(what: str, why: str = "") -> None: ...


@activity
async def note(texts: list[str]) -> None: ...


@activity
async def unknown() -> None: ...


ALL = (book, cancel, note)


def started(fn: Callable[..., Any], *args: Any, traced: bool = False) -> Driver:
    return Driver(workflow(fn), ALL, args, traced).start()


def blocked(act: Callable[[], Any]) -> ProgramBlocked:
    with pytest.raises(ProgramBlocked) as caught:
        act()
    return caught.value


def scheduled(driver: Driver, answer: int = -1) -> list[str]:
    """What the program asked for last, as texts: the activity and its first argument."""
    commands = [command for command in driver.answers[answer] if isinstance(command, ScheduleActivity)]
    return [f"{command.name} {first_argument(command.input)}" for command in commands]


def first_argument(input: ev.Payload) -> Any:
    return Driver.arguments(input)[0]


def complete(driver: Driver, *what: str) -> None:
    """Complete the pending steps with these first arguments."""
    for each in what:
        (id,) = [id for id, step in driver.run.pending.items() if first_argument(step.input) == each]
        driver.complete(id, each if driver.run.pending[id].name == "book" else None)


def fail(driver: Driver, what: str) -> None:
    (id,) = [id for id, step in driver.run.pending.items() if first_argument(step.input) == what]
    driver.fail(id, ValueError(f"no {what}"))


def failure_of(driver: Driver) -> str:
    assert isinstance(driver.outcome, ev.RunFailed), driver.outcome
    return driver.outcome.failure.type.rpartition(".")[2]


def faithful(driver: Driver) -> bool:
    """Whether a fresh program answers each event of the history in the same way."""
    return list(replay(driver.load(), driver.history)) == []


async def flight_and_hotel(undo: Saga) -> None:
    undo(cancel, "flight")
    await book("flight")
    undo(cancel, "hotel")
    await book("hotel")


# what is undone, and how


def test_a_block_that_succeeds_undoes_nothing() -> None:
    async def trip() -> str:
        async with saga() as undo:
            await flight_and_hotel(undo)
        return "booked"

    driver = started(trip)
    complete(driver, "flight", "hotel")

    assert driver.result == "booked"
    assert [type(event).__name__ for event in driver.history].count("ActivityScheduled") == 2


def test_a_block_that_fails_is_undone_backwards_one_step_after_the_other_and_raises_again() -> None:
    async def trip() -> None:
        async with saga() as undo:
            await flight_and_hotel(undo)
            await book("car")

    driver = started(trip)
    complete(driver, "flight", "hotel")
    fail(driver, "car")

    assert scheduled(driver) == ["cancel hotel"]
    complete(driver, "hotel")
    assert scheduled(driver) == ["cancel flight"]
    complete(driver, "flight")
    assert failure_of(driver) == "ActivityFailed"
    assert faithful(driver)


def test_what_is_raised_again_is_the_same_exception() -> None:
    async def trip() -> bool:
        original = ValueError("no")
        try:
            async with saga() as undo:
                undo(cancel, "flight")
                raise original
        except ValueError as error:
            return error is original
        return False

    driver = started(trip)
    complete(driver, "flight")

    assert driver.result is True


def test_a_parallel_saga_undoes_everything_at_once() -> None:
    async def trip() -> None:
        async with saga(parallel=True) as undo:
            await flight_and_hotel(undo)
            raise ValueError

    driver = started(trip)
    complete(driver, "flight", "hotel")

    assert scheduled(driver) == ["cancel hotel", "cancel flight"]
    complete(driver, "flight", "hotel")
    assert failure_of(driver) == "ValueError"
    assert faithful(driver)


async def raises() -> None:
    raise ValueError


async def raises_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(book("slow"))
        group.create_task(raises())


async def runs_out_of_time() -> None:
    async with asyncio.timeout(1):
        await book("slow")


async def is_cancelled() -> None:
    task = asyncio.create_task(book("slow"))
    await asyncio.sleep(1)
    task.cancel()
    await task


async def ends_the_process() -> None:
    raise SystemExit(3)


async def raises_half_a_bug() -> None:
    raise ExceptionGroup("both", [ValueError(), TypeError()])


@pytest.mark.parametrize(
    ("fails", "outcome"),
    [
        (raises, "ValueError"),
        (raises_a_group, "ExceptionGroup"),
        (runs_out_of_time, "TimeoutError"),
        (is_cancelled, "CancelledError"),
        (ends_the_process, "SystemExit"),
        (raises_half_a_bug, "ExceptionGroup"),
    ],
)
def test_whatever_leaves_the_block_undoes_it(fails: Callable[[], Any], outcome: str) -> None:
    async def trip() -> None:
        async with saga() as undo:
            undo(cancel, "flight")
            await fails()

    driver = started(trip)
    if driver.run.timers:
        driver.wake()

    assert scheduled(driver) == ["cancel flight"]
    complete(driver, "flight")
    assert failure_of(driver) == outcome
    assert faithful(driver)


def test_a_block_within_a_generator_that_is_closed_is_undone() -> None:
    async def legs() -> Any:
        async with saga() as undo:
            undo(cancel, "flight")
            yield "flight"

    async def trip() -> str:
        generator = legs()
        await anext(generator)
        await generator.aclose()
        return "closed"

    driver = started(trip)

    assert scheduled(driver) == ["cancel flight"]
    complete(driver, "flight")
    assert driver.result == "closed"


def test_what_was_discarded_is_not_undone() -> None:
    async def trip() -> None:
        async with saga() as undo:
            flight = undo(cancel, "flight")
            undo(cancel, "hotel")
            flight.discard()
            flight.discard()
            raise ValueError

    driver = started(trip)
    complete(driver, "hotel")

    assert failure_of(driver) == "ValueError"


def test_a_call_may_have_options_of_its_own() -> None:
    async def trip() -> None:
        async with saga() as undo:
            undo(cancel("flight", why="rain").with_options(timeout="1m"))
            raise ValueError

    (command,) = started(trip).answers[0]

    assert isinstance(command, ScheduleActivity)
    assert command.timeout_ns == 60_000_000_000
    assert Driver.arguments(command.input) == ["flight", "rain"]


def test_a_function_that_awaits_activities_may_undo() -> None:
    class Office:
        async def call_off(self, *whats: str) -> None:
            for what in whats:
                await cancel(what)

    async def trip() -> None:
        async with saga() as undo:
            undo(Office().call_off, "flight", "hotel")
            raise ValueError

    driver = started(trip)

    assert scheduled(driver) == ["cancel flight"]
    complete(driver, "flight")
    assert scheduled(driver) == ["cancel hotel"]
    complete(driver, "hotel")
    assert failure_of(driver) == "ValueError"


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


# what cannot be registered


def plain() -> None: ...


@workflow
async def child() -> None: ...


async def function(what: str) -> None: ...


@pytest.mark.parametrize(
    ("register", "kind", "words"),
    [
        (lambda undo: undo(cancel, 7), InvalidArguments, "cancel"),
        (lambda undo: undo(cancel), InvalidArguments, "what"),
        (lambda undo: undo(cancel, "flight", wy="rain"), InvalidArguments, "wy"),
        (lambda undo: undo(function), InvalidArguments, "undo(function, ...): missing a required argument: 'what'"),
        (lambda undo: undo(cancel("flight"), "rain"), DefinitionError, "further arguments"),
        (lambda undo: undo(plain), DefinitionError, "with an @activity, or with an async def function"),
        (lambda undo: undo(lambda: cancel("flight")), DefinitionError, "write: undo(refund, transaction)"),
        (lambda undo: undo(None), DefinitionError, "undo() cannot run None"),
        (lambda undo: undo(function("flight")), DefinitionError, "has its arguments already"),
        (lambda undo: undo(child), DefinitionError, "child workflows come later"),
        (lambda undo: undo(child()), DefinitionError, "child workflows come later"),
        (lambda undo: undo(cancel, "x" * 20_000_000), PayloadTooLarge, "the arguments of activity cancel"),
    ],
)
def test_what_cannot_be_undone_is_refused_when_it_is_registered(
    register: Callable[[Any], Any], kind: type[Exception], words: str, recwarn: pytest.WarningsRecorder
) -> None:
    async def trip() -> list[str]:
        async with saga() as undo:
            try:
                register(undo)
            except kind as error:
                return [str(error)]
        return []

    (message,) = started(trip).result
    gc.collect()

    assert words in message
    assert [str(warning.message) for warning in recwarn] == []


def test_an_activity_that_the_engine_does_not_have_blocks_when_it_is_registered() -> None:
    async def trip() -> None:
        async with saga() as undo:
            undo(unknown)

    assert blocked(lambda: started(trip)).kind == "unknown-activity"


def test_arguments_are_kept_as_they_are_when_they_are_registered() -> None:
    async def trip() -> None:
        async with saga() as undo:
            whats = ["flight"]
            undo(note, whats)
            whats.append("hotel")
            raise ValueError

    (command,) = started(trip).answers[0]

    assert isinstance(command, ScheduleActivity)
    assert first_argument(command.input) == ["flight"]


def test_large_arguments_are_stored_only_if_they_are_needed() -> None:
    async def trip(fails: bool) -> None:
        async with saga() as undo:
            undo(cancel, "x" * 100_000)
            if fails:
                raise ValueError

    assert [started(trip, fails).shelf.puts for fails in (False, True)] == [0, 1]


def test_registering_after_the_end_blocks_the_run_even_if_the_error_is_swallowed() -> None:
    async def trip() -> str:
        async with saga() as undo:
            await book("flight")
        try:
            undo(cancel, "flight")
        except DefinitionError:
            await book("hotel")
        return "never"

    driver = started(trip)
    block = blocked(lambda: complete(driver, "flight"))

    assert "undo() was called when its saga had ended" in block.message


def test_a_saga_is_entered_once_and_registers_only_when_it_is_entered() -> None:
    async def trip() -> list[str]:
        told: list[str] = []
        again = saga()
        try:
            again(cancel, "flight")
        except DefinitionError as error:
            told.append(str(error))
        async with again:
            pass
        try:
            async with again:
                pass
        except DefinitionError as error:
            told.append(str(error))
        return told

    assert started(trip).result == [
        "undo() has no block whose steps it could undo; write: async with saga() as undo",
        "a saga is entered once; make another one: async with saga() as undo",
    ]


def test_parallel_is_true_or_false() -> None:
    with pytest.raises(DefinitionError, match="parallel must be True or False, not 'yes'"):
        saga(parallel="yes")  # type: ignore[arg-type]


# without an engine


def outside(undone: list[str], fails: BaseException, undoing: Callable[..., Any], parallel: bool = False) -> Any:
    @activity
    async def undo_it(what: str) -> None:
        undone.append(what)

    async def trip() -> None:
        async with saga(parallel=parallel) as undo:
            undo(undo_it, "flight")
            undo(undoing, "hotel")
            raise fails

    return trip()


@pytest.mark.parametrize("parallel", [False, True])
def test_a_saga_works_where_there_is_no_engine(parallel: bool) -> None:
    undone: list[str] = []

    async def by_hand(what: str) -> None:
        undone.append(what)

    with pytest.raises(ValueError, match="rain"):
        asyncio.run(outside(undone, ValueError("rain"), by_hand, parallel))
    with pytest.raises(TypeError):
        asyncio.run(outside(undone, TypeError(), by_hand, parallel))

    assert undone == ["hotel", "flight"]


def test_where_there_is_no_engine_a_compensation_that_fails_is_raised_with_what_it_was_to_undo() -> None:
    async def fails(what: str) -> None:
        raise KeyError(what)

    with pytest.raises(KeyError) as caught:
        asyncio.run(outside([], ValueError("rain"), fails, True))

    assert isinstance(caught.value.__cause__, ValueError)


def test_where_there_is_no_engine_a_cancellation_does_not_interrupt_what_undoes() -> None:
    undone: list[str] = []
    raised: list[type] = []

    async def main() -> None:
        released = asyncio.Event()

        async def by_hand() -> None:
            await released.wait()
            undone.append("flight")

        async def trip() -> None:
            async with saga() as undo:
                undo(by_hand)
                raise ValueError

        task = asyncio.create_task(trip())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        released.set()
        await asyncio.wait([task])
        raised.append(type(task.exception()))

    asyncio.run(main())

    assert (undone, raised) == (["flight"], [ValueError])


def test_a_patch_within_what_undoes_replays() -> None:
    async def call_off() -> None:
        if patched("politely"):
            await note(["sorry"])
        await cancel("flight")

    async def trip() -> None:
        async with saga() as undo:
            undo(call_off)
            raise ValueError

    driver = started(trip)
    driver.complete("0.1:1")
    driver.evict()
    complete(driver, "flight")

    assert failure_of(driver) == "ValueError"
    assert faithful(driver)
