"""One bad run hurts nobody: each poison is taken beside healthy runs, which complete."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, Engine, RunBlocked, RunFailed, activity, workflow
from tests.engine import deeds
from tests.engine.child import Child

pytestmark = pytest.mark.filterwarnings("ignore:.* in a workflow:")
HERE = __file__


@activity
async def add(a: int, b: int) -> int:
    return a + b


@workflow
async def healthy(n: int) -> int:
    total = 0
    for _ in range(3):
        total = await add(total, n)
    return total


@workflow
async def loops() -> None:
    await add(1, 1)
    while True:
        pass


@workflow
async def loops_and_swallows() -> None:
    while True:
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001, S110  as bad as it can be
            pass


@workflow
async def recurses() -> int:
    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    return deeper(await add(1, 1))


@workflow
async def explodes() -> str:
    return "x" * 10**15


@workflow
async def sleeps() -> None:
    time.sleep(5)


@workflow
async def connects() -> None:
    socket.create_connection(("127.0.0.1", 1))


@workflow
async def reads() -> str:
    return Path(HERE).read_text()


@workflow
async def deadlocks() -> None:
    await asyncio.Event().wait()


@workflow
async def swallows() -> str:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await add(1, 1)


@dataclass
class Stubborn:
    """Its validation never ends where workflows run."""

    n: int = 0

    def __post_init__(self) -> None:
        while threading.current_thread().name == "perdure-engine":
            pass


@activity
async def stubbornly() -> Stubborn:
    return Stubborn()


@workflow
async def takes_stubborn(what: Stubborn) -> int:
    return what.n


@workflow
async def hears_stubborn() -> int:
    return (await stubbornly()).n


@workflow
async def gives_stubborn() -> Stubborn:
    await add(1, 1)
    stubborn = object.__new__(Stubborn)
    stubborn.n = 1
    return stubborn


ALL = [healthy, loops, loops_and_swallows, recurses, explodes, sleeps, connects, reads, deadlocks, swallows, add]
ALL += [takes_stubborn, hears_stubborn, gives_stubborn, stubbornly]

BLOCKED: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "an endless loop": (
        loops,
        [f"at {HERE}:", "the workflow did not come to an await in time and was interrupted at", "hint: move long"],
    ),
    "an endless loop that swallows its interrupt": (
        loops_and_swallows,
        [f"at {HERE}:", "the workflow did not come to an await in time and was interrupted at"],
    ),
    "an argument whose validation never ends": (
        lambda: takes_stubborn(Stubborn()),
        [f"at {HERE}:", "the workflow did not come to an await in time and was interrupted at"],
    ),
    "a result whose validation never ends": (
        hears_stubborn,
        [f"at {HERE}:", "the workflow did not come to an await in time and was interrupted at"],
    ),
    "a result of its own whose validation never ends": (
        gives_stubborn,
        [f"at {HERE}:", "the workflow did not come to an await in time and was interrupted at"],
    ),
    "recursion": (recurses, [f"at {HERE}:", "RecursionError: maximum recursion depth exceeded", "hint: mend"]),
    "a sleep that is not durable": (sleeps, [f"at {HERE}:", "NotDeterministic: time.sleep", "asyncio.sleep"]),
    "a socket": (connects, [f"at {HERE}:", "NotDeterministic: socket", "activity"]),
    "a file": (reads, [f"at {HERE}:", "NotDeterministic: open", "activity"]),
    "a wait for nothing": (
        deadlocks,
        [f"at {HERE}:", "for something that can never happen: no activity, no timer and no child is under way"],
    ),
}


async def beside_healthy_runs(poison: Any, stuck_after: float = 60.0) -> BaseException:
    """What comes of the poison, after everybody else has had results."""
    async with Engine("memory://", ALL, stuck_after=stuck_after) as engine:
        bad = asyncio.ensure_future(engine.run(poison, id="bad"))
        results = await asyncio.gather(*[engine.run(healthy(n)) for n in range(20)])
        (outcome,) = await asyncio.gather(bad, return_exceptions=True)

    assert results == [3 * n for n in range(20)]
    return outcome


@pytest.mark.parametrize("what", BLOCKED)
async def test_the_run_is_blocked_and_the_healthy_ones_complete_beside(what: str):
    poison, words = BLOCKED[what]

    never_ends = any("in time" in word for word in words)
    outcome = await beside_healthy_runs(poison(), stuck_after=0.3 if never_ends else 60.0)

    assert isinstance(outcome, RunBlocked)
    assert str(outcome).startswith("run 'bad' is blocked")
    assert [word for word in words if word not in str(outcome)] == []


async def test_a_start_by_a_client_whose_arguments_are_never_done_with_hurts_nobody():
    async with Engine("memory://stubborn", ALL, stuck_after=0.2) as engine, Client("memory://stubborn") as client:
        bad = asyncio.ensure_future(client.run("takes_stubborn", [{"n": 1}], id="bad"))
        while not await client.count(id_prefix="bad"):
            await asyncio.sleep(0)
        result = await engine.run(healthy(1))

        with pytest.raises(RunBlocked, match="did not come to an await in time"):
            await bad
    assert result == 3


async def test_memory_that_is_not_there_fails_the_run_and_the_healthy_ones_complete_beside():
    outcome = await beside_healthy_runs(explodes())

    assert isinstance(outcome, RunFailed)
    assert str(outcome).startswith("run 'bad' failed: MemoryError")


async def test_a_workflow_that_swallows_its_cancellation_goes_on_until_it_is_terminated():
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(swallows(), id="bad")
        await handle.cancel("please")
        assert await engine.run(healthy(1)) == 3
        description = await handle.describe()
        await handle.terminate("enough")
        ended = await handle.describe()

    assert description.cancel_requested
    assert (description.status, ended.status, ended.reason) == ("waiting", "terminated", "enough")


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(deeds.MARKS, str(tmp_path / "marks"))
    return f"sqlite:///{tmp_path}/runs.db"


def dies_three_times(address: str) -> list[tuple[int, str]]:
    """What the engines leave behind that have a regular expression without end in one of their runs."""
    with Client(address, create=True) as client:
        client.start("hellish", id="hell").wait()
        for n in range(5):
            client.start("hello", [str(n)], id=f"healthy-{n}").wait()
    deaths = []
    for _ in range(3):
        with Child("engine that dies", address, lives=False) as engine:
            deaths.append(engine.ended())
    return deaths


def test_a_regular_expression_that_never_ends_is_quarantined_after_the_third_death(address: str):
    deaths = dies_three_times(address)

    with Engine(address, deeds.ALL) as engine:
        with pytest.raises(RunBlocked) as quarantined:
            engine.handle("hell").result().wait()
        results = [engine.handle(f"healthy-{n}").result().wait() for n in range(5)]

    assert [status for status, _ in deaths] == [1, 1, 1]
    assert all("Timeout" in stderr and "in hellish" in stderr for _, stderr in deaths)
    assert str(quarantined.value) == (
        "run 'hell' is quarantined: the process died 3 times while this run was in its turn\n"
        "  hint: mend the workflow, then: perdure retry hell"
    )
    assert results == [f"Hello {n}" for n in range(5)]


def test_a_quarantined_run_is_released_by_retry_and_by_nothing_else(address: str, monkeypatch: pytest.MonkeyPatch):
    dies_three_times(address)
    monkeypatch.setenv("PERDURE_TEST_PATTERN", "(b+)$")

    with Child("engine", address) as mended:
        before = mended.ask("here.handle('hell').result().wait()")
        mended.ask("here.handle('hell').retry().wait()")
        after = mended.ask("here.handle('hell').result().wait()")

    assert before.startswith("RunBlocked: run 'hell' is quarantined")
    assert after == "None"


async def test_an_engine_with_less_patience_leaves_the_runs_of_another_alone():
    @workflow
    async def computes() -> int:
        return sum(1 for _ in range(6_000_000))  # some tenths of a second

    async with (
        Engine("memory://", [computes], stuck_after="60s") as patient,
        Engine("memory://", [healthy, add], stuck_after=0.05),
    ):
        assert await patient.run(computes()) == 6_000_000
