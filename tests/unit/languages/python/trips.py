"""Trips to be booked and undone: activities, and words for what happens to a run of them."""

from collections.abc import Callable
from typing import Any

import pytest

from perdure.activities import activity
from perdure.kernel import events as ev
from perdure.kernel.commands import ScheduleActivity
from perdure.kernel.program import ProgramBlocked, replay
from perdure.workflows import Saga, workflow
from tests.unit.languages.python.workflow_driver import Driver


@activity
async def book(what: str) -> str:
    return what


@activity
async def cancel(what: str, why: str = "") -> None: ...


@activity
async def note(texts: list[str]) -> None: ...


@activity
async def unknown() -> None: ...


ALL = (book, cancel, note)


def started(fn: Callable[..., Any], *args: Any, traced: bool = False) -> Driver:
    return Driver(workflow(fn), ALL, args, traced).start()


def blocked(act: Callable[[], Any]) -> ProgramBlocked:
    with pytest.raises(ProgramBlocked) as caught:
        act()
    return caught.value


def scheduled(driver: Driver, answer: int = -1) -> list[str]:
    """What the program asked for last, as texts: the activity and its first argument."""
    commands = [command for command in driver.answers[answer] if isinstance(command, ScheduleActivity)]
    return [f"{command.name} {first_argument(command.input)}" for command in commands]


def first_argument(input: ev.Payload) -> Any:
    return Driver.arguments(input)[0]


def complete(driver: Driver, *what: str) -> None:
    """Complete the pending steps with these first arguments."""
    for each in what:
        (id,) = [id for id, step in driver.run.pending.items() if first_argument(step.input) == each]
        driver.complete(id, each if driver.run.pending[id].name == "book" else None)


def fail(driver: Driver, what: str) -> None:
    (id,) = [id for id, step in driver.run.pending.items() if first_argument(step.input) == what]
    driver.fail(id, ValueError(f"no {what}"))


def failure_of(driver: Driver) -> str:
    assert isinstance(driver.outcome, ev.RunFailed), driver.outcome
    return driver.outcome.failure.type.rpartition(".")[2]


def faithful(driver: Driver) -> bool:
    """Whether a fresh program answers each event of the history in the same way."""
    return list(replay(driver.load(), driver.history)) == []


async def flight_and_hotel(undo: Saga) -> None:
    undo(cancel, "flight")
    await book("flight")
    undo(cancel, "hotel")
    await book("hotel")
