"""What one turn makes has to go into one commit: of what is too much it is said, and nobody else waits for it."""

import asyncio

import psycopg
import pytest

from perdure import Engine, RunBlocked, activity, errors, workflow
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


@workflow
async def begins_with(kind: str, size: int) -> int:
    texts = [chr(65 + n) + "x" * size for n in range(STEPS)]
    return sum(await asyncio.gather(*[size_of(text) for text in texts]))


async def test_who_starts_what_makes_too_much_is_told_what_to_do(emptied: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "MOST_BYTES", 2**20)
    async with Engine(PostgresStore(emptied), [begins_with, size_of]) as engine:
        with pytest.raises(errors.StoreError, match=r"MB, and at most 1 are .*\n  hint: begin fewer steps at a time"):
            await engine.run(begins_with("steps", 100_000), id="big")


_REFUSE = """
CREATE FUNCTION no_memory() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF length(NEW.data) > 500000 THEN
        RAISE EXCEPTION 'out of memory' USING ERRCODE = '53200', DETAIL = 'Failed on request of size 4194304.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER no_memory BEFORE INSERT ON perdure.blobs FOR EACH ROW EXECUTE FUNCTION no_memory();
"""


async def test_a_turn_that_the_server_has_no_memory_for_blocks_its_run_alone(
    emptied: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journal, "MEMORY_TRIES", 4)
    async with Engine(PostgresStore(emptied), ALL) as engine:
        with psycopg.connect(emptied, autocommit=True) as administrator:
            administrator.execute(_REFUSE)
            try:
                handle = await engine.start(at_once("steps", 600_000), id="big")
                others = [await engine.start(at_once("steps", 100), id=f"small-{n}") for n in range(5)]
                with pytest.raises(RunBlocked) as blocked:
                    await handle.result()

                assert [await other.result() for other in others] == [STEPS * 101] * 5
            finally:
                administrator.execute("DROP FUNCTION no_memory() CASCADE")
        await handle.retry()
        assert await handle.result() == STEPS * 600_001
    assert "the server has no memory for 22.9 MB at once (out of memory)" in str(blocked.value)
    assert "begin fewer steps at a time (asyncio.Semaphore)" in str(blocked.value)
