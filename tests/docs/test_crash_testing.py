"""The report on the page about crash testing is what its program prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "crash-testing.md").read_text()


def without_time(report: str) -> str:
    """How long it has taken is another each time."""
    return re.sub(r"(effects?), [\d.hms]+\)", r"\1, ...)", report).strip()


SHOWN = re.findall(r"^```python\n((?:(?!^```).)*?)^```\n\n```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_both_reports_of_the_page_are_looked_at() -> None:
    assert len(SHOWN) == PAGE.count("```text") == 2


@pytest.mark.parametrize(("program", "report"), SHOWN, ids=["whole", "workers"])
def test_the_report_that_is_shown_is_the_report_that_is_printed(tmp_path: Path, program: str, report: str) -> None:
    (tmp_path / "program.py").write_text(program)

    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=600
    )

    assert without_time(report) in without_time(done.stdout)
