"""What one engine's run says to another engine's, just as that one is blocked: nobody waits for what cannot be heard now."""

import time
from typing import Any

import pytest

from perdure import Engine, channel, external, workflow
from perdure.kernel.events import Payload
from perdure.kernel.messages import Signal
from perdure.kernel.run import Status
from perdure.runtime.world import World
from perdure.stores.base import MailRow, Store
from perdure.stores.memory import MemoryStore, Shelf

words = channel("words", str)


@workflow
async def listens() -> list[str]:
    return [await words.receive(), await words.receive()]


@workflow(name="listens")
async def breaks() -> list[str]:
    """The same with a bug."""
    heard = await words.receive()
    raise TypeError(heard)


@workflow
async def speaks() -> str:
    await external("listens").signal(words, "two")
    return "spoken"


@workflow
async def calls_off() -> str:
    await external("listens").cancel("no need")
    return "called off"


def _say(store: Store, text: str) -> None:
    row = store.views.row("listens")
    assert row is not None
    store.post.send(MailRow(0, row.key, Signal("words", Payload(f'["{text}"]'.encode()))))
    store.post.nudge([row.key])


class Crossing(World):
    """What is to be committed next is decided already when the run that it is for is blocked elsewhere."""

    def __init__(self, shelf: Shelf) -> None:
        self._outside = MemoryStore(shelf=shelf)
        self.armed = False

    def crash_point(self, name: str) -> None:
        if not self.armed or name != "before-commit":
            return
        self.armed = False
        _say(self._outside, "one")
        while (row := self._outside.views.row("listens")) is None or row.status != Status.BLOCKED:
            time.sleep(0.001)


@pytest.mark.parametrize(("asks", "said"), [(speaks, "spoken"), (calls_off, "called off")])
def test_whoever_speaks_to_a_run_that_is_blocked_just_then_does_not_wait_for_it(asks: Any, said: str) -> None:
    shelf = Shelf(shared=True)
    world = Crossing(shelf)
    with (
        Engine(MemoryStore(shelf=shelf), [breaks]) as there,
        Engine(MemoryStore(shelf=shelf), [asks], world=world) as here,
    ):
        there.start(breaks(), id="listens").wait()
        world.armed = True
        assert here.run(asks(), id="asks").wait() == said
    assert not world.armed

    row = MemoryStore(shelf=shelf).views.row("listens")
    assert row is not None and row.status == Status.BLOCKED
    assert [mail.reply_to for mail in shelf.mail.values() if mail.run == row.key] == [""]  # it lies there still


def test_what_was_said_while_a_run_was_blocked_it_hears_when_it_goes_on() -> None:
    shelf = Shelf(shared=True)
    world = Crossing(shelf)
    with (
        Engine(MemoryStore(shelf=shelf), [breaks]) as there,
        Engine(MemoryStore(shelf=shelf), [speaks], world=world) as here,
    ):
        there.start(breaks(), id="listens").wait()
        world.armed = True
        here.run(speaks(), id="speaks").wait()

    with Engine(MemoryStore(shelf=shelf), [listens]) as mended:
        assert mended.handle("listens").result().wait() == ["one", "two"]
