"""Lives in which runs go that ended long ago, while others go on, people come too late, and processes die at it."""

import itertools

import pytest

from perdure.testing.simulation.batches import Life
from perdure.testing.simulation.life import STORES, Found, simulate
from perdure.testing.simulation.programs import WORKLOADS
from tests.simulation.forgetful_mutants import MUTANTS, SHARED

LIVES = 3
"""Of each workload."""

SEEDS = 40
"""Of each workload, before a bug counts as overlooked."""


def lived(life: Life) -> Found:
    return simulate(life.plan(), STORES[life.store])


@pytest.mark.parametrize("workload", WORKLOADS)
def test_no_promise_is_broken(workload: str) -> None:
    lives = [Life(seed, workload, retention=True, members=seed % 2 * 3) for seed in range(LIVES)]

    assert {str(life): found for life in lives if (found := lived(life).violation)} == {}


def test_nor_is_one_on_a_database_in_a_file() -> None:
    lives = [Life(seed, "everything", "sqlite", retention=True) for seed in range(3)]

    assert {str(life): found for life in lives if (found := lived(life).violation)} == {}


def test_runs_do_go_while_others_go_on_and_people_come_for_them() -> None:
    lines = [line for seed in range(40) for line in lived(Life(seed, "random", retention=True, members=2)).lines]

    for what in (
        ", which has gone",
        "strike    interleaved",
        "strike    frozen",
        "strike    after",
        "strike    in doubt",
    ):
        assert any(what in line for line in lines), what


@pytest.mark.parametrize("wrong", [*MUTANTS, *SHARED])
def test_a_planted_bug_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, workloads = (MUTANTS | SHARED)[wrong]
    members = 3 if wrong in SHARED else 0
    lives = [
        Life(seed, workload, "memory", members, retention=True)
        for seed, workload in itertools.product(range(SEEDS), workloads)
    ]
    plant(monkeypatch)

    assert any(lived(life).violation for life in lives)
