"""SIGKILL of a real process before, inside or after commit n, for every n until the scenario ends; and of the one that
comes after it.

Another process, with other hashes, finishes what the killed ones left. Then the histories must be those of a life that
nobody disturbed, and the ledger must say that nothing whose completion was recorded has been done again.

With PERDURE_SOAK=1 every place and every pair of places is tried, which takes hours; else every third place, so that each state
of the database is left by a death, and one pair of each scenario, drawn from its name.
"""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from perdure import Client
from tests.crash import evidence
from tests.crash.corpus import ALL, SCENARIOS
from tests.crash.forks import Lives
from tests.crash.places import new_database
from tests.crash.scenarios import AT_MOST_ONCE, SPAWNING, STORM, Scenario

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
        self.address = f"sqlite:///{new_database(folder / 'runs.db')}"
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


class Trial:
    """A scenario, what it comes to if nobody disturbs it, and a place in which it is disturbed."""

    def __init__(self, name: str, scenario: Scenario, lives: tuple[Lives, Lives], folder: Path) -> None:
        self.name = name
        self._scenario = scenario
        self._killed, self._finishing = lives
        self._folder = folder
        undisturbed = prepared(folder / "undisturbed", scenario)
        assert self._finishing.live(name, undisturbed.address, str(undisturbed.ledger), at=0) == 0
        self._calm = looked_at(undisturbed, scenario)
        with Client(undisturbed.address, codec=scenario.codec) as client:
            self._having = [each.name for each in evidence.named(client, ALL)]

    def kill(self, *points: int) -> bool:
        """Kill each life at its point, let another one finish, and compare. False if one had ended before its point."""
        where = f"killed at {' and '.join(map(str, points))}"
        place = prepared(self._folder / where.replace(" ", "-"), self._scenario)
        seen: list[tuple[int, Looked]] = []
        for at in points:
            status = self._killed.live(self.name, place.address, str(place.ledger), at, self._having)
            if status == 0:
                return False
            assert status == -signal.SIGKILL, where
            seen.append((len(place.noted()), looked_at(place, self._scenario)))
        assert self._finishing.live(self.name, place.address, str(place.ledger), 0, self._having) == 0, where
        after = looked_at(place, self._scenario)

        assert after.essences == self._calm.essences, where
        assert after.problems == [], where
        assert evidence.at_last(after.told) == evidence.at_last(self._calm.told), where
        assert after.done <= set(place.noted()), where
        for noted, before in seen:
            later = place.noted()[noted:]
            assert evidence.twice(before.done, later) == [], where
            assert evidence.fallen(before.heights, later) == [], where
            assert evidence.rewritten(before.told, after.told) == [], where
        return True


@pytest.mark.parametrize("name", [*SCENARIOS, *SPAWNING])
def test_a_run_that_is_killed_anywhere_ends_as_if_nothing_had_happened(
    name: str, lives: tuple[Lives, Lives], tmp_path: Path
):
    scenario = {**SCENARIOS, **SPAWNING}[name]
    trial = Trial(name, scenario, lives, tmp_path)

    # After a commit, before its effects, before the next commit and inside it are four points with the same database: at least
    # one of them is among every third point, and each of the four kinds is, by turns.
    points = range(1, MOST, 1 if os.environ.get("PERDURE_SOAK") else 3)
    at = next((at for at in points if not trial.kill(at)), MOST)

    assert 8 < at < MOST


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_recovery_that_is_killed_as_well_is_recovered_from(name: str, lives: tuple[Lives, Lives], tmp_path: Path):
    trial = Trial(name, SCENARIOS[name], lives, tmp_path)
    if os.environ.get("PERDURE_SOAK"):
        killed = 0
        for first in range(1, MOST):
            seconds = next(second for second in range(1, MOST) if not trial.kill(first, second))
            killed += seconds - 1
            if seconds == 1:
                break
        assert killed > 20
        return
    chance = random.Random(name)
    first = second = 40

    while not trial.kill(first := chance.randint(1, first), second := chance.randint(1, second)):
        pass  # one of them had ended before: earlier, then


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
