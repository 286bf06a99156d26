"""The same lives again and again, in one process: it has as many objects, threads and files afterwards as after the first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.runtime.actors import Actor
from perdure.testing.simulation.life import simulate
from perdure.testing.simulation.plan import plan_of
from tests.simulation.leftovers import FILES, files, objects

ROUNDS = 100 if "PERDURE_SOAK" in os.environ else 2
ROOT = Path(__file__).resolve().parents[2]


def test_lives_leave_no_objects_no_threads_and_no_files_behind() -> None:
    command = [sys.executable, "-m", "tests.simulation.leftovers", str(ROUNDS)]

    lived = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert lived.returncode == 0, lived.stderr
    assert json.loads(lived.stdout) == {}


def test_an_object_that_stays_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Actor] = []
    made = Actor.__init__

    def remembered(self: Actor, *args: object, **options: object) -> None:
        made(self, *args, **options)  # type: ignore[arg-type]
        kept.append(self)

    before = objects()
    monkeypatch.setattr(Actor, "__init__", remembered)
    simulate(plan_of(0, "sequence"))

    assert (objects() - before)["perdure.runtime.actors.Actor"] == len(kept) > 0


@pytest.mark.skipif(not FILES.is_dir(), reason="the system does not show what a process has open")
def test_a_file_that_stays_open_would_show(tmp_path: Path) -> None:
    path = tmp_path / "open"

    with open(path, "w"):
        assert files()[str(path)] == 1
    assert files()[str(path)] == 0
