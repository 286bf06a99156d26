"""`perdure count`: numbers for scripts, a table for people."""

import json
import sys

import pytest

from perdure.cli import counting, listing
from tests.unit.cli.conftest import Perdure


def test_a_pipe_gets_the_number_alone(perdure: Perdure) -> None:
    assert perdure("count") == (0, "12\n", "")


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["--state", "failed,held"], 2),
        (["--state", "closed", "--workflow", "process_order"], 3),
        (["--since", "10m", "--state", "closed"], 4),
        (["order-483"], 3),
        (["no-such-prefix"], 0),
    ],
)
def test_it_counts_what_list_would_list(perdure: Perdure, arguments, number) -> None:
    listed = perdure("list", "-q", *arguments).out.splitlines()

    assert perdure("count", *arguments).out == f"{number}\n"
    assert len(listed) == number


def test_a_terminal_gets_a_line_for_each_state_that_has_runs(perdure: Perdure, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    said = perdure("count", "--color", "never")

    assert said.out == (
        "◌ queued        1\n"
        "▶ running       1\n"
        "◔ waiting       2\n"
        "↻ retrying      1\n"
        "⚑ held          1\n"
        "⚑ blocked       1\n"
        "✓ completed     2\n"
        "✗ failed        1\n"
        "⊘ cancelled     1\n"
        "■ terminated    1\n"
        "  runs         12\n"
    )


def test_json_has_the_states_that_were_asked_for(perdure: Perdure) -> None:
    counted = json.loads(perdure("count", "--json", "--state", "failed,quarantined").out)

    assert counted == {"count": 1, "exact": True, "states": {"quarantined": 0, "failed": 1}}


def test_beyond_what_is_exact_it_says_so(perdure: Perdure, monkeypatch) -> None:
    monkeypatch.setattr(listing, "COUNTED", 5)
    monkeypatch.setattr(counting, "COUNTED", 5)

    counted = json.loads(perdure("count", "--json=count,exact").out)

    assert perdure("count").out == "5+\n"
    assert counted == {"count": 5, "exact": False}


def test_a_slip_in_the_name_of_a_workflow_is_no_zero(perdure: Perdure) -> None:
    said = perdure("count", "--workflow", "proces_order")

    assert (said.code, said.out) == (4, "")
    assert "did you mean  --workflow process_order" in said.err


@pytest.mark.parametrize("command", ["list", "count"])
def test_the_state_may_be_called_status_as_in_python(perdure: Perdure, command) -> None:
    assert perdure(command, "-q", "--status", "failed").out == perdure(command, "-q", "--state=failed").out
    assert perdure(command, "-q", "--status=failed,held").out == perdure(command, "-q", "--state", "failed,held").out
