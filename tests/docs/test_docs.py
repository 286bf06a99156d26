"""Docs that cannot lie: their code runs, and what they list is what there is.

A block marked ```python runs in an empty folder of its own, one marked ```python pytest there by pytest; one marked
```python compile is only compiled.
"""

import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple, get_args

import click
import pytest

from perdure import Engine, errors
from perdure.cli import problems
from perdure.cli.main import COMMANDS, cli
from perdure.kernel import events, limits
from perdure.kernel.run import Status

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_HERE = [page for page in PAGES if page.name != "determinism.md"]
"""Pages whose Python runs here; determinism.md has a test of its own."""

REFERENCE = (ROOT / "docs" / "reference.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    text = page.read_text()
    for match in re.finditer(r"^```([^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[1].strip(), match[2]))
    return found


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]
PROGRAMS = [block for block in ALL_BLOCKS if block.language == "python" and block.page in RUN_HERE]
TESTS = [block for block in ALL_BLOCKS if block.language == "python pytest"]
PYTHON = [block for block in ALL_BLOCKS if block.language.startswith("python")]
SHELL = [block for block in ALL_BLOCKS if block.language in ("sh", "console", "bash")]


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(block.text)
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "default", str(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


SLOW = re.compile(r"Executing <.*> took [0-9.]+ seconds$")


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_in_the_docs_compiles(block):
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_in_the_docs_runs_and_says_nothing_on_stderr(block, tmp_path):
    done = run(block, tmp_path)

    assert done.returncode == 0, done.stderr
    # asyncio's remark on a slow callback is dropped: it speaks of how busy the machine is.
    assert [line for line in done.stderr.splitlines() if not SLOW.match(line)] == []


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_tests_in_the_docs_pass(block, tmp_path):
    (tmp_path / "test_program.py").write_text(block.text)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stdout


def test_the_first_program_of_the_readme_prints_its_result_again_when_it_is_run_again(tmp_path):
    block = PROGRAMS[0]
    assert block.page.name == "README.md"

    first, second = run(block, tmp_path), run(block, tmp_path)

    assert first.stdout.splitlines() == ["one item less", "Order successful. Txn: txn-acct"]
    assert second.stdout.splitlines() == ["Order successful. Txn: txn-acct"]


def commands_in(text: str) -> set[str]:
    """What is said of `perdure WORD` in code: at the start of a line of a block, or in a span."""
    return set(re.findall(r"(?:^\$ |^|`)perdure ([a-z]+)\b(?!\.)", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_mentioned_exists(page):
    text = page.read_text()
    code = "\n".join([block.text for block in blocks(page) if not block.language.startswith("python")])
    spans = "\n".join(f"`{span}`" for span in re.findall(r"`([^`\n]+)`", text))

    assert commands_in(code) | commands_in(spans) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_of_a_command_that_is_shown_exists(page):
    for block in SHELL:
        for line in block.text.splitlines() if block.page == page else []:
            words = line.removeprefix("$ ").split()
            if words[:1] != ["perdure"] or len(words) < 2:
                continue
            command = cli.get_command(None, words[1])  # type: ignore[arg-type]
            if isinstance(command, click.Group):
                command = command.get_command(None, words[2])  # type: ignore[arg-type]
            assert command is not None
            known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
            used = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert used <= known, f"{block}: {line}"


def test_every_command_is_shown_in_the_readme():
    shown = commands_in((ROOT / "README.md").read_text())

    assert set(COMMANDS) <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_mentioned_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    mentioned = set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE))

    assert mentioned <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert broken == []


def table(heading: str, page: str = REFERENCE) -> list[list[str]]:
    """The rows of the tables below a heading."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|") and not re.match(r"^\|[-| ]+\|$", line)]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_state_of_a_run_is_documented_with_its_number():
    rows = {cells[0].strip("`"): cells[1] for cells in table("States of a run")[1:]}

    assert rows == {status.word: str(int(status)) for status in Status}


def test_every_history_event_is_documented_with_its_tag():
    rows = {cells[1].strip("`"): cells[0] for cells in table("Events") if cells[0].isdigit()}

    assert rows == {kind.__name__: str(kind.__struct_config__.tag) for kind in get_args(events.HistoryEvent)}


def test_every_status_event_is_documented():
    documented = {cells[0].strip("`") for cells in table("Events") if cells[0].startswith("`")}

    assert documented == {kind.__name__ for kind in events.STATUS}


def test_every_error_is_documented_with_its_code():
    rows = {cells[1].strip("`"): cells[0].strip("`") for cells in table("Errors")[1:]}

    assert rows == {
        name: value.code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.PerdureError)
    }


def test_every_limit_is_documented_with_its_value():
    rows = {cells[0].strip("`"): cells[1] for cells in table("Limits")[1:]}
    named = {name: value for name, value in vars(limits).items() if name.isupper()}

    assert set(rows) == set(named)
    for name, value in named.items():
        number = re.match(r"([\d,]+)( KiB| MiB)?", rows[name])
        if number:
            factor = {" KiB": 1024, " MiB": 1024**2}.get(number[2] or "", 1)
            assert int(number[1].replace(",", "")) * factor == value, name


def test_limits_inside_the_engine_are_documented_with_their_values():
    for cells in table("Limits inside the engine")[1:]:
        module, _, name = cells[0].strip("`").partition(".")
        value = getattr(importlib.import_module(f"perdure.runtime.{module}"), name)

        assert str(value) == cells[1], cells[0]


def test_every_option_of_an_engine_is_documented_with_its_default():
    rows = {cells[0].strip("`"): cells[1].strip("`") for cells in table("Options of an engine")[1:]}
    parameters = inspect.signature(Engine).parameters.values()

    assert rows == {p.name: repr(p.default).replace("'", '"') for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_every_exit_code_is_documented():
    documented = {int(cells[0]) for cells in table("Exit codes")[1:]}

    assert documented == {value for name, value in vars(problems).items() if name.isupper() and isinstance(value, int)}


def test_every_room_is_on_the_plan_of_the_house():
    plan = next(block.text for block in blocks(ROOT / "docs" / "architecture.md") if "errors.py" in block.text)
    rooms = {path.name for path in (ROOT / "perdure").iterdir() if not path.name.startswith(("__pycache__", "py."))}

    drawn = set(re.findall(r"[├└]── ([\w.]+)", plan))

    assert rooms <= drawn


@pytest.mark.parametrize("room", ["runtime", "languages/python", "web"])
def test_every_file_of_a_large_room_is_on_its_map(room):
    files = {path.name for path in (ROOT / "perdure" / room).glob("*.py")} - {"__init__.py"}

    assert {name for name in files if name not in ARCHITECTURE} == set()


def test_files_named_in_the_docs_exist():
    named = set(
        re.findall(r"`((?:perdure|tests|docs|examples|kernel|runtime|languages|stores)/[\w./]+)`", ARCHITECTURE)
    )

    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "perdure" / name).exists()]

    assert missing == []


def test_every_class_of_bugs_is_named_in_the_guarantees():
    text = (ROOT / "docs" / "guarantees.md").read_text()

    assert [
        bug.__name__ for bug in errors.BUGS if bug.__module__ == "builtins" and f"`{bug.__name__}`" not in text
    ] == []


def test_dependencies_are_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    page = (ROOT / "docs" / "dependencies.md").read_text()
    explained = set(re.findall(r"^\| ([a-z0-9-]+) \|", page, re.MULTILINE)) - {"package"}

    extras = [name for extra in project["project"]["optional-dependencies"].values() for name in extra]
    groups = [name for group in project["dependency-groups"].values() for name in group]
    wanted = [*project["project"]["dependencies"], *extras, *groups]
    assert explained == {re.match(r"[a-z0-9-]+", name)[0] for name in wanted}  # type: ignore[index]


def test_the_changelog_has_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_supported_pythons_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()

    assert project["requires-python"] == ">=3.11,<3.14"
    assert "VERSIONS := 3.11 3.12 3.13\n" in makefile
    assert "CPython 3.11, 3.12 and 3.13" in readme
