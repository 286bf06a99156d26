"""What a saga undoes and how, what can be registered, and what it does where there is no engine."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from perdure.activities import activity
from perdure.errors import DefinitionError, InvalidArguments, PayloadTooLarge
from perdure.kernel.commands import ScheduleActivity
from perdure.workflows import patched, saga, workflow
from tests.unit.languages.python.trips import (
    blocked,
    book,
    cancel,
    complete,
    fail,
    failure_of,
    faithful,
    first_argument,
    flight_and_hotel,
    note,
    scheduled,
    started,
    unknown,
)
from tests.unit.languages.python.workflow_driver import Driver

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
        (lambda undo: undo(child), DefinitionError, "cannot be a compensation by itself"),
        (lambda undo: undo(child()), DefinitionError, "cannot be a compensation by itself"),
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
