"""What is written together is bounded, in bytes as well: else a batch that is too much for the network is sent for ever."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from perdure import Client, Engine, Worker, activity, channel, workflow
from perdure.kernel.events import Payload
from perdure.kernel.messages import Signal
from perdure.runtime import weight
from perdure.stores.base import Batch, Ending, Exchanged, MailRow, Unread
from perdure.stores.memory import MemoryStore, MemoryWork, Shelf
from perdure.stores.memory_tasks import MemoryTasks
from perdure.testing import FaultWhere

RUNS = 20
VALUE_BYTES = 30_000

gate = asyncio.Event()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    global gate
    gate = asyncio.Event()
    began.clear()
    monkeypatch.setattr(weight, "BATCH_BYTES", 100_000)


class Scales:
    """Sees what each batch weighs, and of how many runs it is."""

    def __init__(self) -> None:
        self.weights: list[int] = []
        self.store = MemoryStore(faults=FaultWhere("refused", self._weigh))

    def _weigh(self, batch: Batch) -> bool:
        self.weights.append(weight.of_batch(batch))
        return False


@activity
async def wait(n: int) -> str:
    await gate.wait()
    return "x" * VALUE_BYTES


@activity
async def size_of(text: str) -> int:
    return len(text)


began: set[int] = set()


@activity(queue="q")
async def wait_afar(n: int) -> str:
    activity.heartbeat("y" * VALUE_BYTES)
    began.add(n)
    await gate.wait()
    return "x" * VALUE_BYTES


@workflow
async def brings_from_afar(n: int) -> int:
    return len(await wait_afar(n))


@workflow
async def brings(n: int) -> int:
    return len(await wait(n))


@workflow
async def makes(n: int) -> int:
    return await size_of("x" * VALUE_BYTES)


async def test_results_that_come_together_are_written_in_several_batches():
    scales = Scales()
    async with Engine(scales.store, [brings, wait]) as engine:
        handles = await asyncio.gather(*[engine.start(brings(n), id=f"run-{n}") for n in range(RUNS)])
        gate.set()

        assert await asyncio.gather(*[handle.result() for handle in handles]) == [VALUE_BYTES] * RUNS
    assert sum(scales.weights) > RUNS * VALUE_BYTES
    assert max(scales.weights) <= 2 * weight.BATCH_BYTES


async def test_what_many_runs_make_of_little_is_written_in_several_batches():
    scales = Scales()
    async with Engine(scales.store, [makes, size_of]) as engine:
        handles = await asyncio.gather(*[engine.start(makes(n), id=f"run-{n}") for n in range(RUNS)])

        assert await asyncio.gather(*[handle.result() for handle in handles]) == [VALUE_BYTES] * RUNS
    assert sum(scales.weights) > RUNS * VALUE_BYTES
    assert max(scales.weights) <= 2 * weight.BATCH_BYTES


async def test_what_is_larger_by_itself_is_written_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weight, "BATCH_BYTES", VALUE_BYTES // 4)
    async with Engine(MemoryStore(), [brings, wait]) as engine:
        gate.set()
        runs = [engine.run(brings(n), id=f"run-{n}") for n in range(RUNS)]

        assert await asyncio.gather(*runs) == [VALUE_BYTES] * RUNS


words = channel("words", str)


@workflow
async def listens() -> list[str]:
    heard: list[str] = []
    while "end" not in heard:
        heard.append((await words.receive())[:3])
    return heard


async def test_a_full_mailbox_is_heard_in_order_and_before_what_comes_then():
    shelf, scales = Shelf(), Scales()
    said = [f"{n:03}" for n in range(RUNS)]
    async with Engine(MemoryStore(shelf=shelf), [listens]) as engine:
        for id in ("first", "second"):
            await engine.start(listens(), id=id)
    async with Client(MemoryStore(shelf=shelf)) as client:
        for text in said:
            for id in ("first", "second"):
                await client.handle(id).signal("words", text + "x" * VALUE_BYTES)

    scales = Scales()
    scales.store = MemoryStore(shelf=shelf, faults=FaultWhere("refused", scales._weigh))
    async with Engine(scales.store, [listens]) as engine:
        for id in ("first", "second"):
            await engine.handle(id).signal(words, "end")
            assert await engine.handle(id).result() == [*said, "end"]
    assert max(scales.weights) <= 2 * weight.BATCH_BYTES


async def test_a_full_mailbox_is_read_in_parts(monkeypatch: pytest.MonkeyPatch):
    """Of each the letters are looked for, and looked at when they are delivered."""
    monkeypatch.setattr(weight, "BATCH_LETTERS", 5)
    letters: list[int] = []
    unread = MemoryWork.unread

    def counted(work: MemoryWork, *wanted: Any) -> Unread:
        found = unread(work, *wanted)
        letters.append(len(found.mail))
        return found

    monkeypatch.setattr(MemoryWork, "unread", counted)
    shelf = Shelf()
    said = [f"{n:03}" for n in range(200)]
    async with Engine(MemoryStore(shelf=shelf), [listens]) as engine:
        await engine.start(listens(), id="run")
    async with Client(MemoryStore(shelf=shelf)) as client:
        for text in said:
            await client.handle("run").signal("words", text)
    letters.clear()
    async with Engine(MemoryStore(shelf=shelf), [listens]) as engine:
        await engine.handle("run").signal(words, "end")

        assert await engine.handle("run").result() == [*said, "end"]
    assert max(letters) == 5
    assert sum(letters) <= 3 * len(said)


async def test_others_have_their_turn_while_a_run_hears_a_full_mailbox(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weight, "BATCH_LETTERS", 5)
    shelf = Shelf()
    async with Engine(MemoryStore(shelf=shelf), [listens]) as engine:
        for id in ("run", "other"):
            await engine.start(listens(), id=id)
    keys = {row.id: row.key for row in shelf.runs.values()}
    outside = MemoryStore(shelf=shelf)
    for id, text in [*[("run", "abc")] * 200, ("other", "end"), ("run", "end")]:
        outside.post.send(MailRow(0, keys[id], Signal("words", Payload(f'["{text}"]'.encode()))))
    left: list[int] = []

    def see(batch: Batch) -> bool:
        if any(row.id == "other" for row in batch.updated):
            left.append(sum(mail.run == keys["run"] for mail in shelf.mail.values()))
        return False

    async with Engine(MemoryStore(shelf=shelf, faults=FaultWhere("refused", see)), [listens]) as engine:
        assert await engine.handle("other").result() == ["end"]
        assert await engine.handle("run").result() == ["abc"] * 200 + ["end"]
    assert left[0] > 150


async def test_a_full_mailbox_of_a_run_that_cannot_hear_keeps_nobody_waiting():
    """What is left there is not delivered again and again."""
    shelf = Shelf()

    @workflow(name="listens")
    async def broken() -> list[str]:
        heard = [await words.receive()]
        raise TypeError(heard)

    async with Engine(MemoryStore(shelf=shelf), [broken]) as engine:
        await engine.start(broken(), id="run")
        await engine.handle("run").signal(words, "one")
        while (await engine.handle("run").describe()).block is None:
            await asyncio.sleep(0.01)
    async with Client(MemoryStore(shelf=shelf)) as client:
        for n in range(RUNS):
            await client.handle("run").signal("words", f"{n:03}" + "x" * VALUE_BYTES)
        await client.handle("run").signal("words", "end")

    async with Engine(MemoryStore(shelf=shelf), [listens]) as engine:
        assert await engine.handle("run").result() == ["one", *(f"{n:03}" for n in range(RUNS)), "end"]


async def test_a_batch_that_was_lost_on_its_way_comes_again_in_parts():
    plan = FaultWhere("in-doubt-lost", lambda batch: len({part.run for part in batch.history}) > RUNS // 4)
    async with Engine(MemoryStore(faults=plan), [brings, wait]) as engine:
        handles = await asyncio.gather(*[engine.start(brings(n), id=f"run-{n}") for n in range(RUNS)])
        gate.set()

        assert await asyncio.gather(*[handle.result() for handle in handles]) == [VALUE_BYTES] * RUNS


@pytest.mark.parametrize("drain", [60, 0])
async def test_a_worker_brings_what_has_ended_in_several_exchanges(monkeypatch: pytest.MonkeyPatch, drain: int):
    """Also the ends of attempts that it leaves, which bring the details of their heartbeats."""
    weights: list[int] = []
    real = MemoryTasks.exchange

    def weighed(self: MemoryTasks, member: int, endings: Sequence[Ending], *rest: Any) -> Exchanged:
        weights.append(sum(weight.of_ending(ending) for ending in endings))
        return real(self, member, endings, *rest)

    monkeypatch.setattr(MemoryTasks, "exchange", weighed)
    shelf = Shelf()
    async with Engine(MemoryStore(shelf=shelf), [brings_from_afar, wait_afar]) as engine:
        handles = await asyncio.gather(*[engine.start(brings_from_afar(n), id=f"run-{n}") for n in range(RUNS)])
        async with Worker(MemoryStore(shelf=shelf), [wait_afar], queues=["q"], drain=drain):
            while len(began) < RUNS:
                await asyncio.sleep(0.01)
            if drain:
                gate.set()
        gate.set()
        async with Worker(MemoryStore(shelf=shelf), [wait_afar], queues=["q"]):
            assert await asyncio.gather(*[handle.result() for handle in handles]) == [VALUE_BYTES] * RUNS

    assert sum(weights) > RUNS * VALUE_BYTES
    assert max(weights) <= weight.BATCH_BYTES
