"""How quickly `perdure check` goes through the runs of a database, many short ones and a long one."""

import asyncio

from bench.figures import Figure, Setting
from bench.programs import DEFINITIONS, sequence
from perdure import Engine
from perdure.client.checking import Checks
from perdure.stores.open import open_store

STEPS = 10


def measure(setting: Setting) -> list[Figure]:
    runs, long = setting.pick((5_000, 10_000), (1_000, 3_000), (20, 20))
    figures = []
    for name, count, steps in (
        (f"check of {runs:,} runs", runs, STEPS),
        (f"check of a run of {long:,} steps", 1, long),
    ):
        address = f"sqlite:///{setting.folder / f'check-{steps}.db'}"
        asyncio.run(_recorded(address, count, steps))
        store = open_store(address)
        try:
            with Checks(DEFINITIONS, store) as checks:
                report = checks.all(closed=count)
        finally:
            store.admin.close()
        assert (report.closed, report.findings) == (count, [])
        figures.append(Figure(name, report.events / report.seconds, "events/s", None, 30_000, at_least=True))
    return figures


async def _recorded(address: str, count: int, steps: int) -> None:
    async with Engine(address, DEFINITIONS) as engine:
        await asyncio.gather(*(engine.run(sequence(steps), id=f"run-{n}") for n in range(count)))
