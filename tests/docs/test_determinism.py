"""docs/determinism.md holds on the Python that runs this: each call in its tables is made in a workflow, for real."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "determinism.md").read_text()
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
FATES = ("refused", "the run's own", "as always", "not caught")


class Row(NamedTuple):
    call: str
    imports: str
    fate: str
    warns: bool
    write: str

    def __str__(self) -> str:
        return self.call.replace("`", "")


def fate_on_this_python(cell: str) -> str:
    """The fate in a cell, which may name one for each Python: `3.11, 3.12: not caught; 3.13: refused`."""
    for part in cell.split(";"):
        versions, _, fate = part.strip().partition(": ")
        if re.fullmatch(r"[\d., ]+", versions):
            if HERE in versions.split(", "):
                return fate
        else:
            return next(fate for fate in FATES if part.strip().startswith(fate))
    raise AssertionError(f"nothing is said of Python {HERE} in {cell!r}")


def rows() -> list[Row]:
    found = []
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            call, fate, warns, write = (cell.strip() for cell in line.strip("|").split("|"))
            *imports, call = re.findall(r"`([^`]+)`", call)
            found.append(Row(call, "".join(imports), fate_on_this_python(fate), warns == "warns", write))
    return found


ROWS = rows()


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[Row, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tried")
    (folder / "rates.csv").write_text("text")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "docs" / "try_calls.py")],
        input=json.dumps([{"call": row.call, "imports": row.imports} for row in ROWS]),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(ROWS, json.loads(done.stdout), strict=True))


def wanted(row: Row) -> list[str]:
    """What the text must say to whoever reads the column `write`."""
    if row.write in ("an activity", "as an argument"):
        return [row.write.split()[-1]]
    return re.findall(r"`([^`]+)`", row.write)


def test_the_page_has_all_four_fates_and_many_calls() -> None:
    assert {row.fate for row in ROWS} == set(FATES)
    assert len(ROWS) > 90
    assert len({(row.call, row.imports) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", [row for row in ROWS if row.fate == "refused"], ids=str)
def test_it_is_refused_with_the_line_to_write(row: Row, tried: dict[Row, dict[str, Any]]) -> None:
    message = tried[row]["refused"]

    assert message is not None, f"it gave {tried[row]['answers']}"
    assert [text for text in wanted(row) if text not in message] == [], message


@pytest.mark.parametrize("row", [row for row in ROWS if row.fate == "the run's own"], ids=str)
def test_it_is_the_same_in_each_replay_and_not_what_it_is_elsewhere(row: Row, tried: dict[Row, dict[str, Any]]) -> None:
    answer = tried[row]

    assert answer["refused"] is None
    assert answer["answers"][0] == answer["answers"][1] != answer["elsewhere"]


@pytest.mark.parametrize("row", [row for row in ROWS if row.fate in ("as always", "not caught")], ids=str)
def test_it_is_not_refused(row: Row, tried: dict[Row, dict[str, Any]]) -> None:
    assert tried[row]["refused"] is None


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_static_check_warns_of_it_or_does_not(row: Row, tried: dict[Row, dict[str, Any]]) -> None:
    assert bool(tried[row]["found"]) == row.warns


@pytest.mark.parametrize("row", [row for row in ROWS if row.fate == "not caught"], ids=str)
def test_the_warning_of_what_is_not_caught_has_the_line_to_write(row: Row, tried: dict[Row, dict[str, Any]]) -> None:
    (finding,) = tried[row]["found"]

    assert wanted(row)
    assert [text for text in wanted(row) if text not in finding] == []


def programs() -> list[tuple[int, str, str]]:
    """Line, program, and what the page says it prints, if it does."""
    found = []
    pattern = r"^```python\n(.*?)^```\n(?:\nprints\n\n```\n(.*?)^```)?"
    for match in re.finditer(pattern, PAGE, re.MULTILINE | re.DOTALL):
        found.append((PAGE.count("\n", 0, match.start()) + 1, match[1], match[2] or ""))
    return found


@pytest.mark.parametrize(("line", "program", "printed"), programs(), ids=lambda value: str(value)[:10])
def test_a_program_of_the_page_prints_what_the_page_says(line: int, program: str, printed: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert done.returncode == 0, done.stderr
    if printed:
        assert done.stdout.replace(f"{tmp_path}/", "") == printed
