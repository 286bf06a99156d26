"""Machines whose clocks do not agree share a database: that of its server is the clock."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from perdure import Client, Engine, Worker, activity, sleep, workflow
from perdure.client.door import DatabaseDoor
from perdure.runtime.world import World
from perdure.stores.open import open_store

AHEAD = timedelta(minutes=5)
AHEAD_NS = int(AHEAD.total_seconds()) * 1_000_000_000


class Ahead(World):
    """The clock of a machine that is five minutes ahead."""

    def machine_time(self) -> int:
        return super().machine_time() + AHEAD_NS


@activity(queue="q")
async def afar() -> int:
    return 1


@workflow
async def nap() -> str:
    await sleep("4m")
    return "slept"


@workflow
async def quick(n: int) -> int:
    return n


@workflow
async def asks() -> int:
    return await afar()


def is_now(moment: datetime) -> bool:
    return abs(datetime.now(UTC) - moment) < AHEAD / 2


async def test_a_machine_that_is_ahead_ends_no_sleep_and_writes_no_times_of_its_own(database: str) -> None:
    async with Engine(database, [nap, quick]) as engine:
        await engine.start(nap(), id="nap")
        wake_at = (await engine.handle("nap").describe()).wake_at
    assert wake_at is not None

    async with Engine(database, [nap, quick], world=Ahead()) as engine:
        for n in range(3):
            await engine.run(quick(n), id=f"quick-{n}")
            await asyncio.sleep(1.1)  # so that it polls again
        quick_run = await engine.handle("quick-0").describe()
        napping = await engine.handle("nap").describe()

    assert is_now(quick_run.started_at)
    assert quick_run.closed_at is not None
    assert is_now(quick_run.closed_at)
    assert (napping.state, napping.wake_at) == ("waiting", wake_at)


async def test_a_worker_that_is_ahead_says_when_attempts_began_by_the_clock_of_the_server(database: str) -> None:
    async with Engine(database, [asks, afar]) as engine, Worker(database, [afar], queues=["q"], world=Ahead()):
        await engine.run(asks(), id="asks")
        (attempt,) = (await engine.handle("asks").describe()).steps[0].attempts

    assert attempt.started_at is not None
    assert is_now(attempt.started_at)


async def test_what_a_client_that_is_ahead_starts_later_begins_by_the_clock_of_the_server(database: str) -> None:
    async with Engine(database, [quick]):
        pass
    store = open_store(database)
    async with Client(store) as client:
        client._door = DatabaseDoor(store, world=Ahead())
        await client.start(quick(1), id="later", start_delay="1h")
        row = store.views.row("later")
    assert row is not None
    assert row.wake_at is not None
    assert abs(row.wake_at - time.time_ns() - 3_600 * 1_000_000_000) < AHEAD_NS / 2
    store.admin.close()


async def test_the_clock_of_the_server_is_that_of_all_calls_that_tell_it(database: str) -> None:
    store = open_store(database)
    store.admin.try_own("here", 1, "b", 0)
    assert store.membership is not None
    worker = store.tasks.join("here", 1, "b", 0, ["q"], ["a"])
    told = [store.admin.time(), store.membership.poll(0, 10, 10).time, store.tasks.look(worker, ["q"]).time]

    assert all(abs(each - time.time_ns()) < AHEAD_NS / 2 for each in told)
    assert told == sorted(told)
    store.admin.close()
