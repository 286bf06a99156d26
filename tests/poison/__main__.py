"""`python -m tests.poison`: how much each poison costs its neighbours, measured. Times mean something on a quiet machine only."""

import asyncio
import logging
import time
import warnings

from tests.poison import corpus
from tests.poison.beside import NEIGHBOURS, STEPS, add, beside_neighbours
from tests.poison.corpus import ALL, POISONS


async def main() -> None:
    corpus.foreign[:] = [asyncio.new_event_loop().create_future()]
    alone = await beside_neighbours(add_once(), [*ALL, add_once])
    print(f"{NEIGHBOURS} neighbours of {STEPS} steps; beside a run that does nothing they take {alone.commits} commits")
    print(f"{'commits':>8} {'turns of it':>12} {'all ms':>8}  poison")
    for what, poison in POISONS.items():
        begun = time.perf_counter()
        goes_on = poison.ends == "goes on"
        seen = await beside_neighbours(poison.call(), ALL, goes_on=goes_on, stuck_after=min(poison.patience, 2.0))
        took_ms = (time.perf_counter() - begun) * 1e3
        print(f"{seen.commits:>8} {seen.entered:>12} {took_ms:>8.0f}  {what}")


@corpus.workflow
async def add_once() -> int:
    return await add(1, 1)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
