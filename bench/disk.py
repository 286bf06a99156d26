"""What a finished workflow leaves on disk."""

import asyncio
from pathlib import Path

from bench.figures import Figure, Setting
from bench.programs import DEFINITIONS, three_steps
from bench.throughput import wave
from perdure import Engine


async def run(setting: Setting) -> list[Figure]:
    count, in_flight = setting.pick((10_000, 1_000), (3_000, 1_000), (20, 5))
    together, alone = setting.folder / "together.db", setting.folder / "alone.db"
    async with Engine(f"sqlite:///{together}", DEFINITIONS) as engine:
        await wave(engine, count, in_flight)
    async with Engine(f"sqlite:///{alone}", DEFINITIONS) as engine:
        for number in range(count // 10):
            await engine.run(three_steps(number))
    return [
        Figure(f"disk for a 3-step workflow, {in_flight:,} in flight", _size(together) / count / 1024, "KB", None, 1.6),
        Figure("  one at a time", _size(alone) / (count // 10) / 1024, "KB", None, 1.6),
    ]


def _size(database: Path) -> int:
    """Bytes of the file; its log was copied into it when it was closed."""
    return database.stat().st_size


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))
