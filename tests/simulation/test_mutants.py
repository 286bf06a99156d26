"""A simulator that finds nothing may be blind: it has to find each bug that is planted, and soon."""

import pytest

from perdure.testing.simulation.life import simulate
from perdure.testing.simulation.plan import plan_of
from tests.simulation.mutants import MUTANTS

SEEDS = 60
"""Of each workload, before the bug counts as overlooked."""


@pytest.mark.parametrize("wrong", MUTANTS)
def test_a_planted_bug_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, workloads = MUTANTS[wrong]
    plant(monkeypatch)

    assert any(_is_found(seed, workload) for seed in range(SEEDS) for workload in workloads)


def _is_found(seed: int, workload: str) -> bool:
    try:
        return bool(simulate(plan_of(seed, workload)).violation)
    except Exception:  # noqa: BLE001  what the bug makes of the engine is a find as well
        return True
