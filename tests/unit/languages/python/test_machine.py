import asyncio
import contextlib
import contextvars
import gc
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from perdure.activities import activity
from perdure.errors import ActivityFailed, DefinitionError, NotDeterministic
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.commands import (
    CancelActivity,
    CompleteRun,
    EndCancelled,
    FailRun,
    ScheduleActivity,
    StartChild,
    StartTimer,
)
from perdure.kernel.family import child_run_id
from perdure.kernel.program import ProgramBlocked
from perdure.languages.python.guard import WorkflowInterrupted
from perdure.languages.python.machine import PythonLanguage, refuse_untested
from perdure.languages.python.tasks import Task
from perdure.options import Retry
from perdure.workflows import patched, sleep, workflow
from tests.unit.languages.python.workflow_driver import RUN_ID, START, Driver


@activity
async def step(n: int) -> int:
    return n


@activity(timeout="1m", retry=Retry(initial="2s", max_attempts=3))
def charge(amount: float, account: str = "main") -> str:
    return f"{account} {amount}"


ALL = (step, charge)


def started(fn: Callable[..., Any], *args: Any, activities: Any = ALL, traced: bool = False) -> Driver:
    return Driver(workflow(fn), activities, args, traced).start()


def blocked(act: Callable[[], Any]) -> ProgramBlocked:
    with pytest.raises(ProgramBlocked) as caught:
        act()
    return caught.value


# what is issued


def test_an_awaited_activity_is_scheduled_under_its_options() -> None:
    async def pay() -> str:
        return await charge(1.5, account="other")

    driver = started(pay)

    (command,) = driver.answers[0]
    assert isinstance(command, ScheduleActivity)
    assert (command.id, command.name, command.timeout_ns) == ("0:1", "charge", 60_000_000_000)
    assert command.retry is not None
    assert (command.retry.initial_ns, command.retry.max_attempts) == (2_000_000_000, 3)


def test_options_of_a_call_win_over_those_of_the_definition() -> None:
    async def pay() -> str:
        return await charge(1.5).with_options(timeout="5m")

    (command,) = started(pay).answers[0]

    assert isinstance(command, ScheduleActivity)
    assert command.timeout_ns == 300_000_000_000
    assert command.retry is not None and command.retry.max_attempts == 3


def test_a_completed_activity_gives_its_result_at_the_await() -> None:
    async def twice() -> int:
        return await step(1) + await step(2)

    driver = started(twice)
    driver.complete("0:1", 10)
    driver.complete("0:2", 20)

    assert driver.result == 30
    assert driver.ids() == [["ScheduleActivity 0:1"], ["ScheduleActivity 0:2"], ["CompleteRun"]]


def test_a_failed_activity_raises_at_the_await() -> None:
    async def careful() -> str:
        try:
            await step(1)
        except ActivityFailed as error:
            return f"{error.activity} {error.type} {error.message}"
        return ""

    driver = started(careful)
    driver.fail("0:1", ValueError("no such card"))

    assert driver.result == "step ValueError no such card"


def test_ids_are_paths_of_the_issuing_tasks() -> None:
    async def inner(n: int) -> None:
        await step(n)
        await asyncio.gather(step(n), step(n))

    async def outer() -> None:
        await asyncio.gather(inner(1), inner(2))
        await step(0)

    driver = started(outer)
    driver.complete("0.2:1", 1)

    assert driver.ids() == [
        ["ScheduleActivity 0.1:1", "ScheduleActivity 0.2:1"],
        ["ScheduleActivity 0.2.1:1", "ScheduleActivity 0.2.2:1"],
    ]


def test_a_callback_has_a_root_of_its_own() -> None:
    async def calling() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(lambda: loop.call_later(1, future.set_result, None))
        await future

    assert started(calling).ids() == [["StartTimer c:1"]]


@pytest.mark.parametrize(
    ("duration", "ns"), [(0.25, 250_000_000), (1 / 3, 333_333_000), (86_400 * 90, 7_776_000 * 10**9), (1e-9, 1_000)]
)
def test_a_sleep_is_a_timer(duration: float, ns: int) -> None:
    async def sleeping() -> None:
        await asyncio.sleep(duration)

    driver = started(sleeping)

    assert driver.answers == [[StartTimer("0:1", ns)]]
    driver.wake()
    assert driver.outcome.result.data == b"null"


def test_a_sleep_without_end_can_be_cancelled() -> None:
    async def sleeping() -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(math.inf)

    driver = started(sleeping)
    deadline, end = [command.duration_ns for command in driver.answers[0] if isinstance(command, StartTimer)]
    driver.wake()

    assert deadline == 5 * 10**9
    assert end > 500 * 365 * 86_400 * 10**9
    assert driver.outcome.failure.type == "TimeoutError"


def test_a_change_is_named_by_a_text() -> None:
    async def changed() -> None:
        patched(5)  # type: ignore[arg-type]

    assert "a text that names the change, not 5" in blocked(lambda: started(changed)).message


def test_sleep_takes_words() -> None:
    async def sleeping() -> None:
        await sleep("3 days")

    assert started(sleeping).answers == [[StartTimer("0:1", 259_200 * 10**9)]]


def test_sleep_zero_starts_no_timer() -> None:
    async def yielding() -> int:
        await asyncio.sleep(0)
        return 1

    assert started(yielding).ids() == [["CompleteRun"]]


def test_a_timer_started_and_cancelled_in_one_turn_leaves_nothing() -> None:
    async def quick() -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        await step(1)

    assert started(quick).ids() == [["ScheduleActivity 0:2"]]


def test_a_timer_not_needed_any_more_is_cancelled() -> None:
    async def in_time() -> int:
        async with asyncio.timeout(5):
            return await step(1)

    driver = started(in_time)
    driver.complete("0:2", 4)

    assert driver.ids() == [["StartTimer 0:1", "ScheduleActivity 0:2"], ["CancelTimer 0:1", "CompleteRun"]]


def test_a_timeout_cancels_the_activity_at_once_and_cleanup_runs() -> None:
    async def rolling_back() -> str:
        try:
            async with asyncio.timeout(300):
                await charge(1.0)
        except TimeoutError:
            await step(7)
            return "rolled back"
        return "charged"

    driver = started(rolling_back)
    driver.wake()
    driver.complete("0:3", 7)

    assert driver.ids()[1] == ["CancelActivity 0:2", "ScheduleActivity 0:3"]
    assert driver.result == "rolled back"


def test_an_activity_scheduled_and_cancelled_in_one_turn_leaves_nothing() -> None:
    async def hasty() -> None:
        task = asyncio.create_task(step(1))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    assert started(hasty).ids() == [["CompleteRun"]]


def test_wait_for_awaits_in_place() -> None:
    async def waiting() -> int:
        return await asyncio.wait_for(step(1), 5)

    assert started(waiting).ids() == [["StartTimer 0:1", "ScheduleActivity 0:2"]]


# time


def test_now_is_the_time_of_the_event_and_never_goes_back() -> None:
    seen: list[float] = []

    async def clocked() -> None:
        for _ in range(3):
            seen.append(workflow.now().timestamp())
            await step(1)

    driver = started(clocked)
    driver.now = START + 5 * 10**9
    driver.complete("0:1", 1)
    driver.now = START + 2 * 10**9
    driver.complete("0:2", 1)

    assert [moment - START / 1e9 for moment in seen] == [0, 5, 5]


# cancellation


def test_a_cancelled_run_cleans_up_with_activities_and_ends_cancelled() -> None:
    async def tidy() -> None:
        try:
            await step(1)
        finally:
            await step(2)

    driver = started(tidy)
    driver.cancel("operator")
    driver.complete("0:2", 2)

    assert driver.answers[1][0] == CancelActivity("0:1")
    assert driver.answers[2] == [EndCancelled("operator")]


def test_the_reason_is_the_message_of_the_cancellation() -> None:
    async def curious() -> str:
        try:
            await step(1)
        except asyncio.CancelledError as error:
            return str(error)
        return ""

    driver = started(curious)
    driver.cancel("too late")

    assert driver.result == "too late"


def test_a_workflow_may_refuse_to_be_cancelled() -> None:
    async def stubborn() -> int:
        with contextlib.suppress(asyncio.CancelledError):
            await step(1)
        return await step(2)

    driver = started(stubborn)
    driver.cancel()
    driver.complete("0:2", 3)

    assert driver.result == 3


def test_a_cancellation_nobody_asked_for_is_a_failure() -> None:
    async def suicidal() -> None:
        raise asyncio.CancelledError

    (command,) = started(suicidal).answers[0]

    assert isinstance(command, FailRun)
    assert "CancelledError" in command.failure.type


# how it ends


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_escapes_and_is_no_bug_fails_the_run(error: BaseException) -> None:
    async def failing() -> None:
        raise error

    (command,) = started(failing).answers[0]

    assert isinstance(command, FailRun)
    assert command.failure.type == type(error).__name__


def test_a_bug_blocks_with_its_line_and_the_commands_issued_before() -> None:
    async def buggy() -> None:
        asyncio.create_task(step(1))  # type: ignore[arg-type]  # noqa: RUF006
        await asyncio.sleep(0)
        undefined  # type: ignore[name-defined]  # noqa: B018, F821

    block = blocked(lambda: started(buggy))

    assert block.kind == "bug"
    assert "undefined" in block.message
    assert block.failure is not None and block.failure.type == "NameError"
    assert block.source == f"{__file__}:{buggy.__code__.co_firstlineno + 3}"
    assert [command.id for command in block.commands] == ["0.1:1"]  # type: ignore[union-attr]


def test_a_group_of_bugs_is_a_bug_and_one_with_a_failure_is_a_failure() -> None:
    async def grouped(errors: list[BaseException]) -> None:
        raise BaseExceptionGroup("both", errors)

    async def bugs() -> None:
        await grouped([TypeError(), NameError()])

    async def mixed() -> None:
        await grouped([TypeError(), ValueError()])

    assert blocked(lambda: started(bugs)).kind == "bug"
    assert isinstance(started(mixed).answers[0][0], FailRun)


def test_wrong_arguments_raise_at_the_line_of_the_call() -> None:
    async def careless() -> None:
        await step("one")  # type: ignore[arg-type]

    block = blocked(lambda: started(careless))

    assert block.kind == "bug"
    assert block.source == f"{__file__}:{careless.__code__.co_firstlineno + 1}"


def test_a_result_that_does_not_fit_blocks() -> None:
    async def wrong() -> int:
        return object()  # type: ignore[return-value]

    assert blocked(lambda: started(wrong)).kind == "bug"


def test_a_bug_whose_cleanup_was_committed_was_raised_earlier() -> None:
    async def cleaning() -> None:
        try:
            raise NameError("oops")
        finally:
            await step(1)

    untraced, traced = started(cleaning), started(cleaning, traced=True)

    assert not blocked(lambda: untraced.complete("0:1", 1)).raised_earlier
    assert blocked(lambda: traced.complete("0:1", 1)).raised_earlier


def test_a_traced_bug_of_the_same_turn_was_not_raised_earlier() -> None:
    async def late() -> None:
        try:
            await step(1)
        finally:
            raise TypeError("now")

    driver = started(late, traced=True)

    assert not blocked(lambda: driver.complete("0:1", 1)).raised_earlier
    assert sys.gettrace() is None or sys.gettrace().__module__ != "perdure.languages.python.tracing"


def test_a_child_task_that_raised_earlier_counts_in_a_group() -> None:
    async def child() -> None:
        raise TypeError("early")

    async def other() -> None:
        try:
            await step(1)
        finally:
            await step(2)

    async def grouping() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            group.create_task(child())

    driver = started(grouping, traced=True)
    ids = sorted(driver.run.pending)

    assert blocked(lambda: driver.complete(ids[0], 1)).raised_earlier


def test_waiting_for_what_can_never_happen_blocks_with_the_line() -> None:
    async def forgetful() -> None:
        await asyncio.Event().wait()

    block = blocked(lambda: started(forgetful))

    assert block.kind == "bug"
    assert "can never happen" in block.message
    assert block.source == f"{__file__}:{forgetful.__code__.co_firstlineno + 1}"


def test_an_interrupted_workflow_is_stuck_at_its_line() -> None:
    async def looping() -> None:
        raise WorkflowInterrupted

    block = blocked(lambda: started(looping))

    assert block.kind == "stuck"
    assert block.source == f"{__file__}:{looping.__code__.co_firstlineno + 1}"


def test_a_bug_in_a_callback_blocks() -> None:
    async def calling() -> None:
        asyncio.get_running_loop().call_soon(lambda: undefined)  # type: ignore[name-defined]  # noqa: F821
        await step(1)

    assert "callback" in blocked(lambda: started(calling)).message


# what cannot be known


def test_an_unknown_activity_blocks_with_the_line_to_add_even_if_swallowed() -> None:
    async def swallowing() -> None:
        try:
            await step(1)
        except Exception:  # noqa: BLE001
            await charge(1.0)

    block = blocked(lambda: started(swallowing, activities=(charge,)))

    assert block.kind == "unknown-activity"
    assert "'step'" in block.message
    assert block.hint == "add it: Engine(..., [..., step])"


def test_a_workflow_that_is_awaited_becomes_a_child_with_an_id_and_a_number_derived_from_its_parents() -> None:
    @workflow
    async def child(n: int) -> int:
        return n

    async def parent() -> int:
        return await child(7)

    driver = started(parent)
    (command,) = driver.answers[0]
    driver.tell(msg.ChildEnded("0:1", ev.Payload(b"14")))

    assert isinstance(command, StartChild)
    assert (command.workflow, command.input.data) == ("child", b"[7]")
    assert command.child_id == f"run-1/{RUN_ID.hex()[:8]}/0:1"
    assert command.run_id == child_run_id(RUN_ID, "0:1")
    assert isinstance(driver.run.outcome, ev.RunCompleted) and driver.run.outcome.result.data == b"14"


def test_an_input_that_cannot_be_read_blocks() -> None:
    async def typed(n: int) -> None: ...

    driver = Driver(workflow(typed), ALL, [1])
    started_event = ev.RunStarted(START, "typed", ev.Payload(b'["text"]'), b"", "")

    block = blocked(lambda: driver.program.advance(started_event, False))

    assert block.kind == "undecodable"
    assert "typed" in block.message


def test_a_result_that_cannot_be_read_blocks_naming_activity_and_step() -> None:
    async def swallowing() -> None:
        try:
            await step(1)
        except Exception:  # noqa: BLE001
            await step(2)

    driver = started(swallowing)
    bad = ev.ActivityCompleted(START, "0:1", ev.Payload(b'"text"'), START)

    block = blocked(lambda: driver.program.advance(bad, False))

    assert block.kind == "undecodable"
    assert "step" in block.message and "0:1" in block.message


def test_a_large_argument_sleeps_elsewhere_and_is_not_put_again_on_replay() -> None:
    @activity
    async def store(text: str) -> int:
        return len(text)

    async def big() -> int:
        return await store("x" * 100_000) + await store("y")

    driver = started(big, activities=(store,))
    puts = driver.shelf.puts
    driver.complete("0:1", 1)
    driver.evict()

    assert puts == driver.shelf.puts == 1
    assert driver.answers[0][0].input.ref  # type: ignore[union-attr]


def test_other_pythons_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"Python 3\.14 is not tested.*3\.11, 3\.12, 3\.13"):
        refuse_untested((3, 14))


@pytest.mark.parametrize(
    ("name", "word"),
    [("run_in_executor", "@activity def"), ("call_soon_threadsafe", "thread"), ("add_reader", "activity")],
)
def test_what_a_loop_must_not_do_says_what_to_write(name: str, word: str) -> None:
    async def reaching() -> None:
        getattr(asyncio.get_running_loop(), name)(None, print)

    block = blocked(lambda: started(reaching))

    assert block.failure is not None and block.failure.type.endswith(NotDeterministic.__name__)
    assert word in block.message


def test_to_thread_is_refused() -> None:
    async def threading() -> None:
        await asyncio.to_thread(print)

    assert "@activity def" in blocked(lambda: started(threading)).message


# the ends of it


def test_tasks_left_over_when_the_workflow_ends_are_unwound_without_commands() -> None:
    log: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            log.append("unwound")
            await step(1)
            log.append("never")

    async def quick() -> int:
        asyncio.create_task(background())  # noqa: RUF006
        return await step(0)

    driver = started(quick)
    driver.complete("0:1", 5)

    assert driver.ids()[1] == ["CompleteRun"]
    assert log == ["unwound"]


def test_closing_a_program_unwinds_it_without_commands_or_noise(recwarn: pytest.WarningsRecorder) -> None:
    log: list[str] = []

    async def child(n: int) -> None:
        try:
            await step(n)
        finally:
            log.append(f"out {n}")
            await asyncio.gather(step(n), child(n))

    async def numbers() -> Any:
        try:
            yield await step(1)
            yield 2
        finally:
            log.append("generator out")
            await step(3)

    async def parent() -> None:
        tasks = [asyncio.create_task(child(n)) for n in range(2)]
        async for _ in numbers():
            break
        await asyncio.wait(tasks)

    driver = started(parent)
    driver.complete("0:1", 1)
    driver.program.close()
    driver.program.close()
    gc.collect()

    assert log == ["out 1", "out 0", "generator out"]
    assert [str(warning.message) for warning in recwarn] == []


def test_errors_that_nobody_awaits_are_told_while_the_run_is_in_memory_and_not_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def failing() -> None:
        raise ValueError("nobody asks")

    async def careless() -> None:
        task = asyncio.create_task(failing())
        await asyncio.sleep(0)
        del task
        kept = asyncio.create_task(failing())
        await step(1)
        kept.cancel()

    driver = started(careless)
    gc.collect()
    told = len(caplog.records)
    driver.evict()
    driver.program.close()
    gc.collect()

    assert told == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_cleanup_that_is_cut_short_by_an_eviction_leaves_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    async def tidy_up() -> None:
        await step(2)

    async def tidy() -> None:
        try:
            await step(1)
        finally:
            try:
                await asyncio.wait_for(tidy_up(), 5)
            finally:
                await asyncio.wait_for(step(3), 5)

    driver = started(tidy)
    driver.evict()
    driver.program.close()
    gc.collect()

    assert [str(warning.message) for warning in recwarn] == []


def test_a_coroutine_that_will_not_end_is_given_up() -> None:
    rounds: list[int] = []

    async def immortal() -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except BaseException:  # noqa: BLE001
                rounds.append(1)

    async def parent() -> None:
        asyncio.create_task(immortal())  # noqa: RUF006
        await step(1)

    driver = started(parent)
    driver.program.close()
    driver.program.close()
    gc.collect()

    assert len(rounds) == 20


def test_the_collector_runs_no_workflow_code_of_an_evicted_program() -> None:
    log: list[str] = []

    async def cyclic() -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            await step(1)
        finally:
            log.append("out")

    driver = started(cyclic)
    driver.evict()
    seen = list(log)
    gc.collect()

    assert seen == ["out"] == log


def test_a_running_loop_is_left_as_it_was() -> None:
    async def main() -> tuple[Any, Any]:
        before = (asyncio.get_running_loop(), asyncio.current_task())
        started(lambda: None if False else _noop())  # type: ignore[arg-type]
        return before, (asyncio.get_running_loop(), asyncio.current_task())

    async def _noop() -> None:
        await step(1)

    async def through() -> tuple[Any, Any]:
        before = (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks())
        started(_noop)
        after = (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks())
        return before, after

    before, after = asyncio.run(through())

    assert before == after


def test_a_workflow_starts_in_an_empty_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    variable.set("of the engine")

    async def looking() -> str:
        return variable.get()

    driver = started(looking)

    assert driver.result == "nothing"


def test_tasks_are_known_to_nobody_but_their_loop() -> None:
    async def many() -> None:
        await asyncio.gather(*(step(n) for n in range(10)))

    driver = started(many)

    registered = getattr(asyncio.tasks, "_all_tasks", ()) or ()
    assert [task for task in list(registered) if isinstance(task, Task)] == []
    assert driver.run.is_open


def test_asyncio_elsewhere_is_asyncios_own() -> None:
    PythonLanguage(workflow(_nothing), {})

    async def main() -> list[str]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "a"))
        completed = [await one for one in asyncio.as_completed([asyncio.sleep(0, "b")])]
        waited = await asyncio.wait_for(asyncio.sleep(0, "c"), 1)
        types = [type(group), type(asyncio.Semaphore()), type(asyncio.Condition())]
        assert types == [asyncio.TaskGroup, asyncio.Semaphore, asyncio.Condition]
        return [task.result(), *completed, waited, *await asyncio.gather(asyncio.sleep(0, "d"))]

    assert asyncio.run(main()) == ["a", "b", "c", "d"]


async def _nothing() -> None: ...


def test_completion_is_the_last_command() -> None:
    async def ending() -> None:
        asyncio.create_task(step(1))  # type: ignore[arg-type]  # noqa: RUF006
        await asyncio.sleep(0)

    commands = started(ending).answers[0]

    assert [type(command) for command in commands] == [ScheduleActivity, CompleteRun]
