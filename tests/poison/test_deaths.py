"""What nothing can interrupt ends its process, and the next one goes on: with everybody else, and with the culprit if that was
mended. (That the third such death quarantines a run is tested in tests/engine/test_poison.py.)"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perdure import Client, Engine
from tests.poison.deadly import ALL, DEADLY, HOW

pytestmark = pytest.mark.filterwarnings("ignore:.* in a workflow:")
ROOT = Path(__file__).resolve().parents[2]
NEIGHBOURS = 5
PATIENCE_S = 300.0


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A database with a deadly run, and others."""
    address = f"sqlite:///{tmp_path}/runs.db"
    with Client(address, create=True) as client:
        client.start("deadly", id="bad").wait()
        for n in range(NEIGHBOURS):
            client.start("lives", [n], id=f"good-{n}").wait()
    return address


def dies(address: str, how: str) -> tuple[int, str]:
    """What is left of a process in which it happens: how it ended, and what it said to standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.poison.deadly", address],
        stdin=subprocess.PIPE,  # stays open: at its end the process would
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, DEADLY: how},
        text=True,
    )
    too_long = threading.Timer(PATIENCE_S, process.kill)
    too_long.start()
    with process:
        assert process.stderr is not None
        said = process.stderr.read()
        status = process.wait()
    too_long.cancel()
    return status, said


NEVER_BACK = [how for how in HOW if how != "a fault"]


@pytest.mark.parametrize("how", NEVER_BACK)
def test_a_call_that_never_comes_back_ends_the_process_and_names_its_line(address: str, how: str):
    status, said = dies(address, how)

    assert status == 1
    assert "Timeout" in said
    assert "in deadly" in said
    with Engine(address, ALL) as engine:
        assert [engine.handle(f"good-{n}").result().wait() for n in range(NEIGHBOURS)] == list(range(NEIGHBOURS))
        assert engine.handle("bad").result().wait() == "alive"


def test_a_fault_in_a_turn_costs_a_process_and_the_next_one_goes_on(address: str):
    status, _ = dies(address, "a fault")

    assert status == -signal.SIGSEGV
    with Engine(address, ALL) as engine:
        assert [engine.handle(f"good-{n}").result().wait() for n in range(NEIGHBOURS)] == list(range(NEIGHBOURS))
        assert engine.handle("bad").result().wait() == "alive"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody keeps to such a limit")
def test_a_workflow_that_takes_all_memory_its_process_may_have_fails_and_gives_it_back():
    done = subprocess.run(
        [sys.executable, "-m", "tests.poison.hogging"],
        capture_output=True,
        cwd=ROOT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.stdout == "[0, 1, 2, 3, 4] run 'bad' failed: MemoryError\n", done.stderr
