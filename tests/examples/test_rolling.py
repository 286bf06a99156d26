"""The rolling deploy of the example, with its real processes."""

import subprocess
import sys
from pathlib import Path

from perdure import Client

ROOT = Path(__file__).resolve().parents[2]


def told_in(folder: Path) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """Orders have to sleep for longer than the deploys take: the busier the machine, the longer."""
    for pause in ("6", "30", "150"):
        place = folder / pause
        command = [sys.executable, "-m", "examples.rolling", "--runs", "2", "--pause", pause, "--dir", str(place)]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
        if told.returncode == 0:
            break
    return place, told


def test_old_runs_end_the_old_way_and_new_ones_the_new_way_over_three_deploys(tmp_path: Path) -> None:
    place, told = told_in(tmp_path)

    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stderr == ""
    careless = told.stdout.partition("careless")[2].partition("perdure check")[0]
    assert "open runs of order diverge" in careless
    assert "history:  activity reserve [0:1]    code:  activity check_fraud [0:1]" in careless
    assert "at examples/rolling/careless.py:9" in careless
    tuesday = told.stdout.partition("perdure check examples.rolling.tuesday")[2].partition("deployed")[0]
    assert "change 'check first'" in tuesday
    assert "go on with this code" in tuesday
    with Client(f"sqlite:///{place}/runs.db") as client:
        builds = {row.id: row.build for row in client.list().wait()}
        marks = [event for event in client.handle("new-1").history().wait() if event["type"] == "PatchMarked"]
    assert builds == {"old-1": "monday", "old-2": "monday", "new-1": "tuesday", "new-2": "tuesday"}
    assert len(marks) == 1
