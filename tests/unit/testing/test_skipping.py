"""Time that is skipped: days pass in milliseconds, in their order, and only while somebody waits for them."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perdure import (
    ActivityTimedOut,
    DefinitionError,
    Engine,
    EngineNotRunning,
    Retry,
    RunCancelled,
    WaitedTooLong,
    activity,
    sleep,
    workflow,
)
from perdure.testing import FaultAt, TestEngine, open_store
from perdure.testing.skipping import SkippingWorld

START = datetime(2024, 2, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@activity
async def note(what: str) -> str:
    return what


@activity(retry=Retry(initial="1h", coefficient=2, maximum="1 day", max_attempts=3))
async def shaky() -> int:
    if activity.info().attempt < 3:
        raise ConnectionError("not yet")
    return activity.info().attempt


@activity
async def asks_for_patience() -> int:
    if activity.info().attempt == 1:
        raise activity.RetryAfter("12 hours", "too busy")
    return activity.info().attempt


@activity(timeout="2h", retry=1)
async def slow() -> str:
    return "never asked"


@workflow
async def waits(days: float) -> datetime:
    await sleep(timedelta(days=days))
    return workflow.now()


@workflow
async def reminds(every: str, times: int) -> list[str]:
    noted = []
    for n in range(times):
        await sleep(every)
        noted.append(await note(f"{n}: {workflow.now():%m-%d}"))
    return noted


@workflow
async def tries() -> int:
    return await shaky()


@workflow
async def is_patient() -> int:
    return await asks_for_patience()


@workflow
async def gives_up() -> str:
    try:
        return await slow()
    except ActivityTimedOut as late:
        return late.code


@workflow
async def within_a_day() -> str:
    try:
        async with asyncio.timeout(86_400):
            return await slow().with_options(timeout=None)
    except TimeoutError:
        return "rolled back"


ALL = [waits, reminds, tries, is_patient, gives_up, within_a_day, note, shaky, asks_for_patience, slow]


def near(found: datetime, wanted: datetime) -> bool:
    """Time passes between the jumps, too."""
    return wanted <= found < wanted + 600 * SECOND


def test_a_sleep_of_days_passes_at_once_for_whoever_waits_for_the_result() -> None:
    with TestEngine(ALL, start=START) as engine:
        woken = engine.run(waits(3)).wait()

        assert near(woken, START + 3 * DAY)
        assert near(engine.now(), woken)


def test_a_coroutine_waits_as_well() -> None:
    async def main() -> list[str]:
        async with TestEngine(ALL, start=START) as engine:
            handle = await engine.start(reminds("1 day", 2))
            return await handle.result()

    assert asyncio.run(main()) == ["0: 02-29", "1: 03-01"]


def test_runs_that_sleep_wake_in_the_order_of_their_time() -> None:
    with TestEngine(ALL, start=START) as engine:
        handles = [engine.start(waits(days)).wait() for days in (3, 1, 2, 0.5)]
        woken = [handle.result().wait() for handle in handles]

        assert all(near(at, START + days * DAY) for at, days in zip(woken, (3, 1, 2, 0.5), strict=True))


def test_nothing_is_skipped_while_nobody_waits() -> None:
    with TestEngine(ALL, start=START) as engine:
        handle = engine.start(waits(3)).wait()
        assert near(engine.now(), START)

        handle.cancel("changed my mind").wait()

        with pytest.raises(RunCancelled):
            handle.result().wait()
        assert near(engine.now(), START)


def test_a_test_moves_the_clock_by_hand() -> None:
    with TestEngine(ALL, start=START) as engine:
        handle = engine.start(reminds("1 day", 3)).wait()

        engine.sleep("36h").wait()

        assert [call.arguments for call in engine.calls(note)] == [{"what": "0: 02-29"}]
        assert handle.describe().wait().status == "waiting"
        assert near(engine.now(), START + 1.5 * DAY)


def test_what_is_due_when_a_sleep_ends_is_done_then() -> None:
    with TestEngine(ALL, start=START) as engine:
        handle = engine.start(reminds("1 day", 10)).wait()

        engine.sleep(10 * DAY + SECOND).wait()

        assert len(engine.calls(note)) == 10
        assert handle.describe().wait().status == "completed"


def test_several_sleeps_end_each_in_its_time() -> None:
    async def main() -> None:
        async with TestEngine(ALL, start=START) as engine:
            ended: list[str] = []

            async def for_days(days: int) -> None:
                await engine.sleep(days * DAY)
                ended.append(f"{engine.now():%m-%d}")

            await asyncio.gather(*(for_days(days) for days in (3, 1, 2)))

            assert ended == ["02-29", "03-01", "03-02"]

    asyncio.run(main())


def test_the_delays_between_attempts_are_skipped() -> None:
    with TestEngine(ALL, start=START) as engine:
        assert engine.run(tries()).wait() == 3

        assert near(engine.now(), START + timedelta(hours=1 + 2))


def test_a_delay_that_an_activity_asks_for_is_skipped() -> None:
    with TestEngine(ALL, start=START) as engine:
        assert engine.run(is_patient()).wait() == 2

        assert near(engine.now(), START + timedelta(hours=12))


def test_an_attempt_can_take_its_time_on_the_engines_clock() -> None:
    async def takes_an_hour() -> str:
        await engine.sleep("1h")
        return "done"

    with TestEngine(ALL, activities={slow: takes_an_hour}, start=START) as engine:
        assert engine.run(gives_up()).wait() == "done"

        assert near(engine.now(), START + timedelta(hours=1))


@pytest.mark.parametrize("plain", [False, True], ids=["async", "in a thread"])
def test_an_attempt_that_takes_too_long_times_out_on_the_engines_clock(plain: bool) -> None:
    async def takes_too_long() -> str:
        await engine.sleep("3h")
        return "too late"

    def blocks_too_long() -> str:
        engine.sleep("3h").wait()
        return "too late"

    fake = blocks_too_long if plain else takes_too_long
    with TestEngine(ALL, activities={slow: fake}, start=START) as engine:
        assert engine.run(gives_up()).wait() == "activity-timed-out"
        assert near(engine.now(), START + timedelta(hours=2))


def test_a_timeout_of_a_workflow_comes_on_the_engines_clock() -> None:
    async def hangs() -> str:
        await engine.sleep("1000 days")
        return "never"

    with TestEngine(ALL, activities={slow: hangs}, start=START) as engine:
        assert engine.run(within_a_day()).wait() == "rolled back"

        assert near(engine.now(), START + DAY)


def test_time_passes_as_everywhere_while_an_attempt_runs() -> None:
    began, goes_on = threading.Event(), threading.Event()

    def is_held_up(what: str) -> str:
        began.set()
        goes_on.wait(600)
        return what

    with TestEngine(ALL, activities={note: is_held_up}, start=START) as engine:
        sleeps = engine.start(waits(3)).wait()
        works = engine.start(reminds("1s", 1)).wait()
        waiting = threading.Thread(target=lambda: works.result().wait())
        waiting.start()
        began.wait(600)
        held_up_at = engine.now()
        assert held_up_at < START + DAY
        goes_on.set()
        waiting.join(600)

        assert near(sleeps.result().wait(), START + 3 * DAY)


def test_a_sleep_does_not_wait_for_ever_for_an_attempt_that_hangs() -> None:
    goes_on = threading.Event()

    def hangs(what: str) -> str:
        goes_on.wait(600)
        return what

    with TestEngine(ALL, activities={note: hangs}, start=START) as engine:
        engine.start(reminds("1s", 1)).wait()

        engine.sleep("900ms").wait()
        engine.sleep("200ms").wait()

        assert near(engine.now(), START)
        goes_on.set()


def test_the_clock_is_that_of_the_runs_in_a_description_too() -> None:
    with TestEngine(ALL, start=START) as engine:
        handle = engine.start(waits(30)).wait()
        engine.sleep("10 days").wait()

        assert handle.describe().wait().duration == pytest.approx(10 * 86_400, abs=600)


def test_time_is_skipped_on_a_database_in_a_file(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/runs.db"
    with TestEngine(ALL, store=address, start=START) as engine:
        engine.start(waits(365), id="a year").wait()
        engine.sleep("100 days").wait()

    with TestEngine(ALL, store=address, start=START + 100 * DAY) as engine:
        assert near(engine.handle("a year", waits).result().wait(), START + 365 * DAY)


def test_the_clock_does_not_jump_over_time_limits_of_attempts_that_have_ended() -> None:
    with TestEngine(ALL, activities={slow: lambda: "quick"}, start=START) as engine:
        assert engine.run(gives_up()).wait() == "quick"
        assert engine.run(waits(1)).wait() < START + DAY + 600 * SECOND


def test_an_engine_that_is_closed_wakes_whoever_sleeps() -> None:
    async def main() -> None:
        async with TestEngine(ALL) as engine:
            began = asyncio.Event()

            async def hangs(what: str) -> str:
                began.set()
                await asyncio.sleep(3_600)
                return what

            engine.replace(note, hangs)
            await engine.start(reminds("1s", 1))
            sleeping = asyncio.create_task(engine.sleep("1 hour"))
            await began.wait()

        with pytest.raises(EngineNotRunning, match="closed before the sleep was over"):
            await sleeping

    asyncio.run(main())


def test_a_fault_of_the_engine_wakes_whoever_sleeps() -> None:
    store = open_store("memory://", faults=FaultAt(2, "full"))
    with TestEngine(ALL, store=store) as engine:
        engine.start(waits(1)).wait()

        with pytest.raises(EngineNotRunning, match="the engine has stopped"):
            engine.sleep("2 days").wait()


def test_a_sleep_after_the_end_is_refused() -> None:
    with TestEngine(ALL) as engine:
        pass

    with pytest.raises(EngineNotRunning, match="the engine is closed; use it within its block"):
        engine.sleep("1h").wait()


def test_an_engine_that_stands_by_cannot_move_the_clock() -> None:
    store = "memory://stood-by"
    refused = pytest.raises(EngineNotRunning, match="another engine owns the database")
    with Engine(store, ALL), TestEngine(ALL, store=store) as engine, refused:
        engine.sleep("1h").wait()


@pytest.mark.parametrize("start", [datetime(2024, 1, 1), 1_700_000_000])
def test_a_start_without_a_zone_is_refused(start: object) -> None:
    with pytest.raises(DefinitionError, match=r"start is a time with a zone, as in datetime\(..., tzinfo=UTC\)"):
        TestEngine(ALL, start=start)  # type: ignore[arg-type]


class Working:
    """An owner for which one attempt runs, and never ends."""

    def at_work(self) -> list[tuple[int, str, int]]:
        return [(2, "0:1", 1)]

    def name(self, attempt: tuple[int, str, int]) -> str:
        return "attempt 1 of step 0:1 of run 'r'"


class Told:
    """Keeps the answer."""

    def __init__(self) -> None:
        self.loop = None
        self.error: BaseException | None = None

    def receive(self, value: object, error: BaseException | None) -> None:
        self.error = error


def test_whoever_sleeps_is_told_that_an_attempt_does_not_end() -> None:
    world, told = SkippingWorld(stuck_seconds=0), Told()
    world.sleep(int(3_600e9), told, lambda: None, attempt=False)

    world.rest(1.0, Working())  # type: ignore[arg-type]  what is seen first may be over when it is looked at again
    world.rest(1.0, Working())  # type: ignore[arg-type]

    assert isinstance(told.error, WaitedTooLong)
    assert "attempt 1 of step 0:1 of run 'r' runs for 0 s of real time; give its activity a stand-in" in str(told.error)


def test_the_clock_never_goes_back() -> None:
    with TestEngine(ALL, start=START) as engine:
        shown = [engine.now()]
        for days in (1, 0.1, 3):
            engine.run(waits(days)).wait()
            shown.append(engine.now())

        assert shown == sorted(shown)
