"""`perdure init`: a project that runs and passes its tests as it is."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from perdure.cli.scaffolding import NEXT, PARTS, project_name
from tests.unit.cli.conftest import Perdure

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def called(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if name != "PERDURE_DB" and not name.startswith("PYTEST")}
    env["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600
    )


def test_the_project_passes_its_own_tests(perdure: Perdure, folder: Path) -> None:
    perdure("init", "shop")

    done = called(folder / "shop", "pytest", "-q", "-p", "no:cacheprovider")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_commands_it_names_work_and_a_second_run_sends_nothing(perdure: Perdure, folder: Path) -> None:
    perdure("init", "shop")
    run, show = (command.split()[1:] for command in NEXT[:2])

    first, second = (called(folder / "shop", "perdure", *run, "--arg", "pause=1ms") for _ in range(2))
    shown = called(folder / "shop", "perdure", *show)

    assert (first.returncode, second.returncode, shown.returncode) == (0, 0, 0), first.stderr + second.stderr
    assert first.stdout.count("mail to ada@example.com") == 2
    assert second.stdout == '"ada@example.com has two mails"\n'
    assert "send_mail" in shown.stdout
    assert (folder / "shop" / "perdure.db").exists()


def test_its_readme_names_the_same_commands(perdure: Perdure, folder: Path) -> None:
    said = perdure("init", "shop")

    readme = (folder / "shop" / "README.md").read_text()
    assert re.findall(r"^\$ (.+)$", readme, re.MULTILINE) == list(NEXT)
    assert said.err.splitlines() == ["", "next", "  cd shop", *(f"  {command}" for command in NEXT)]
    assert said.out.splitlines() == [f"shop/{part.target}" for part in PARTS]


def test_it_has_the_name_of_its_folder(perdure: Perdure, folder: Path) -> None:
    perdure("init", "My Shop_2")

    project = tomllib.loads((folder / "My Shop_2" / "pyproject.toml").read_text())
    assert project["project"]["name"] == "my-shop-2"
    assert project["tool"]["perdure"]["db"] == "sqlite:///perdure.db"
    assert project_name(Path("/")) == "workflows"


@pytest.mark.parametrize("name", ["workflows.py", "test_workflows.py"])
def test_nothing_is_written_if_a_file_is_in_the_way(perdure: Perdure, folder: Path, name: str) -> None:
    (folder / name).write_text("mine")

    said = perdure("init")

    assert said.code == 7
    assert said.err.startswith(f"error: {name} is in the way\n  in {folder}; nothing was written\n")
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "mine"


def test_what_a_project_has_already_is_kept(perdure: Perdure, folder: Path) -> None:
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        (folder / name).write_text("mine")

    said = perdure("init")

    assert said.code == 0
    assert said.out == "workflows.py\ntest_workflows.py\n"
    assert "README.md was there already, and is kept\n" in said.err
    assert all((folder / name).read_text() == "mine" for name in ("pyproject.toml", "README.md", ".gitignore"))


def test_a_terminal_is_told_what_each_file_is_for(perdure: Perdure, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    (folder / "README.md").write_text("mine")

    said = perdure("init", "--color", "never")

    assert said.out.splitlines()[:1] == ["✓ workflows.py       a workflow, and an activity it calls"]
    assert "· README.md          was there already, and is kept" in said.out


def test_a_file_is_no_folder(perdure: Perdure, folder: Path) -> None:
    (folder / "shop").write_text("")

    said = perdure("init", "shop")

    assert (said.code, said.out) == (1, "")
    assert "shop cannot be written" in said.err


def test_every_part_of_the_scaffold_is_written(perdure: Perdure) -> None:
    sources = {path.name for path in (ROOT / "perdure" / "cli" / "scaffold").iterdir() if path.is_file()}

    assert sources == {part.source for part in PARTS}
