"""A poison beside healthy runs: what comes of it, and what the others noticed of it.

Nothing here looks at a clock. The pace of the neighbours is counted in commits of the engine, each of which is one trip
around its loop, and in how often code of the poison was begun while they were under way.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from perdure import Engine, activity, workflow
from perdure.runtime.world import World

NEIGHBOURS = 20
STEPS = 3
FEW_COMMITS = NEIGHBOURS * (STEPS + 1) + 20
"""In so many commits the neighbours are through even if each of their events has one to itself, and the poison some."""

entered = 0
"""How often code of a poison has begun a turn that it does not give back."""


def enter() -> None:
    global entered
    entered += 1


@activity
async def add(a: int, b: int) -> int:
    return a + b


@workflow
async def neighbour(n: int) -> int:
    total = 0
    for _ in range(STEPS):
        total = await add(total, n)
    return total


class Counting(World):
    """Counts the commits of an engine."""

    commits = 0

    def crash_point(self, name: str) -> None:
        self.commits += name == "before-commit"


@dataclass
class Seen:
    """`outcome`: the result of the poison, or its error; None if it goes on. `commits` and `entered`, until the neighbours were
    through; `status` is the poison's just then."""

    outcome: Any
    commits: int
    entered: int
    status: str


async def beside_neighbours(
    poison: Any,
    definitions: Sequence[Any],
    act: Callable[[Any], Any] | None = None,
    address: Any = "memory://",
    goes_on: bool = False,
    **options: Any,
) -> Seen:
    """Start the poison, then the neighbours; `act` is done with the poison's handle before they are awaited. One that `goes_on`
    is terminated in the end, and has to be there until then."""
    global entered
    entered = 0
    world = Counting()
    async with Engine(address, [*definitions, neighbour, add], world=world, **options) as engine:
        handle = await engine.start(poison, id="poison")
        result = asyncio.ensure_future(handle.result())
        if act is not None:
            await act(handle)
        totals = await asyncio.gather(*[engine.run(neighbour(n)) for n in range(NEIGHBOURS)])
        commits, often = world.commits, entered
        status = (await handle.describe()).status
        if goes_on:
            assert not result.done()
            await handle.terminate("enough")
        (outcome,) = await asyncio.gather(result, return_exceptions=True)

    assert totals == [STEPS * n for n in range(NEIGHBOURS)]
    return Seen(None if goes_on else outcome, commits, often, status)
