"""A short storm, and how storms are planned. `make chaos` is the long one."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.__main__ import storm
from tests.chaos.cluster import Cluster
from tests.chaos.places import File
from tests.chaos.plan import KINDS, LASTING, SERVER_KINDS, Kind, draw
from tests.postgres.present import demand_postgres

SEED = 11
SECONDS = 6.0
PAUSE = 1.0
"""Clients that pause so long between their jobs leave the processors to other tests."""
BLOWS = [
    "kill owner",
    "kill standby",
    "kill worker",
    "kill client",
    "stop owner",
    "stop worker",
    "freeze worker",
    "back up",
]

SERVER_SEED = 32
SERVER_SECONDS = 7.0
SERVER_BLOWS = [
    "kill engine",
    "kill worker",
    "kill client",
    "stop engine",
    "bury engine",
    "restart server",
    "kill server",
    "end sessions",
    "cut network",
    "freeze network",
]


def test_what_is_promised_holds_in_a_storm(tmp_path: Path):
    folder = tmp_path / "storm"
    folder.mkdir()
    plan = draw(SEED, SECONDS, 0.6, BLOWS)

    checks, figures, _ = storm(File(folder, plan, SECONDS), folder, SEED, plan, SECONDS, PAUSE, quiet=True)

    assert [(check.claim, check.problems) for check in checks if check.problems] == []
    assert figures["kills"] >= 1
    assert figures["runs"] > 20
    assert figures["steps"] > 20


def test_what_is_promised_holds_over_a_server_that_ends_again_and_again(tmp_path: Path):
    demand_postgres()
    folder = tmp_path / "storm"
    folder.mkdir()
    plan = draw(SERVER_SEED, SERVER_SECONDS, 0.6, SERVER_BLOWS, SERVER_KINDS)
    place = Cluster(folder, plan)
    try:
        checks, figures, _ = storm(place, folder, SERVER_SEED, plan, SERVER_SECONDS, PAUSE, quiet=True)
    finally:
        place.close(None)

    assert [(check.claim, check.problems) for check in checks if check.problems] == []
    assert figures["kills"] >= 1
    assert figures["returns"]["count"] >= 1
    assert figures["runs"] > 20
    assert figures["steps"] > 20


def test_a_plan_is_made_again_from_its_seed():
    assert draw(5, 600) == draw(5, 600) != draw(6, 600)


@pytest.mark.parametrize("kinds", [KINDS, SERVER_KINDS])
def test_a_long_plan_has_each_kind_of_blow(kinds: Mapping[str, Kind]):
    assert {blow.kind for blow in draw(1, 1_200, kinds=kinds)} == set(kinds)


def test_what_stops_everybody_lets_them_go_on_for_a_while_before_it_comes_again():
    lasting = [blow for blow in draw(3, 3_600) if blow.kind in LASTING]

    assert len(lasting) > 50
    assert all(one.at + one.seconds + 2 <= next.at for one, next in pairwise(lasting))
