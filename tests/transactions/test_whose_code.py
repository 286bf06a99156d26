"""Transactional activities that name no queue are made by the code that their run is for, as other steps are."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from perdure import Engine, activity, workflow
from tests.transactions.shared import Shared

STEPS = 12


def code(of: str, name: str) -> list[Any]:
    """A workflow of that name with an activity `book`, which says whose it is, slowly enough that others could help."""

    @activity(transactional=True, name="book")
    def book(number: int) -> str:
        activity.connection(object)
        time.sleep(0.02)
        return of

    @workflow(name=name, versioning="pinned")
    async def booking() -> list[str]:
        return await asyncio.gather(*(book(number) for number in range(STEPS)))

    return [booking, book]


def said(address: str, one: list[Any], other: list[Any], build: Callable[[int], str]) -> list[str]:
    """What runs that `one` has begun hear, while an idle engine with the code `other` is there."""
    slow: dict[str, Any] = {"threads": 1}
    first: AbstractContextManager[Engine] = Engine(address, one, build=build(1), **slow)
    with first as engine, Engine(address, other, build=build(2)):
        handles = [engine.start(one[0]()).wait() for _ in range(3)]
        return [each for handle in handles for each in handle.result().wait()]


def test_attempts_of_a_pinned_run_are_made_by_its_build(on_server: Shared):
    one, other = code("one", "booking"), code("other", "booking")

    assert said(on_server.address, one, other, str) == ["one"] * 3 * STEPS


def test_attempts_are_made_by_an_application_that_knows_the_workflow(on_server: Shared):
    one, other = code("shop", "buying"), code("bank", "paying")

    assert said(on_server.address, one, other, lambda _: "same") == ["shop"] * 3 * STEPS


def test_what_waits_when_an_engine_goes_waits_for_its_build(shared: Shared):
    """One after the other, as on SQLite."""
    began = threading.Event()

    def build(of: str) -> list[Any]:
        @activity(transactional=True, name="book")
        def book(number: int) -> str:
            if of == "old" and not began.is_set():
                began.set()
                while not activity.cancelled():
                    time.sleep(0.005)
            return of

        @workflow(name="booking", versioning="pinned")
        async def booking(number: int) -> list[str]:
            return await asyncio.gather(*(book(each) for each in range(number)))

        return [booking, book]

    old, new = build("old"), build("new")
    with Engine(shared.address, old, build="old", threads=1, drain=0) as engine:
        engine.start(old[0](3), id="one").wait()
        assert began.wait(60)
    with Engine(shared.address, new, build="new") as engine:
        assert engine.run(new[0](1), id="other").wait() == ["new"]  # whatever was there before had its turn
    with Engine(shared.address, old, build="old") as engine:
        assert engine.handle("one").result().wait() == ["old"] * 3
