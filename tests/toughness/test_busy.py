"""An engine that computes for longer than its lease, without a pause in which it could poll."""

import asyncio
import time

from perdure import Engine, activity, workflow
from tests.postgres.server import Server

LEASE = "3s"
TURNS = 30
TURN_SECONDS = 0.15
"""Far below what a turn may take; all of them together are more than the lease."""

begun: list[int] = []


@activity
async def lasts(n: int) -> int:
    begun.append(n)
    while not done:
        await asyncio.sleep(0.01)
    return n


done: list[int] = []


@workflow
async def waits_for_it(n: int) -> int:
    return await lasts(n)


@workflow
async def computes(n: int, rounds: int) -> int:
    for _ in range(rounds):
        pass
    return n


def rounds() -> int:
    """How many of them take a turn's time here."""
    many = 1_000_000
    begin = time.thread_time()
    for _ in range(many):
        pass
    return int(many * TURN_SECONDS / (time.thread_time() - begin))


def test_it_is_not_taken_for_dead_and_nothing_that_it_does_is_done_again(server: Server, database: str) -> None:
    assert asyncio.run(computed(server.address(database))) == list(range(TURNS))
    assert begun == [1]
    assert server.ask("SELECT count(*) FROM perdure.members WHERE NOT handed_over", database) == [(0,)]


async def computed(address: str) -> list[int]:
    async with Engine(address, [computes, waits_for_it, lasts], lease=LEASE) as engine:
        innocent = await engine.start(waits_for_it(1), id="innocent")
        async with Engine(address, [waits_for_it, lasts], lease=LEASE):
            many = rounds()
            results = await asyncio.gather(*(engine.run(computes(n, many), id=f"computes-{n}") for n in range(TURNS)))
            done.append(1)
            assert await innocent.result() == 1
    return results
