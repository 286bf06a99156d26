"""A short storm, and how storms are planned. `make chaos` is the long one."""

from itertools import pairwise
from pathlib import Path

from tests.chaos.__main__ import storm
from tests.chaos.plan import KINDS, LASTING, draw

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


def test_what_is_promised_holds_in_a_storm(tmp_path: Path):
    folder = tmp_path / "storm"
    folder.mkdir()

    checks, figures, _ = storm(folder, SEED, draw(SEED, SECONDS, 0.6, BLOWS), SECONDS, PAUSE, quiet=True)

    assert [(check.claim, check.problems) for check in checks if check.problems] == []
    assert figures["kills"] >= 1
    assert figures["runs"] > 20
    assert figures["steps"] > 20


def test_a_plan_is_made_again_from_its_seed():
    assert draw(5, 600) == draw(5, 600) != draw(6, 600)


def test_a_long_plan_has_each_kind_of_blow():
    assert {blow.kind for blow in draw(1, 1_200)} == set(KINDS)


def test_what_stops_everybody_lets_them_go_on_for_a_while_before_it_comes_again():
    lasting = [blow for blow in draw(3, 3_600) if blow.kind in LASTING]

    assert len(lasting) > 50
    assert all(one.at + one.seconds + 2 <= next.at for one, next in pairwise(lasting))
