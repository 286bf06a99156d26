"""Work for other processes, explored: an attempt ends once, is lost once, and is never nowhere."""

import os

import pytest

from tests.model.explorer import explore
from tests.model.tasks import Rules, Setting, Tasks

SETTINGS = {
    "two workers": Setting(),
    "a worker crashes": Setting(crashes=1),
    "time is over": Setting(timeouts=1),
    "a living worker is taken for dead": Setting(burials=1),
    "a crash, and time is over": Setting(crashes=1, timeouts=1),
}
LARGE = {
    "a crash, and time is over twice": Setting(crashes=1, timeouts=2),
    "three workers": Setting(workers=3, crashes=1, timeouts=1, burials=1),
}

MUTATIONS = {
    "an attempt is ended by its step alone": (Rules(ends_by="step"), Setting(timeouts=1), "is nowhere"),
    "whatever ends is the result": (Rules(dedup=False), Setting(timeouts=1), "a task is left"),
    "losses are told to nobody": (Rules(tells_losses=False), Setting(crashes=1), "nothing leads to a good end"),
}


@pytest.mark.parametrize("name", [*SETTINGS, *(LARGE if os.environ.get("PERDURE_SOAK") else ())])
def test_the_protocol_of_tasks_holds(name: str) -> None:
    explored = explore(Tasks((SETTINGS | LARGE)[name]))

    assert explored.found is None, str(explored.found)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_simplification_that_fails_is_found_to_fail(name: str) -> None:
    rules, setting, fails = MUTATIONS[name]

    found = explore(Tasks(setting, rules)).found

    assert found is not None
    assert fails in found.what, str(found)
