"""Runs that were sent very much keep no others waiting, and hear it in order all the same."""

from typing import Any

import pytest

from perdure import Engine, channel, workflow
from perdure.kernel.events import Payload
from perdure.kernel.messages import Signal
from perdure.runtime import owner, weight
from perdure.stores.base import Batch, MailRow
from perdure.stores.memory import MemoryStore, Shelf
from perdure.testing import FaultWhere

PILE = 300

words = channel("words", str)


@workflow
async def listens() -> list[str]:
    heard: list[str] = []
    while "end" not in heard:
        heard.append(await words.receive())
    return heard


def _say(shelf: Shelf, id: str, *texts: str) -> None:
    keys = {row.id: row.key for row in shelf.runs.values()}
    for text in texts:
        MemoryStore(shelf=shelf).post.send(MailRow(0, keys[id], Signal("words", Payload(f'["{text}"]'.encode()))))


class Watch:
    """Notes how much of its pile `run` has left whenever `other` ends."""

    def __init__(self, shelf: Shelf) -> None:
        self.left: list[int] = []
        self._shelf = shelf
        self.store = MemoryStore(shelf=shelf, faults=FaultWhere("refused", self._see))

    def _see(self, batch: Batch) -> bool:
        if any(row.id == "other" and row.closed_at is not None for row in batch.updated):
            (key,) = (row.key for row in self._shelf.runs.values() if row.id == "run")
            self.left.append(sum(mail.run == key for mail in self._shelf.mail.values()))
        return False


async def _started(shelf: Shelf, **runs: Any) -> None:
    async with Engine(MemoryStore(shelf=shelf), [listens]) as engine:
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
    async with Engine(watch.store, [listens]) as engine:
        assert await engine.handle("other").result() == ["end"]
        assert await engine.handle("run").result() == [*said, "end"]
    assert watch.left[0] > PILE - 3 * 20
