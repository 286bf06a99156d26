"""The same exceptions from activities in processes of their own, and from workers of queues: words cross, nothing else."""

import sys
from pathlib import Path
from typing import Any

import pytest

from perdure import Engine, Retry, RunFailed, Worker, activity, workflow
from tests.poison.exceptions import EXCEPTIONS

HARD = [
    "whose text exits",
    "that answers nothing",
    "whose class has half a name",
    "with causes without end",
    "in a group that is its cause",
    "with a message of 10 MB",
    "that exits",
    "that closes generators",
]


@activity(runs_in="process", retry=Retry(max_attempts=1))
def apart(how: str) -> None:
    raise EXCEPTIONS[how][0]()


@activity(queue="far", retry=Retry(max_attempts=1))
def far(how: str) -> None:
    raise EXCEPTIONS[how][0]()


@activity(queue="far")
def fine(n: int) -> int:
    return n


@workflow
async def in_a_process(how: str) -> None:
    await apart(how)


@workflow
async def in_a_worker(how: str) -> None:
    await far(how)


@workflow
async def well(n: int) -> int:
    return await fine(n)


ALL: list[Any] = [in_a_process, in_a_worker, well, apart, far, fine]


async def test_a_process_that_was_raised_in_tells_it_and_is_used_again():
    async with Engine("memory://", ALL, processes=1) as engine:
        for how in HARD:
            with pytest.raises(RunFailed) as failed:
                await engine.run(in_a_process(how))
            assert EXCEPTIONS[how][1] in str(failed.value)


async def test_a_worker_that_was_raised_in_tells_it_and_goes_on(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL) as engine, Worker(address, [far, fine], queues=["far"]):
        for how in HARD:
            with pytest.raises(RunFailed) as failed:
                await engine.run(in_a_worker(how))
            assert EXCEPTIONS[how][1] in str(failed.value)
        assert await engine.run(well(5)) == 5


@activity(runs_in="process", retry=Retry(max_attempts=1))
def recurses() -> str:
    """Until the stack of C is full."""
    sys.setrecursionlimit(10**9)
    value: list[Any] = []
    for _ in range(300_000):
        value = [value]
    return repr(value)


@activity(runs_in="process")
def says(n: int) -> int:
    return n


@workflow
async def recurses_apart() -> str:
    return await recurses()


@workflow
async def says_apart(n: int) -> int:
    return await says(n)


async def test_an_activity_whose_stack_overflows_ends_its_own_process_alone():
    async with Engine("memory://", [recurses_apart, says_apart, recurses, says], processes=1) as engine:
        with pytest.raises(RunFailed, match="recurses"):
            await engine.run(recurses_apart())
        assert await engine.run(says_apart(5)) == 5
