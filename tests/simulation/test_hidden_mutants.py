"""What the simulator sees where runs come to the right end all the same."""

import itertools

import pytest

from perdure.testing.simulation.life import simulate
from perdure.testing.simulation.plan import plan_of
from perdure.testing.simulation.reasons import Inside, Reasons
from tests.simulation.hidden_mutants import MUTANTS

SEEDS = 20
BLIND_SEEDS = 4


@pytest.mark.parametrize("wrong", MUTANTS)
def test_a_bug_that_costs_no_run_its_end_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, said, workloads = MUTANTS[wrong]
    plant(monkeypatch)

    assert said in "; ".join(found(workloads, SEEDS))


@pytest.mark.parametrize("wrong", MUTANTS)
def test_nothing_else_would_find_it(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, _, workloads = MUTANTS[wrong]
    plant(monkeypatch)
    monkeypatch.setattr(Reasons, "demand", lambda *_: None)
    monkeypatch.setattr(Inside, "demand_reasons", lambda *_: None)

    assert found(workloads, BLIND_SEEDS) == []


def found(workloads: tuple[str, ...], seeds: int) -> list[str]:
    """The first violation in lives that nothing disturbs."""
    lives = (simulate(plan_of(seed, each, ())) for seed, each in itertools.product(range(seeds), workloads))
    return list(itertools.islice((life.violation for life in lives if life.violation), 1))
