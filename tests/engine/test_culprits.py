"""A batch that the store refuses because of one run in it: that run is blocked, all others go on as if it were not there."""

import asyncio
import math
from datetime import timedelta

import pytest

from perdure import Client, Engine, EngineNotRunning, RunBlocked, StoreError, activity, channel, start_child, workflow
from perdure.kernel.messages import Signal, Start
from perdure.kernel.run import Status
from perdure.runtime import culprits
from perdure.runtime import taken as taken_ids
from perdure.stores.base import Batch
from perdure.stores.faults import Fault, Moment
from perdure.stores.memory import MemoryStore, Shelf
from perdure.testing import FaultAt, FaultWhere
from tests.engine.clocks import StandingClock, Stepped

RUNS = 40
CULPRIT = "run-17"

calls: list[str] = []
gate = asyncio.Event()


@activity
async def work(name: str) -> str:
    calls.append(name)
    await gate.wait()
    return name


@workflow
async def twice(name: str) -> str:
    return await work(name) + await work(name)


def key_of(store: MemoryStore, id: str) -> int:
    row = store.views.row(id)
    return 0 if row is None else row.key


def writes_history_of(store: MemoryStore, id: str, batch: Batch) -> bool:
    return any(part.run == key_of(store, id) for part in batch.history)


async def started(engine: Engine) -> list[asyncio.Task[str]]:
    """All runs, each with its first step under way."""
    global gate
    gate = asyncio.Event()
    calls.clear()
    handles = await asyncio.gather(*[engine.start(twice(f"run-{n}"), id=f"run-{n}") for n in range(RUNS)])
    return [asyncio.ensure_future(handle.result()) for handle in handles]


async def test_one_run_that_the_store_refuses_is_blocked_and_all_others_complete():
    plan = FaultWhere("refused", lambda batch: writes_history_of(store, CULPRIT, batch))
    plan.broken = False
    store = MemoryStore(faults=plan)
    async with Engine(store, [twice, work]) as engine:
        results = await started(engine)
        plan.broken = True
        gate.set()
        ended = await asyncio.gather(*results, return_exceptions=True)

    blocked = ended.pop(17)
    assert isinstance(blocked, RunBlocked)
    assert str(blocked) == (
        "run 'run-17' is blocked: the database refuses what the run does: refused by a fault the test asked for\n"
        "  hint: mend what it stores, then start again"
    )
    assert all(isinstance(result, str) for result in ended)


async def test_the_refused_run_goes_on_after_retry_and_its_first_step_is_not_done_again():
    plan = FaultWhere("refused", lambda batch: writes_history_of(store, CULPRIT, batch))
    plan.broken = False
    store = MemoryStore(faults=plan)
    async with Engine(store, [twice, work]) as engine:
        results = await started(engine)
        plan.broken = True
        gate.set()
        await asyncio.wait(results)
        plan.broken = False
        await engine.handle(CULPRIT).retry()

        assert await engine.handle(CULPRIT).result() == CULPRIT * 2
    assert calls.count(CULPRIT) == 2


async def test_a_delayed_start_that_the_store_refuses_is_blocked_and_begins_at_its_time_once_it_is_released():
    plan = FaultWhere("refused", lambda batch: any(type(mail.message) is Start for mail in batch.mail_kept))
    store, clock = MemoryStore(faults=plan), StandingClock()
    async with Engine(store, [twice, work], world=clock) as engine, Client(store) as client:
        handle = await client.start("twice", ["d"], id="d", start_delay="1h")
        while (await handle.describe()).status != "blocked":
            await asyncio.sleep(0.001)
        plan.broken = False
        await engine.handle("d").retry()
        while (released := await handle.describe()).status == "blocked":
            await asyncio.sleep(0.001)

    assert (released.status, released.events) == ("queued", 0)
    assert released.wake_at is not None
    assert released.wake_at - released.started_at == timedelta(hours=1)


async def test_a_run_that_was_only_granted_a_slot_can_be_the_culprit():
    plan = FaultWhere("refused", lambda batch: any(row.run == key_of(store, CULPRIT) for row in batch.attempts))
    store = MemoryStore(faults=plan)
    async with Engine(store, [twice, work], concurrency=1) as engine:
        results = await started(engine)
        gate.set()
        ended = await asyncio.gather(*results, return_exceptions=True)

    blocked = ended.pop(17)
    assert isinstance(blocked, RunBlocked)
    assert "the database refuses what the run does" in str(blocked)
    assert all(isinstance(result, str) for result in ended)


async def test_a_start_that_the_store_refuses_is_an_error_of_its_starter_alone():
    plan = FaultWhere("refused", lambda batch: any(row.id == CULPRIT for row in batch.created))
    store = MemoryStore(faults=plan)
    async with Engine(store, [twice, work]) as engine:
        gate.set()
        starts = [engine.start(twice("x"), id=f"run-{n}") for n in range(RUNS)]
        answers = await asyncio.gather(*starts, return_exceptions=True)

    refused = answers.pop(17)
    assert isinstance(refused, StoreError)
    assert str(refused) == (
        "the database refuses run 'run-17': refused by a fault the test asked for\n"
        "  hint: mend what it stores, then start again"
    )
    assert not any(isinstance(answer, Exception) for answer in answers)


class TakenFor:
    """Somebody has the id of this run in a transaction that is still open, until so many commits were refused for it."""

    def __init__(self, id: str, commits: float) -> None:
        self.id = id
        self.left = commits
        self.refused: list[int] = []

    def __call__(self, moment: str, batch: Batch) -> Fault | None:
        if moment != "before" or self.left <= 0 or not any(row.id == self.id for row in batch.created):
            return None
        self.left -= 1
        self.refused.append(len(batch.created))
        return "id-taken"


async def test_a_start_whose_id_somebody_is_about_to_take_waits_alone():
    taken = TakenFor(CULPRIT, commits=9)
    async with Engine(MemoryStore(faults=taken), [twice, work]) as engine:
        gate.set()
        starts = [engine.start(twice("x"), id=f"run-{n}") for n in range(RUNS)]
        await asyncio.gather(*starts)

        assert await engine.handle(CULPRIT).result() == "xx"
    assert taken.refused[-3:] == [1, 1, 1]


async def test_a_start_is_told_when_somebody_does_not_make_up_his_mind_about_its_id(monkeypatch):
    monkeypatch.setattr(taken_ids, "CALLER_SECONDS", 0.2)
    taken = TakenFor(CULPRIT, commits=math.inf)
    async with Engine(MemoryStore(faults=taken), [twice, work]) as engine:
        gate.set()
        with pytest.raises(StoreError, match="in a transaction that is still open"):
            await engine.start(twice("x"), id=CULPRIT)
        taken.left = 0

        assert await engine.run(twice("y"), id=CULPRIT) == "yy"


@workflow
async def by_child(id: str) -> str:
    return await twice(await work("x")).with_options(id=id)


async def test_a_run_waits_for_the_id_of_its_child_for_as_long_as_it_takes(monkeypatch):
    monkeypatch.setattr(taken_ids, "CALLER_SECONDS", 0.0)
    taken = TakenFor("child", commits=6)
    async with Engine(MemoryStore(faults=taken), [twice, work, by_child]) as engine:
        gate.set()
        calls.clear()

        assert await engine.run(by_child("child"), id="parent") == "xx"
    assert calls.count("x") == 3
    assert taken.left == 0


async def test_a_start_that_waits_for_its_id_is_told_that_the_engine_stops():
    taken = TakenFor(CULPRIT, commits=math.inf)
    async with Engine(MemoryStore(faults=taken), [twice, work]) as engine:
        waiting = asyncio.ensure_future(engine.start(twice("x"), id=CULPRIT))
        while len(taken.refused) < 2:
            await asyncio.sleep(0.01)
    with pytest.raises(EngineNotRunning):
        await waiting


async def test_a_store_that_refuses_even_the_block_stops_the_engine_and_loses_nothing():
    plan = FaultWhere("refused", lambda batch: any(row.id == CULPRIT for row in batch.updated))
    store = MemoryStore(faults=plan)
    async with Engine(store, [twice, work]) as engine:
        results = await started(engine)
        gate.set()
        ended = await asyncio.gather(*results, return_exceptions=True)

    assert "the database refuses even to block a run" in str(ended[17])
    async with Engine(MemoryStore(shelf=store.shelf), [twice, work]) as engine:
        assert [await engine.handle(f"run-{n}").result() for n in range(RUNS)] == [f"run-{n}" * 2 for n in range(RUNS)]


@pytest.mark.parametrize("fault", ["unavailable", "in-doubt-lost", "in-doubt-applied"])
async def test_steps_that_waited_for_a_slot_when_a_commit_failed_get_one_all_the_same(fault):
    plan = FaultWhere(fault, lambda batch: bool(batch.attempts) and plan.commits % 3 == 0)
    async with Engine(MemoryStore(faults=plan), [twice, work], concurrency=2) as engine:
        results = await started(engine)
        gate.set()

        assert await asyncio.gather(*results) == [f"run-{n}" * 2 for n in range(RUNS)]


words = channel("words", str)


@workflow
async def listens() -> list[str]:
    heard: list[str] = []
    while "end" not in heard:
        heard.append(await words.receive())
    return heard


async def test_a_batch_that_is_split_brings_each_signal_once_and_in_order():
    """A part of it takes all signals for its runs that are in the mail: also those that are in another part."""
    shelf, said = Shelf(), ["a", "b", "c"]
    async with Engine(MemoryStore(shelf=shelf), [listens]) as engine:
        for id in ("first", "second"):
            await engine.start(listens(), id=id)
    async with Client(MemoryStore(shelf=shelf)) as client:
        for text in said:
            for id in ("first", "second"):
                await client.handle(id).signal("words", text)

    async with Engine(MemoryStore(shelf=shelf, faults=FaultAt(1, "refused")), [listens]) as engine:
        for id in ("first", "second"):
            await engine.handle(id).signal(words, "end")
            assert await engine.handle(id).result() == [*said, "end"]


@workflow
async def asks_for_help(name: str) -> str:
    return await helps(name).with_options(id="helper")


@workflow
async def helps(name: str) -> str:
    return await greet(name)


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@pytest.mark.parametrize("commit", range(2, 5))
async def test_what_runs_tell_each_other_is_not_lost_though_not_even_a_block_is_written_at_first(commit: int):
    """It stays in the mailbox."""

    def refuses_two(moment: Moment, batch: Batch) -> Fault | None:
        nonlocal commits
        commits += moment == "before"
        return "refused" if commits in (commit, commit + 1) else None

    commits = 0
    async with Engine(MemoryStore(faults=refuses_two), [asks_for_help, helps, greet]) as engine:
        handle = await engine.start(asks_for_help("Ada"), id="asks")
        while (row := await handle.describe()).status != "completed":
            for blocked in await engine.list(status="blocked"):
                await engine.handle(blocked.id).retry()
            await asyncio.sleep(0.001)

    assert row.result == "hello Ada"
    assert commits > commit + 1


@pytest.mark.parametrize("way", ["engine", "client"])
async def test_whoever_ends_a_run_that_the_store_does_not_let_end_is_told_so(
    way: str, caplog: pytest.LogCaptureFixture
):
    plan = FaultWhere("refused", lambda batch: any(row.status == Status.TERMINATED for row in batch.updated))
    async with Engine(MemoryStore(faults=plan), [listens]) as engine, Client(engine.store) as client:
        handle = (engine if way == "engine" else client).handle((await engine.start(listens(), id="l")).id)

        with pytest.raises(StoreError, match="nothing came of it, and the run is blocked: the database refuses"):
            await handle.terminate()

        assert (await handle.describe()).status == "blocked"
        plan.broken = False
        await handle.terminate()
        assert (await handle.describe()).status == "terminated"
    assert sum("run l is blocked" in record.message for record in caplog.records) == 1


async def test_a_signal_that_the_store_does_not_take_is_not_said_to_be_taken():
    plan = FaultWhere("refused", lambda batch: spoken(batch))
    async with Engine(MemoryStore(faults=plan), [listens]) as engine:
        handle = await engine.start(listens(), id="l")

        with pytest.raises(StoreError, match="nothing came of it"):
            await handle.signal(words, "a")

        plan.broken = False
        await handle.retry()
        await handle.signal(words, "end")
        assert await handle.result() == ["end"]


def spoken(batch: Batch) -> bool:
    """Whether there is a signal in it, taken or kept."""
    kept = any(isinstance(mail.message, Signal) for mail in batch.mail_kept)
    return kept or any(b"words" in part.events for part in batch.history)


@workflow
async def leaves_a_child() -> str:
    await start_child(listens().with_options(id="child", parent_close="terminate"))
    return "over"


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("refusals", [1, 2, 5])
async def test_a_child_ends_with_its_parent_however_often_the_store_refuses_that(
    shared: bool, refusals: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(culprits, "AGAIN_SECONDS", (0.01, 0.02))
    refused: list[Batch] = []

    def ends(batch: Batch) -> bool:
        if len(refused) < refusals and any(
            row.id == "child" and row.status == Status.TERMINATED for row in batch.updated
        ):
            refused.append(batch)
            return True
        return False

    store = MemoryStore(shelf=Shelf(shared=shared), faults=FaultWhere("refused", ends))
    async with Engine(store, [listens, leaves_a_child]) as engine:
        assert await engine.run(leaves_a_child(), id="parent") == "over"
        while (child := store.views.row("child")) is None or child.status != Status.TERMINATED:
            await asyncio.sleep(0.001)

    assert len(refused) == refusals
    assert not store.shelf.mail


async def test_between_two_tries_to_end_a_child_the_store_is_left_in_peace():
    world = Stepped()
    tries: list[float] = []

    def ends(batch: Batch) -> bool:
        found = any(row.id == "child" and row.status == Status.TERMINATED for row in batch.updated)
        tries.extend([world.seconds] if found else [])
        return found

    store = MemoryStore(faults=FaultWhere("refused", ends))
    async with Engine(store, [listens, leaves_a_child], world=world) as engine:
        assert await engine.run(leaves_a_child(), id="parent") == "over"
        for count in range(2, 12, 2):
            while len(tries) < count or (child := store.views.row("child")) is None or child.status != Status.BLOCKED:
                world.seconds += 0.25
                store.post.nudge()
                await asyncio.sleep(0.005)

    assert [
        later - earlier >= pause for earlier, later, pause in zip(tries[1::2], tries[2::2], (1, 2, 4, 8), strict=False)
    ] == [True] * 4
