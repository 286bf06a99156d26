"""What one turn makes has to go into one commit: of what is too much it is said, and nobody else waits for it."""

import asyncio

import pytest

from perdure import Engine, RunBlocked, activity, workflow
from perdure.stores.postgres import journal
from perdure.stores.postgres.store import PostgresStore

STEPS = 40


@activity
async def size_of(text: str) -> int:
    return len(text)


@workflow
async def measures(text: str) -> int:
    return await size_of(text)


@workflow
async def at_once(kind: str, size: int) -> int:
    await size_of("the run has begun")
    texts = [chr(65 + n) + "x" * size for n in range(STEPS)]
    return sum(await asyncio.gather(*[(size_of if kind == "steps" else measures)(text) for text in texts]))


ALL = [at_once, measures, size_of]


@pytest.mark.parametrize("kind", ["steps", "workflows"])
@pytest.mark.parametrize("size", [30_000, 100_000])  # within the history, and apart
async def test_a_turn_that_makes_too_much_for_one_commit_blocks_its_run_alone(
    emptied: str, monkeypatch: pytest.MonkeyPatch, kind: str, size: int
):
    monkeypatch.setattr(journal, "MOST_BYTES", 2**20)
    async with Engine(PostgresStore(emptied), ALL) as engine:
        handle = await engine.start(at_once(kind, size), id="big")
        with pytest.raises(RunBlocked) as blocked:
            await handle.result()

        assert await engine.run(at_once(kind, 100), id="small") == STEPS * 101
        monkeypatch.setattr(journal, "MOST_BYTES", 2**28)
        await handle.retry()
        assert await handle.result() == STEPS * (size + 1)
    assert "MB, and at most 1 are written to PostgreSQL" in str(blocked.value)
    assert "begin fewer steps at a time (asyncio.Semaphore)" in str(blocked.value)
