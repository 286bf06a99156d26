"""Who gets the next slot."""

from typing import Any

import pytest

from perdure.kernel.run import Run
from perdure.runtime.actors import Actor
from perdure.runtime.slots import Slots
from perdure.stores.memory import MemoryStore


@pytest.fixture
def slots() -> Slots:
    return Slots(1, {}, 3, 1, 1)


def wanted(slots: Slots, *steps: tuple[int, str]) -> None:
    store: Any = MemoryStore()
    for key, step in steps:
        slots.want(Actor(Run(key, f"r{key}"), store), "an activity", step)


def granted(slots: Slots, only: Any = None) -> list[tuple[int, str]]:
    """As many as there are free; they end at once."""
    found = [(key, step, kind) for key, step, kind in slots.grants(only)]
    for _, _, kind in found:
        slots.give_back(kind)
    return [(key, step) for key, step, _ in found]


def test_runs_take_turns_and_the_steps_of_a_run_come_in_their_order(slots: Slots) -> None:
    wanted(slots, *[(1, f"0:{n}") for n in range(5)], (2, "0:1"), (3, "0:1"), (3, "0:2"))

    assert granted(slots) == [(1, "0:0"), (2, "0:1"), (3, "0:1")]
    assert granted(slots) == [(1, "0:1"), (3, "0:2"), (1, "0:2")]
    assert granted(slots) == [(1, "0:3"), (1, "0:4")]
    assert granted(slots) == []


def test_runs_that_are_passed_over_keep_their_places(slots: Slots) -> None:
    wanted(slots, (1, "0:1"), (2, "0:1"), (1, "0:2"), (3, "0:1"), (2, "0:2"))

    assert granted(slots, only={2, 3}) == [(2, "0:1"), (3, "0:1"), (2, "0:2")]
    assert granted(slots) == [(1, "0:1"), (1, "0:2")]
