"""Runs that were sent very much keep no others waiting, and hear it in order all the same."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from perdure import Engine, Handle, channel, sleep, workflow
from perdure.kernel.events import Block, Payload
from perdure.kernel.messages import BlockRun, Cancel, Signal, Wake
from perdure.runtime import owner, weight
from perdure.runtime.culprits import Item
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.piles import Piled, PutOff
from perdure.stores.base import Batch, MailRow
from perdure.stores.memory import MemoryStore, Shelf
from perdure.testing import FaultWhere
from tests.engine.clocks import Later

PILE = 300

words = channel("words", str)


@workflow
async def listens() -> list[str]:
    heard: list[str] = []
    while "end" not in heard:
        heard.append(await words.receive())
    return heard


@workflow
async def listens_and_wakes() -> list[str]:
    """Its timer is due while it hears, or has what the step brings."""
    timer = asyncio.ensure_future(sleep(3600))
    heard: list[str] = []
    while "end" not in heard:
        heard.append(await words.receive())
    await timer
    return heard


@workflow
async def listens_until_it_wakes() -> list[str]:
    """Whatever it has heard until then."""
    heard: list[str] = []

    async def hear() -> None:
        while True:
            heard.append(await words.receive())

    hearing = asyncio.ensure_future(hear())
    await sleep(3600)
    hearing.cancel()
    return heard


DEFINITIONS = [listens, listens_and_wakes, listens_until_it_wakes]


def _say(shelf: Shelf, id: str, *texts: str) -> None:
    keys = {row.id: row.key for row in shelf.runs.values()}
    for text in texts:
        MemoryStore(shelf=shelf).post.send(MailRow(0, keys[id], Signal("words", Payload(f'["{text}"]'.encode()))))


class Watch:
    """Notes how much of its pile `run` has left when another one ends; `then` is done when `other` does."""

    def __init__(self, shelf: Shelf, then: Callable[[], None] = lambda: None) -> None:
        self.left: dict[str, int] = {}
        self._shelf = shelf
        self._then = then
        self.store = MemoryStore(shelf=shelf, faults=FaultWhere("refused", self._see))

    def _see(self, batch: Batch) -> bool:
        (key,) = (row.key for row in self._shelf.runs.values() if row.id == "run")
        for row in batch.updated:
            if row.closed_at is not None:
                self.left[row.id] = sum(mail.run == key for mail in self._shelf.mail.values())
                if row.id == "other":
                    self._then()
        return False


async def _started(shelf: Shelf, **runs: Any) -> None:
    async with Engine(MemoryStore(shelf=shelf), DEFINITIONS) as engine:
        for id, call in runs.items():
            await engine.start(call, id=id)


@pytest.mark.parametrize("shared", [False, True])
async def test_a_letter_behind_the_pile_of_another_run_is_heard_at_once(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though more lies there than a poll tells of."""
    monkeypatch.setattr(owner, "POLL_ROWS", 20)
    monkeypatch.setattr(weight, "BATCH_LETTERS", 5)
    shelf = Shelf(shared=shared)
    await _started(shelf, run=listens(), other=listens())
    said = [f"{n:03}" for n in range(PILE)]
    _say(shelf, "run", *said)
    _say(shelf, "other", "end")
    _say(shelf, "run", "end")

    watch = Watch(shelf)
    async with Engine(watch.store, DEFINITIONS) as engine:
        assert await engine.handle("other").result() == ["end"]
        assert await engine.handle("run").result() == [*said, "end"]
    assert watch.left["other"] > PILE - 3 * 20


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("hears", [listens, listens_and_wakes, listens_until_it_wakes])
async def test_others_have_their_turn_while_a_run_hears_a_pile_be_its_timer_due_or_not(
    hears: Any, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who speaks to them in the meantime. Of what was said before the timer was due nothing is lost, and all comes in order."""
    monkeypatch.setattr(weight, "BATCH_LETTERS", 5)
    shelf = Shelf(shared=shared)
    await _started(shelf, run=hears(), other=listens(), late=listens())
    said = [f"{n:03}" for n in range(PILE)]
    _say(shelf, "run", *said[:-1])
    _say(shelf, "other", "end")
    _say(shelf, "run", said[-1], "end")

    watch = Watch(shelf, then=lambda: _say(shelf, "late", "end"))
    async with Engine(watch.store, DEFINITIONS, world=Later()) as engine:
        assert await engine.handle("other").result() == ["end"]
        assert await engine.handle("late").result() == ["end"]
        assert await engine.handle("run").result() == [*said, "end"]
    assert watch.left["other"] > PILE - 20
    assert watch.left["late"] > PILE // 2


async def test_what_is_said_here_while_a_run_hears_a_pile_comes_after_it_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By signals of this process, which are in no mailbox."""
    monkeypatch.setattr(weight, "BATCH_LETTERS", 5)
    shelf = Shelf()
    await _started(shelf, run=listens_and_wakes())
    said = [f"{n:03}" for n in range(PILE)]
    _say(shelf, "run", *said)

    async with Engine(MemoryStore(shelf=shelf), DEFINITIONS, world=Later()) as engine:
        handle = engine.handle("run")
        spoken = [f"here {n}" for n in range(20)]
        saying: list[asyncio.Future[None]] = []
        for text in (*spoken, "end"):
            saying.append(asyncio.ensure_future(_spoken(handle, text)))
            await asyncio.sleep(0)
        await asyncio.gather(*saying)
        assert await handle.result() == [*said, *spoken, "end"]


async def _spoken(handle: Handle[Any], text: str) -> None:
    await handle.signal(words, text)


class _Nobody:
    def __call__(self, *told: Any) -> None:
        raise AssertionError("nobody is told anything here")


def test_of_what_is_put_off_nothing_is_lost_and_the_order_stays() -> None:
    """`heard` hears a part of its mailbox, in this part of a batch; `other` does not."""
    heard, other = 2, 4
    signal, wake = Signal("words", Payload(b'["x"]')), Wake()

    def start(id: str) -> StartRequest:
        return StartRequest(id, "listens", Payload(b"[[],{}]"), None, _Nobody())  # type: ignore[arg-type]

    pile = [Letter(heard, signal, n) for n in (1, 2)]
    behind, told, timer, cancel = (
        Letter(heard, signal, 3),
        Letter(heard, signal),
        Letter(heard, wake),
        Letter(heard, Cancel("c"), 5),
    )
    block, moved = Letter(heard, BlockRun(Block("bug", "b", "m", "h", at=1))), Letter(heard, signal, 4)
    moved.moved = True
    mine, theirs = start("heard"), start("other")
    others = [Letter(other, signal, 6), Letter(other, wake), theirs]
    part = [timer, pile[0], behind, told, others[0], cancel, mine, block, moved, others[1], theirs]
    later: list[Item] = []
    put_off = PutOff()
    put_off.begin()

    parts = put_off.parts(Piled(pile, {heard: "heard"}), part, later)

    assert parts == [[moved], [others[0], block, others[1], theirs], pile]
    assert later == [timer, told, mine]  # `behind` and `cancel` are found again
    more = [Letter(heard, wake), Letter(heard, signal, 7), others[1]]
    assert put_off.without(more, later) == more[1:]
    assert later == [timer, told, mine, more[0]]

    put_off.begin()
    assert put_off.without(later, []) == later


def test_a_run_that_takes_nothing_of_its_pile_puts_nothing_off_twice() -> None:
    pile, timer = [Letter(2, Signal("words", Payload(b'["x"]')), 1)], Letter(2, Wake())
    put_off = PutOff()
    later: list[Item] = []
    for _ in range(2):
        put_off.begin()
        parts = put_off.parts(Piled(pile, {2: "run"}), [timer, *pile], later)

    assert (parts, later) == ([[timer], pile], [timer])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_each_run_hears_its_mail_in_order_and_then_what_was_said_here_whatever_piles_there_are(
    seed: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(owner, "POLL_ROWS", chance.randint(1, 20))
    monkeypatch.setattr(weight, "BATCH_LETTERS", chance.randint(1, 5))
    shelf = Shelf(shared=shared)
    runs = {f"run-{n}": chance.choice([listens, listens_and_wakes]) for n in range(6)}
    await _started(shelf, **{id: hears() for id, hears in runs.items()})
    left = {id: [f"mail {n}" for n in range(chance.choice([0, 1, 7, 60]))] for id in runs}
    mailed, here = {id: list(texts) for id, texts in left.items()}, {id: list[str]() for id in runs}
    while ids := [id for id, texts in left.items() if texts]:
        id = chance.choice(ids)
        _say(shelf, id, left[id].pop(0))

    async with Engine(MemoryStore(shelf=shelf), DEFINITIONS, world=Later()) as engine:
        saying: list[asyncio.Future[None]] = []
        for n in range(40):
            id = chance.choice(list(runs))
            here[id].append(f"here {n}")
            saying.append(asyncio.ensure_future(_spoken(engine.handle(id), here[id][-1])))
            await asyncio.sleep(chance.choice([0, 0, 0.001]))
        await asyncio.gather(*saying)
        for id in runs:
            await _spoken(engine.handle(id), "end")
        heard = {id: await engine.handle(id).result() for id in runs}

    assert heard == {id: [*mailed[id], *here[id], "end"] for id in runs}
