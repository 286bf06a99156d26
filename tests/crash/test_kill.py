"""SIGKILL of a real process before, inside and after commit n, for every n until the scenario ends.

Another process, with other hashes, finishes what the killed one left. Then the histories must be those of a life that
nobody disturbed, and the ledger must say that nothing whose completion was recorded has been done again.
"""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Client
from tests.crash import evidence
from tests.crash.forks import Lives
from tests.crash.scenarios import SCENARIOS, SPAWNING, STORM, Scenario

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


def looked_at(place: Place, scenario: Scenario) -> tuple[dict[str, list[str]], set[str], list[str]]:
    """The essence of each run's history, what is recorded as done, and what the check of the database finds."""
    with Client(place.address, create=True, codec=scenario.codec) as client:
        found = evidence.histories(client, scenario)
        problems = client.store.admin.check()
    essences = {id: evidence.essence(history, scenario.in_order) for id, history in found.items()}
    return essences, evidence.all_done(found), problems


@pytest.mark.parametrize("name", [*SCENARIOS, *SPAWNING])
def test_a_run_that_is_killed_anywhere_ends_as_if_nothing_had_happened(
    name: str, lives: tuple[Lives, Lives], tmp_path: Path
):
    scenario = {**SCENARIOS, **SPAWNING}[name]
    killed, finishing = lives
    undisturbed = prepared(tmp_path / "undisturbed", scenario)
    assert finishing.live(name, undisturbed.address, str(undisturbed.ledger), at=0) == 0
    expected, _, _ = looked_at(undisturbed, scenario)

    at = 0
    for at in range(1, MOST):
        place = prepared(tmp_path / f"kill-{at}", scenario)
        status = killed.live(name, place.address, str(place.ledger), at)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        before = place.noted()
        _, recorded, _ = looked_at(place, scenario)
        assert finishing.live(name, place.address, str(place.ledger), at=0) == 0
        essences, done, problems = looked_at(place, scenario)

        assert essences == expected, f"killed at point {at}"
        assert problems == [], f"killed at point {at}"
        assert evidence.twice(recorded, place.noted()[len(before) :]) == [], f"killed at point {at}"
        assert done <= set(place.noted()), f"killed at point {at}"
    assert 8 < at < MOST


@pytest.mark.parametrize("seed", range(4))
def test_runs_that_are_killed_again_and_again_come_to_their_end(seed: int, lives: tuple[Lives, Lives], tmp_path: Path):
    chance = random.Random(seed)
    calm, stormy = prepared(tmp_path / "calm", STORM), prepared(tmp_path / "stormy", STORM)
    assert lives[0].live("storm", calm.address, str(calm.ledger), at=0) == 0
    expected, _, _ = looked_at(calm, STORM)

    status = -signal.SIGKILL
    deaths = 0
    while status == -signal.SIGKILL:
        recorded, noted = past_of(stormy)
        status = chance.choice(lives).live("storm", stormy.address, str(stormy.ledger), at=chance.randint(1, 60))
        assert evidence.twice(recorded, stormy.noted()[noted:]) == []
        deaths += status != 0

    essences, _, problems = looked_at(stormy, STORM)
    assert status == 0
    assert essences == expected
    assert problems == []
    assert deaths > 1


def past_of(place: Place) -> tuple[set[str], int]:
    """What is recorded as done by now, and how many lines the ledger has."""
    return looked_at(place, STORM)[1], len(place.noted())
