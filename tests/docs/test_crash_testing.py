"""The report on the page about crash testing is what its program prints."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "crash-testing.md").read_text()


def without_time(report: str) -> str:
    """How long it has taken is another each time."""
    return re.sub(r"(effects?), [\d.hms]+\)", r"\1, ...)", report).strip()


def test_the_report_that_is_shown_is_the_report_that_is_printed(tmp_path: Path) -> None:
    program, report = re.findall(r"^```(?:python|text)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:2]
    (tmp_path / "program.py").write_text(program)

    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )

    assert without_time(done.stdout) == without_time(report)
