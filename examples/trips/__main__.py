"""Four trips: one is booked, one finds no car, one takes too long, and one is hard to undo."""

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from examples.trips import workflows
from examples.trips.providers import Providers
from perdure import Engine, RunBlocked, RunFailed

SIGNS = {"booked": "✓", "cancelled": "↶", "void": "↶"}


async def travel(engine: Engine, providers: Providers, city: str, seconds: float = 60) -> bool:
    """One trip, with what the providers saw of it. True if it stands still and waits for a person."""
    before = len(providers.ledger.entries())
    stands_still = False
    print(f"\nA trip to {city}")
    try:
        await engine.run(workflows.book_trip(city, seconds), id=f"trip-to-{city}")
        ending = "booked"
    except RunFailed as failed:
        ending = f"not booked: {failed.__cause__}"
    except RunBlocked as held:
        ending = f"stands still: {held}"
        stands_still = True
    show(providers, before)
    print(f"  {ending}".replace("\n", "\n  "))
    return stands_still


async def retry(engine: Engine, providers: Providers, city: str) -> None:
    """What an operator does: `perdure retry trip-to-...`."""
    before = len(providers.ledger.entries())
    handle = engine.handle(f"trip-to-{city}")
    await handle.retry()
    try:
        await handle.result()
    except RunFailed as failed:
        show(providers, before)
        print(f"  not booked: {failed.__cause__}")


def show(providers: Providers, since: int) -> None:
    for entry in providers.ledger.entries()[since:]:
        never = " (it had not been booked)" if entry.what == "void" else ""
        print(f"  {SIGNS[entry.what]} {entry.provider:<7}{'cancelled' if never else entry.what}{never}")


async def main(folder: Path) -> None:
    providers = Providers(folder / "ledger.jsonl")
    providers.car.sold_out |= {"Atlantis", "Venice"}
    providers.hotel.silent.add("Brigadoon")
    workflows.providers.set(providers)
    async with Engine(f"sqlite:///{folder}/trips.db", [workflows]) as engine:
        await travel(engine, providers, "Lisbon")
        await travel(engine, providers, "Atlantis")
        await travel(engine, providers, "Brigadoon", seconds=1)

        providers.hotel.closed = True
        stands_still = await travel(engine, providers, "Venice")
        providers.hotel.closed = False
        if stands_still:
            print("\nThe hotel desk opens, and somebody says: perdure retry trip-to-Venice")
            await retry(engine, providers, "Venice")

    print(f"\nWhat is booked in the end, says the ledger: {', '.join(providers.ledger.standing())}")


if __name__ == "__main__":
    logging.getLogger("perdure").setLevel(logging.CRITICAL)  # failed attempts are part of the story here
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary)))
