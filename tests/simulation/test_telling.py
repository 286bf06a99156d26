"""Lives in which attempts write to streams, and the store does not answer, processes die at it, and zombies go on writing."""

import itertools

import pytest

from perdure.testing.simulation.batches import Life
from perdure.testing.simulation.life import STORES, Found, simulate
from tests.simulation.streaming_mutants import MUTANTS

LIVES = 15
SEEDS = 40
"""Of each workload, before a bug counts as overlooked."""


def lived(life: Life) -> Found:
    return simulate(life.plan(), STORES[life.store])


@pytest.mark.parametrize("workload", ["tales", "cancel tales"])
@pytest.mark.parametrize("members", [0, 3])
def test_each_chunk_is_there_once_and_in_its_place(workload: str, members: int) -> None:
    lives = [Life(seed, workload, members=members, retention=seed % 3 == 0) for seed in range(LIVES)]

    assert {str(life): found for life in lives if (found := lived(life).violation)} == {}


def test_nor_is_one_lost_in_a_file() -> None:
    lives = [Life(seed, "tales", "sqlite") for seed in range(3)]

    assert {str(life): found for life in lives if (found := lived(life).violation)} == {}


@pytest.mark.parametrize("wrong", MUTANTS)
def test_a_planted_bug_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, workloads = MUTANTS[wrong]
    plans = [
        Life(seed, workload, members=seed % 2 * 3) for seed, workload in itertools.product(range(SEEDS), workloads)
    ]
    plant(monkeypatch)

    assert any(lived(life).violation for life in plans)
