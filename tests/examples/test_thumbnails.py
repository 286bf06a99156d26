"""The thumbnails of the example, and the processes that die over them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perdure import Client
from perdure.client.description import StepView
from tests.unit.runtime.errands import eventually

pytest.importorskip("PIL")

from PIL import Image

from examples.thumbnails.pictures import draw

ROOT = Path(__file__).resolve().parents[2]


def started(folder: Path, images: int, kills: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "examples.thumbnails"]
    command += ["--images", str(images), "--kills", str(kills), "--dir", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def thumbnails(folder: Path, id: str) -> list[StepView]:
    with Client(f"sqlite:///{folder}/runs.db") as client:
        return [step for step in client.handle(id).describe().wait().steps if step.name == "thumbnail"]


def test_all_pictures_come_onto_the_sheet_though_processes_are_killed(tmp_path: Path) -> None:
    stdout, stderr = started(tmp_path, 12, kills=2).communicate(timeout=600)

    assert stderr == ""
    assert stdout.startswith("12 thumbnails in ")
    assert "processes killed at their work, whose pictures were drawn again: 2" in stdout
    assert f"{'contact-sheet.jpg'} (304 × 276, " in stdout
    assert len([*tmp_path.glob("00??.jpg")]) == 12
    with Image.open(tmp_path / "contact-sheet.jpg") as sheet:
        assert sheet.size == (304, 276)
    assert sorted(len(step.attempts) for step in thumbnails(tmp_path, "gallery-12")) == [1] * 10 + [2] * 2


def test_one_that_is_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    first = started(tmp_path, 200, kills=0)
    assert eventually(lambda: len([*tmp_path.glob("0???.jpg")]) > 9)
    first.send_signal(signal.SIGINT)
    _, stderr = first.communicate(timeout=600)
    done = {step.id for step in thumbnails(tmp_path, "gallery-200") if step.state == "completed"}
    drawn = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("0???.jpg")}
    stdout, _ = started(tmp_path, 200, kills=0).communicate(timeout=600)

    assert first.returncode == 130
    assert stderr == "stopped; the same command goes on where this one was\n"
    assert stdout.startswith("200 thumbnails in ")
    assert 0 < len(done) < 200
    kept = [name for name, time in drawn.items() if (tmp_path / name).stat().st_mtime_ns == time]
    assert len(kept) >= len(done)


def test_a_picture_is_the_same_for_the_same_number() -> None:
    assert draw(7).tobytes() == draw(7).tobytes()
    assert draw(7).tobytes() != draw(8).tobytes()
