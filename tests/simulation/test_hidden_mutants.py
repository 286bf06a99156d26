"""What the simulator sees where runs come to the right end all the same."""

from collections.abc import Iterator

import pytest

from perdure.testing.simulation import checks
from perdure.testing.simulation.checks import Checks
from perdure.testing.simulation.cluster import Cluster
from perdure.testing.simulation.life import simulate
from perdure.testing.simulation.plan import plan_of
from perdure.testing.simulation.reasons import Inside, Reasons
from tests.simulation.hidden_mutants import MUTANTS, Hidden

SEEDS = 40
BLIND_SEEDS = 4


@pytest.mark.parametrize("wrong", MUTANTS)
def test_a_bug_that_costs_no_run_its_end_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[wrong].plant(monkeypatch)

    assert MUTANTS[wrong].said in next(violations(MUTANTS[wrong], SEEDS), "")


@pytest.mark.parametrize("wrong", MUTANTS)
def test_nothing_else_would_find_it(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[wrong].plant(monkeypatch)
    for where, looks in (
        (Reasons, "demand"),
        (Inside, "demand_reasons"),
        (checks, "demand_in_order"),
        (Checks, "left"),
    ):
        monkeypatch.setattr(where, looks, lambda *_: None)
    monkeypatch.setattr(checks, "left_in", lambda store: [])

    assert list(violations(MUTANTS[wrong], BLIND_SEEDS)) == []


def violations(hidden: Hidden, seeds: int) -> Iterator[str]:
    """In lives that nothing disturbs."""
    plans = (plan_of(seed, hidden.workload, (), hidden.members) for seed in range(seeds))
    lives = (Cluster(plan).live() if plan.members else simulate(plan) for plan in plans)
    return (life.violation for life in lives if life.violation)
