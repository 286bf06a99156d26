"""The protocol of several owners, explored: nothing is lost or doubled, nobody waits for ever, whatever happens in whichever order."""

import os

import pytest

from tests.model.calls import Rules
from tests.model.explorer import explore
from tests.model.mutations import MUTATIONS
from tests.model.protocol import Protocol
from tests.model.settings import LARGE, SMALL

SOAKS = bool(os.environ.get("PERDURE_SOAK"))


@pytest.mark.parametrize("name", [*SMALL, *(LARGE if SOAKS else ())])
def test_the_protocol_holds(name: str) -> None:
    explored = explore(Protocol((SMALL | LARGE)[name]), most=4_000_000)

    assert explored.found is None, str(explored.found)
    assert explored.states > 100


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_simplification_that_fails_is_found_to_fail(name: str) -> None:
    mutation = MUTATIONS[name]

    explored = explore(Protocol(mutation.setting, mutation.rules), most=100_000)

    assert explored.found is not None
    assert mutation.fails in explored.found.what, str(explored.found)


def test_every_rule_that_can_be_left_out_is_left_out_by_a_mutation() -> None:
    """Nothing depends on the fences of `poll` and `own`, it seems: what a dead member claims is claimed by the next one that polls."""
    changed = {
        field
        for each in MUTATIONS.values()
        for field, value in each.rules._asdict().items()
        if value != getattr(Rules(), field)
    }

    assert set(Rules._fields) - changed == {"polls_are_fenced", "own_is_fenced", "beats"}


def test_the_shortest_way_to_a_violation_is_told_in_words() -> None:
    mutation = MUTATIONS["members that declare each other dead wait for each other"]

    assert str(explore(Protocol(mutation.setting, mutation.rules)).found).splitlines() == [
        "after 4 steps: a deadlock",
        "  process 1: declare_dead 2",
        "  process 1: declare_dead of member 1: declare_fence",
        "  process 2: declare_dead 1",
        "  process 2: declare_dead of member 2: declare_fence",
    ]
