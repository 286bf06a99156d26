"""An engine's life: entered, used, closed with runs in flight; several at once; many runs; few slots."""

import asyncio
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, DefinitionError, Engine, EngineNotRunning, RunTerminated, WaitedTooLong, activity, workflow
from perdure.stores.memory import MemoryStore
from perdure.testing import FaultAt
from tests.engine.clocks import StandingClock


@activity
async def double(n: int) -> int:
    return 2 * n


@activity
def in_thread(n: int) -> int:
    return 2 * n


@workflow
async def doubled(n: int) -> int:
    return await double(n)


@workflow
async def in_threads(n: int) -> int:
    return sum(await asyncio.gather(*[in_thread(each) for each in range(n)]))


@workflow
async def waits(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "woken"


@workflow
async def both(n: int) -> int:
    return await double(await in_thread(n))


ALL = [doubled, in_threads, waits, both, double, in_thread]


class Gate:
    """Where attempts wait until the test lets them through; counts how many wait, and how many ever did at once."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.crowded = asyncio.Event()
        self.inside = 0
        self.most = 0

    async def through(self, crowd: int = 1) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside >= crowd:
            self.crowded.set()
        await self.opened.wait()
        self.inside -= 1


async def test_an_engine_in_async_with_runs_activities_on_the_loop_that_entered_it():
    seen: list[asyncio.AbstractEventLoop] = []

    @activity
    async def look() -> None:
        seen.append(asyncio.get_running_loop())

    @workflow
    async def looks() -> None:
        await look()

    async with Engine("memory://", [looks, look]) as engine:
        await engine.run(looks())

    assert seen == [asyncio.get_running_loop()]


def test_an_engine_in_with_needs_no_loop():
    with Engine("memory://", ALL) as engine:
        assert engine.run(both(4)).wait() == 16
        assert engine.start(both(1), id="a").wait().result().wait() == 4


async def test_wait_on_a_loops_own_thread_is_refused_with_what_to_write():
    async with Engine("memory://", ALL) as engine:
        answer = engine.run(doubled(1), id="a")
        with pytest.raises(RuntimeError, match=r"would stop the event loop of this thread; write: await run\(...\)"):
            answer.wait()

        assert await answer == 2


async def test_with_inside_of_a_loop_is_refused_with_what_to_write():
    with pytest.raises(EngineNotRunning) as refused, Engine("memory://", ALL):
        pass

    assert str(refused.value) == "a loop runs on this thread; write: async with Engine(...) as engine"


def test_an_engine_that_was_not_entered_says_so():
    with pytest.raises(EngineNotRunning, match="the engine has not been entered"):
        Engine("memory://", ALL).run(doubled(1))


def test_an_engine_can_be_entered_once():
    engine = Engine("memory://", ALL)
    with engine:
        pass

    with pytest.raises(EngineNotRunning, match="this engine was entered before; make another one"), engine:
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "Engine: concurrency must be a whole number from 1 on, not 0"),
        ({"threads": "two"}, "Engine: threads must be a whole number from 1 on, not 'two'"),
        ({"threads": True}, "Engine: threads must be a whole number from 1 on, not True"),
        ({"drain": "soon"}, "Engine: drain: 'soon' is not a duration"),
        ({"payload_max_bytes": 10}, "Engine: payload_max_bytes must be a whole number from 1,024 on, not 10"),
        ({"stuck_after": "1s", "kill_when_hung": "1s"}, "Engine: kill_when_hung must be longer than stuck_after"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str):
    with pytest.raises(DefinitionError) as refused:
        Engine("memory://", ALL, **options)

    assert str(refused.value).startswith(message)


async def test_verbs_after_the_block_say_that_the_engine_is_closed():
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(doubled(1), id="a")

    for answer in (lambda: engine.run(doubled(1)), handle.result, handle.describe, handle.cancel):
        with pytest.raises(EngineNotRunning, match="the engine is closed"):
            await answer()


async def test_several_engines_live_in_one_process_on_their_own_stores():
    async with Engine("memory://", ALL) as one, Engine("memory://", ALL) as other:
        results = await asyncio.gather(one.run(doubled(1), id="a"), other.run(doubled(2), id="a"))
        counts = [await one.count(), await other.count()]

    assert results == [2, 4]
    assert counts == [1, 1]


async def test_a_second_engine_of_the_process_stands_by_on_the_same_store_and_takes_over():
    address = "memory://shared-by-two"
    async with AsyncExitStack() as longer:
        async with Engine(address, ALL) as owner:
            standby = await longer.enter_async_context(Engine(address, ALL))
            owning = (owner.owns, standby.owns)
            first = await standby.run(doubled(1), id="a")
        second = await standby.run(doubled(2), id="b")

        assert owning == (True, False)
        assert (first, second) == (2, 4)
        assert standby.owns


async def test_what_is_in_flight_when_the_engine_is_closed_has_time_to_finish(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    gate = Gate()

    @activity
    async def slow() -> str:
        await gate.through()
        return "finished"

    @workflow
    async def twice() -> str:
        return await slow() + await slow()

    async with Engine(address, [twice, slow]) as engine:
        handle = await engine.start(twice(), id="a")
        await gate.crowded.wait()
        opening = asyncio.ensure_future(open_once_it_closes(engine, gate))
    async with Client(address) as client:
        steps = (await client.handle("a").describe()).steps
    async with Engine(address, [twice, slow]) as engine:
        result = await engine.handle("a").result()

    assert (handle.id, opening.done()) == ("a", True)
    assert [step.state for step in steps] in (["completed", "scheduled"], ["completed", "completed"])
    assert result == "finishedfinished"


async def open_once_it_closes(engine: Engine, gate: Gate) -> None:
    while not engine._member._closing.is_set():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)  # it takes on nothing new any more, unless the machine is very slow
    gate.opened.set()


async def test_what_does_not_finish_in_time_is_cancelled_and_made_again_by_the_next_engine(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    cancelled: list[int] = []
    begun = asyncio.Event()

    @activity
    async def stubborn() -> int:
        attempt = activity.info().attempt
        begun.set()
        if attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(attempt)
                raise
        return attempt

    @workflow
    async def run_it() -> int:
        return await stubborn()

    async with Engine(address, [run_it, stubborn], drain=0) as engine:
        await engine.start(run_it(), id="a")
        await begun.wait()
    await asyncio.sleep(0)
    async with Engine(address, [run_it, stubborn]) as engine:
        assert await engine.handle("a").result() == 2

    assert cancelled == [1]


async def test_who_waits_for_a_result_when_the_engine_is_closed_is_told_that_the_run_goes_on():
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(waits(3600), id="a")
        waiting = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0)

    with pytest.raises(EngineNotRunning) as told:
        await waiting
    assert str(told.value) == (
        "the engine was closed before the run ended; the run goes on when an engine is started again"
    )


async def test_a_cancellation_that_comes_while_the_engine_is_closed_hurries_it_and_is_not_swallowed():
    begun = asyncio.Event()

    @activity
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    @workflow
    async def run_it() -> None:
        await slow()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(300) as deadline:
            async with Engine("memory://", [run_it, slow], drain="60s") as engine:
                await engine.start(run_it())
                await begun.wait()
                deadline.reschedule(asyncio.get_running_loop().time() + 0.05)


async def test_an_error_inside_of_the_block_closes_at_once():
    begun = asyncio.Event()

    @activity
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    @workflow
    async def run_it() -> None:
        await slow()

    started = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        async with Engine("memory://", [run_it, slow], drain="1h") as engine:
            await engine.start(run_it())
            await begun.wait()
            raise ZeroDivisionError

    assert time.monotonic() - started < 600


async def test_two_thousand_runs_can_be_started_at_once():
    async with Engine("memory://", ALL) as engine:
        results = await asyncio.gather(*[engine.run(doubled(n)) for n in range(2_000)])

    assert results == [2 * n for n in range(2_000)]


async def test_runs_beyond_the_bound_on_those_awake_wait_and_complete():
    async with Engine("memory://", ALL, awake_runs=3) as engine:
        results = await asyncio.gather(*[engine.run(both(n)) for n in range(50)])

    assert results == [4 * n for n in range(50)]


async def test_runs_that_a_dead_engine_left_in_motion_wait_for_room_and_complete(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    gate = Gate()

    @activity
    async def pass_gate(n: int) -> int:
        await gate.through(30)
        return n

    @workflow
    async def passes(n: int) -> int:
        return await pass_gate(n)

    async with Engine(address, [passes, pass_gate], drain=0) as engine:
        for n in range(30):
            await engine.start(passes(n), id=f"p-{n}")
        await gate.crowded.wait()
    gate.opened.set()
    async with Engine(address, [passes, pass_gate], awake_runs=2) as engine:
        results = await asyncio.gather(*[engine.handle(f"p-{n}").result() for n in range(30)])

    assert results == list(range(30))


async def test_the_same_id_started_many_times_at_once_is_one_run():
    async with Engine("memory://", ALL) as engine, Client(engine.store) as client:
        answers = [engine.run(doubled(4), id="a") for _ in range(20)]
        answers += [client.run("doubled", [4], id="a") for _ in range(20)]

        assert await asyncio.gather(*answers) == [8] * 40
        assert await engine.count() == 1


async def test_a_thousand_steps_at_once_go_through_few_slots():
    @workflow
    async def wide() -> int:
        return sum(await asyncio.gather(*[double(n) for n in range(1_000)]))

    async with Engine("memory://", [wide, double], concurrency=7) as engine:
        assert await engine.run(wide()) == 999_000


async def test_three_hundred_timers_due_at_the_same_instant_all_fire():
    clock = StandingClock()
    async with Engine("memory://", ALL, world=clock, cached_runs=10) as engine:
        handles = await asyncio.gather(*[engine.start(waits(3600), id=f"w-{n}") for n in range(300)])
        clock.time += 3_600_000_000_000

        assert await asyncio.gather(*[handle.result() for handle in handles]) == ["woken"] * 300


async def test_timers_that_were_due_while_nothing_ran_fire_when_an_engine_starts(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    clock = StandingClock()
    async with Engine(address, ALL, world=clock) as engine:
        await engine.start(waits(3600), id="a")
    clock.time += 7_200_000_000_000
    async with Engine(address, ALL, world=clock) as engine:
        assert await engine.handle("a").result() == "woken"


async def test_no_more_attempts_run_at_once_than_there_are_slots():
    gate = Gate()
    lock = threading.Lock()
    inside: list[int] = [0, 0]

    @activity
    async def on_loop() -> None:
        await gate.through(2)

    @activity
    def on_thread() -> None:
        with lock:
            inside[0] += 1
            inside[1] = max(inside)
        crowd.wait(300)
        with lock:
            inside[0] -= 1

    crowd = threading.Barrier(2)

    @workflow
    async def many() -> int:
        await asyncio.gather(*[on_loop() for _ in range(9)], *[on_thread() for _ in range(8)])
        return 17

    async with Engine("memory://", [many, on_loop, on_thread], concurrency=2, threads=2) as engine:
        running = asyncio.ensure_future(engine.run(many()))
        await gate.crowded.wait()
        gate.opened.set()

        assert await running == 17
    assert gate.most == 2
    assert inside == [0, 2]


async def test_a_result_that_takes_too_long_is_not_waited_for_and_the_run_goes_on():
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(waits(3600), id="a")

        with pytest.raises(WaitedTooLong) as waited:
            await handle.result(timeout=0.05)
        assert str(waited.value) == (
            "handle.result() of 'a': no answer within 0.05 s; the run goes on, ask again later"
        )
        await handle.terminate()
        with pytest.raises(RunTerminated):
            await handle.result()


class Counted:
    """A part of a store that notes when it is asked, and what."""

    def __init__(self, part: Any) -> None:
        self.part = part
        self.calls: list[tuple[str, float]] = []
        self.third = threading.Event()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.part, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, time.monotonic()))
            if len(self.calls) == 3:
                self.third.set()
            return method(*args, **kwargs)

        return noted


async def test_an_idle_engine_asks_its_database_once_a_second():
    store: Any = MemoryStore()
    async with Engine(store, ALL) as engine:
        await engine.run(doubled(1))
        await engine.start(waits(3600))
        work, journal = Counted(store.work), Counted(store.journal)
        store.work, store.journal = work, journal
        await asyncio.to_thread(work.third.wait, 30)

    (first, began), _, (last, ended) = work.calls[:3]
    assert first == last == "poll"
    assert ended - began > 1.8
    assert journal.calls == []


def test_an_engine_that_was_stopped_or_closed_owns_nothing():
    with Engine(MemoryStore(faults=FaultAt(1, "full")), ALL) as engine:
        with pytest.raises(EngineNotRunning):
            engine.run(doubled(2)).wait()

        assert not engine.owns

    with Engine("memory://", ALL) as engine:
        assert engine.owns
    assert not engine.owns
