"""SIGKILL of a real process before, inside and after commit n, for every n until the scenario ends.

Another process, with other hashes, finishes what the killed one left. Then the histories must be those of a life that
nobody disturbed, and the ledger must say that nothing whose completion was recorded has been done again.
"""

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from perdure import Client
from tests.crash import evidence
from tests.crash.forks import Lives
from tests.crash.scenarios import AT_MOST_ONCE, SCENARIOS, SPAWNING, STORM, Scenario

MOST = 400
"""A scenario has fewer crash points, unless it does not come to its end."""


@pytest.fixture(scope="module")
def lives() -> Iterator[tuple[Lives, Lives]]:
    """Where processes live that are killed, and those that finish."""
    first, second = Lives(hash_seed=1), Lives(hash_seed=2)
    yield first, second
    first.close()
    second.close()


class Place:
    """A database and a ledger."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.address = f"sqlite:///{folder}/runs.db"
        self.ledger = folder / "ledger"
        self.ledger.touch()

    def noted(self) -> list[str]:
        return self.ledger.read_text().splitlines()


def prepared(folder: Path, scenario: Scenario) -> Place:
    place = Place(folder)
    if scenario.prepare is not None:
        with Client(place.address, create=True) as client:
            scenario.prepare(client)
    return place


class Looked(NamedTuple):
    """The essence of each run's history, what is recorded as done, how far heartbeats say that steps have come, and what the
    check of the database finds; and what streams hold."""

    essences: dict[str, list[str]]
    done: set[str]
    heights: dict[str, int]
    problems: list[str]
    told: dict[str, evidence.Told]


def looked_at(place: Place, scenario: Scenario) -> Looked:
    with Client(place.address, create=True, codec=scenario.codec) as client:
        found = evidence.histories(client, scenario)
        heights = evidence.heights(client, scenario)
        problems = client.store.admin.check()
        told = evidence.told(client, scenario)
    essences = {id: evidence.essence(history, scenario.in_order) for id, history in found.items()}
    return Looked(essences, evidence.all_done(found), heights, problems, told)


@pytest.mark.parametrize("name", [*SCENARIOS, *SPAWNING])
def test_a_run_that_is_killed_anywhere_ends_as_if_nothing_had_happened(
    name: str, lives: tuple[Lives, Lives], tmp_path: Path
):
    scenario = {**SCENARIOS, **SPAWNING}[name]
    killed, finishing = lives
    undisturbed = prepared(tmp_path / "undisturbed", scenario)
    assert finishing.live(name, undisturbed.address, str(undisturbed.ledger), at=0) == 0
    calm = looked_at(undisturbed, scenario)
    expected, said = calm.essences, evidence.at_last(calm.told)

    at = 0
    # A codec changes what is written, not when: every second point is enough, which is each kind of point by turns.
    for at in range(1, MOST, 1 if scenario.codec is None else 2):
        place = prepared(tmp_path / f"kill-{at}", scenario)
        status = killed.live(name, place.address, str(place.ledger), at)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        noted, before = len(place.noted()), looked_at(place, scenario)
        assert finishing.live(name, place.address, str(place.ledger), at=0) == 0
        later, after = place.noted()[noted:], looked_at(place, scenario)

        assert after.essences == expected, f"killed at point {at}"
        assert after.problems == [], f"killed at point {at}"
        assert evidence.twice(before.done, later) == [], f"killed at point {at}"
        assert evidence.fallen(before.heights, later) == [], f"killed at point {at}"
        assert evidence.at_last(after.told) == said, f"killed at point {at}"
        assert evidence.rewritten(before.told, after.told) == [], f"killed at point {at}"
        assert after.done <= set(place.noted()), f"killed at point {at}"
    assert 8 < at < MOST


@pytest.mark.parametrize("seed", range(4))
def test_runs_that_are_killed_again_and_again_come_to_their_end(seed: int, lives: tuple[Lives, Lives], tmp_path: Path):
    chance = random.Random(seed)
    calm, stormy = prepared(tmp_path / "calm", STORM), prepared(tmp_path / "stormy", STORM)
    assert lives[0].live("storm", calm.address, str(calm.ledger), at=0) == 0
    expected = looked_at(calm, STORM).essences

    status = -signal.SIGKILL
    deaths = 0
    while status == -signal.SIGKILL:
        noted, before = len(stormy.noted()), looked_at(stormy, STORM)
        status = chance.choice(lives).live("storm", stormy.address, str(stormy.ledger), at=chance.randint(1, 60))
        assert evidence.twice(before.done, stormy.noted()[noted:]) == []
        assert evidence.fallen(before.heights, stormy.noted()[noted:]) == []
        deaths += status != 0

    after = looked_at(stormy, STORM)
    assert status == 0
    assert after.essences == expected
    assert after.problems == []
    assert deaths > 1


def test_what_is_done_at_most_once_is_not_done_twice_wherever_it_is_killed(lives: tuple[Lives, Lives], tmp_path: Path):
    killed, finishing = lives
    at, unknown = 0, 0
    for at in range(1, MOST):
        place = prepared(tmp_path / f"kill-{at}", AT_MOST_ONCE)
        status = killed.live("at most once", place.address, str(place.ledger), at)
        if status == 0:
            break
        before = looked_at(place, AT_MOST_ONCE)
        assert finishing.live("at most once", place.address, str(place.ledger), at=0) == 0
        after = looked_at(place, AT_MOST_ONCE)

        (history,) = after.essences.values()
        unknown += "somebody has to look" in str(history)
        dangerous = [key for key in place.noted() if key.endswith((":0:1", ":0:2"))]
        assert len(set(dangerous)) == len(dangerous), f"killed at point {at}"
        assert '"type": "RunCompleted"' in history[-1], f"killed at point {at}"
        assert before.done <= after.done, f"killed at point {at}"
        assert after.problems == [], f"killed at point {at}"
    assert 8 < at < MOST
    assert unknown > 1
