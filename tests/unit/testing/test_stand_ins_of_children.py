"""Children that a test of their parent does not run."""

from typing import Any

import pytest

from perdure import ChildFailed, DefinitionError, workflow
from perdure.testing import TestEngine


@workflow
async def ship(item: str, *, express: bool = False) -> str:
    raise RuntimeError("not in a test")


@workflow
class Invoice:
    @workflow.run
    async def write(self, item: str) -> int:
        raise RuntimeError("not in a test")


@workflow
async def order(item: str) -> list[Any]:
    try:
        return [await ship(item, express=True), await Invoice.write(item)]
    except ChildFailed as failed:
        return [failed.type, failed.message]


def price(item: str) -> int:
    return len(item)


def test_stand_ins_give_the_results_of_children() -> None:
    async def shipped(item: str, *, express: bool = False) -> str:
        return f"{item} {express}"

    with TestEngine([order, ship, Invoice], workflows={ship: shipped, Invoice: price}) as engine:
        assert engine.run(order("book")).wait() == ["book True", 4]


def test_a_stand_in_may_raise() -> None:
    def lost(item: str, *, express: bool = False) -> str:
        raise ValueError("lost")

    with TestEngine([order, ship, Invoice], workflows={ship: lost}) as engine:
        assert engine.run(order("book")).wait() == ["ValueError", "lost"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({ship: lambda: "x"}, "what stands in for workflow ship cannot be called like it"),
        ({Invoice: lambda items: 1}, "what stands in for workflow Invoice cannot be called like it"),
        ({price: price}, "a workflow was expected"),
    ],
)
def test_what_cannot_stand_in_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        TestEngine([order, ship, Invoice], workflows=wrong)
