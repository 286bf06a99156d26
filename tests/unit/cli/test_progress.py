"""The line that says how far long work has come."""

import io
import sys

import pytest

from perdure.cli import progress
from perdure.cli.lines import plain
from perdure.cli.options import Settings
from perdure.cli.progress import Progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    monkeypatch.setattr(progress, "REDRAW_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")


def test_it_says_how_much_there_is_and_how_long_it_will_take() -> None:
    work = Progress(Settings(), "replaying", 4)
    for _ in range(3):
        work.step()

    assert plain(work.line(6.0)) == "replaying  ━━━━━━━━━━━━━━━━━━──────  3 of 4  about 2.0s left"


def test_without_a_total_it_says_how_much_is_done() -> None:
    work = Progress(Settings(), "exporting", None)
    work.step()

    assert plain(work.line(61.0)) == "exporting  1  1m01s"


def test_it_is_wiped_in_the_end(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)

    with Progress(Settings(), "exporting", 2) as work:
        work.step()
        work.step()

    assert screen.getvalue().startswith("\r\x1b[K") and "2 of 2" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_a_pipe_gets_nothing(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)

    with Progress(Settings(), "exporting", 2) as work:
        work.step()

    assert pipe.getvalue() == ""
