"""Promise 5: whatever the program and the order of completions, replay gives the same commands."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.kernel.program import replay
from tests.unit.languages.python.random_programs import PROGRAMS, SAGAS, boom, perform, step
from tests.unit.languages.python.workflow_driver import Driver

SETTINGS = settings(
    max_examples=int(os.environ.get("PERDURE_EXAMPLES", "200")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def run(spec: list, seed: int, evictions: float = 0.0, cancel_at: int | None = None) -> Driver:
    driver = Driver(perform, [step, boom], [spec]).start()
    order = random.Random(seed)
    if cancel_at is not None:
        for _ in range(cancel_at):
            if driver.run.is_open and driver.run.pending:
                driver.answer(order.choice(sorted(driver.run.pending)))
        if driver.run.is_open:
            driver.cancel("enough")
    return driver.finish(order, evictions)


@SETTINGS
@given(PROGRAMS, st.integers(0, 2**32), st.none() | st.integers(0, 5))
def test_a_history_replays_to_the_same_commands(spec: list, seed: int, cancel_at: int | None) -> None:
    driver = run(spec, seed, cancel_at=cancel_at)

    assert list(replay(driver.load(), driver.history)) == []


@SETTINGS
@given(PROGRAMS, st.integers(0, 2**32), st.none() | st.integers(0, 5))
def test_no_run_ends_before_its_sagas_are_undone(spec: list, seed: int, cancel_at: int | None) -> None:
    SAGAS.clear()

    run(spec, seed, cancel_at=cancel_at)

    assert [left for left in SAGAS if left] == []


@SETTINGS
@given(PROGRAMS, st.integers(0, 2**32))
def test_eviction_at_any_moment_changes_nothing(spec: list, seed: int) -> None:
    undisturbed = run(spec, seed)
    order = random.Random(seed)
    evicted = Driver(perform, [step, boom], [spec]).start()
    coin = random.Random(seed + 1)
    while evicted.run.is_open:
        if coin.random() < 0.3:
            evicted.evict()
        choices = sorted(evicted.run.pending) + (["timer"] if evicted.run.timers else [])
        choice = order.choice(choices)
        evicted.now += order.randrange(1, 2_000_000)
        if choice == "timer":
            evicted.wake()
        else:
            evicted.answer(choice)
        if evicted.run.is_open:
            order.random()

    assert evicted.history == undisturbed.history


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_another_process_with_another_hash_seed_replays_the_same(hash_seed: str) -> None:
    cases = []

    @settings(max_examples=120, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(PROGRAMS, st.integers(0, 2**32))
    def collect(spec: list, seed: int) -> None:
        cases.append([spec, msgspec.to_builtins(run(spec, seed).history)])

    collect()
    program = Path(__file__).with_name("random_programs.py")
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}

    done = subprocess.run(
        [sys.executable, str(program)], input=json.dumps(cases), capture_output=True, text=True, env=environment
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
