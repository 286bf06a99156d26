"""Classes of values that are changed under open runs: a run goes on if what is recorded can still be read, and is blocked with the
place that cannot be, the others go on, and so does it when the class is mended. What is recorded stays as it is."""

import asyncio
import enum
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from perdure import Engine, RunBlocked, activity, channel, workflow
from perdure.client.handle import Handle
from tests.poison.beside import NEIGHBOURS, STEPS, add, neighbour


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Fewer(enum.Enum):
    RED = "red"


@dataclass
class Item:
    count: int
    colour: Colour = Colour.BLUE


class Moved(msgspec.Struct):
    count: int
    colour: Colour = Colour.BLUE


def item(*fields: Any) -> Any:
    return make_dataclass("Item", fields)


READ: dict[str, Any] = {
    "a field is gone": item(("count", int)),
    "a field has come, with a default": item(("count", int), ("colour", Colour), ("size", str, "large")),
    "a number may have a fraction": item(("count", float), ("colour", Colour)),
    "a field may be missing": item(("count", int | None), ("colour", Colour | None, None)),
    "it has moved, and is of another kind": Moved,
    "it is a dict": dict[str, Any],
}
UNREAD: dict[str, tuple[Any, str]] = {
    "a field has come": (item(("count", int), ("colour", Colour), ("size", str)), "size"),
    "a field has another name": (item(("number", int), ("colour", Colour)), "number"),
    "a field is of another type": (item(("count", str), ("colour", Colour)), "count"),
    "a member of the enumeration is gone": (item(("count", int), ("colour", Fewer)), "colour"),
    "a choice is gone": (item(("count", int), ("colour", Literal["red"])), "colour"),
    "a field holds several": (item(("count", list[int]), ("colour", Colour)), "count"),
    "it is a list": (list[int], "(dict)"),
}
"""What becomes of the class, and what a reader is told of where it does not fit."""

PLACES = {
    "input": "the input of workflow takes",
    "result": "the result of activity makes [0:1]",
    "signal": "the signal given",
}
COUNT = 7


def code(kind: Any, place: str) -> list[Any]:
    """Workflow and activity with that class in one place; elsewhere, that is not under test, it stays as it was."""
    kinds = dict.fromkeys(PLACES, Item) | {place: kind}
    Taken, Made = kinds["input"], kinds["result"]
    given = channel("given", kinds["signal"])
    on = channel("on", str)

    @activity
    async def makes() -> Made:
        return Item(COUNT)

    @workflow
    async def takes(item: Taken) -> str:
        made = await makes()
        heard = await given.receive()
        await on.receive()
        return ", ".join(str(told(each)) for each in (item, made, heard))

    return [takes, makes, neighbour, add]


def told(value: Any) -> Any:
    return value["count"] if isinstance(value, dict) else getattr(value, "count", value)


async def begun(address: str) -> None:
    """A run that has had its input, a result and a signal, and waits."""
    async with Engine(address, code(Item, "input"), build="before") as engine:
        run = await engine.start("takes", [Item(COUNT)], id="changed")
        await run.signal("given", Item(COUNT))
        while (await run.describe()).events < 4:
            await asyncio.sleep(0)


async def neighbours_go_on(engine: Engine) -> None:
    totals = await asyncio.gather(*[engine.run(neighbour(n)) for n in range(NEIGHBOURS)])
    assert totals == [STEPS * n for n in range(NEIGHBOURS)]


async def events_of(run: "Handle[Any]") -> list[bytes]:
    return [each.wire for each in (await run.export()).events]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", READ)
async def test_a_run_goes_on_with_what_can_still_be_read(tmp_path: Path, change: str, place: str):
    address = f"sqlite:///{tmp_path}/runs.db"
    await begun(address)

    async with Engine(address, code(READ[change], place), build="after") as engine:
        run = engine.handle("changed")
        await run.signal("on", "")
        result = await run.result()

    assert [float(each) for each in result.split(", ")] == [COUNT] * 3


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", UNREAD)
async def test_a_run_is_blocked_with_the_place_that_cannot_be_read_until_that_is_mended(
    tmp_path: Path, change: str, place: str
):
    address = f"sqlite:///{tmp_path}/runs.db"
    await begun(address)
    kind, where = UNREAD[change]

    async with Engine(address, code(kind, place), build="after") as engine:
        run = engine.handle("changed")
        before = await events_of(run)
        await run.signal("on", "")
        with pytest.raises(RunBlocked) as blocked:
            await run.result()
        await neighbours_go_on(engine)
        during = await events_of(run)
    async with Engine(address, code(Item, place), build="after") as engine:
        run = engine.handle("changed")
        await run.retry()
        result = await run.result()
        after = await events_of(run)

    assert f"run 'changed' is blocked at {__file__}:" in str(blocked.value)
    assert f"{PLACES[place]} can no longer be " in str(blocked.value)
    assert where in str(blocked.value)
    assert result == ", ".join([str(COUNT)] * 3)
    assert (during[: len(before)], after[: len(during)]) == (before, during)
