"""`perdure prune`: what it deletes, and when it asks."""

import json

import pytest

from tests.unit.cli.conftest import Perdure


def closed(perdure: Perdure) -> list[str]:
    return perdure("list", "-q", "--state", "closed").out.splitlines()


def test_a_dry_run_counts_and_deletes_nothing(perdure: Perdure) -> None:
    said = perdure("prune", "--older-than", "0s", "--dry-run")

    assert said == (0, "", "would delete 5 runs\n")
    assert len(closed(perdure)) == 5


def test_nothing_is_deleted_without_being_asked(perdure: Perdure) -> None:
    said = perdure("prune", "--older-than", "0s")

    assert said.code == 7
    assert "5 runs would be deleted for good, and nobody to ask" in said.err
    assert len(closed(perdure)) == 5


def test_what_has_ended_goes_and_what_is_open_stays(perdure: Perdure) -> None:
    said = perdure("prune", "--older-than", "0s", "--yes")

    assert said == (0, "", "5 runs deleted\n")
    assert perdure("count").out == "7\n"
    assert closed(perdure) == []


def test_a_state_and_a_workflow_narrow_it_down(perdure: Perdure) -> None:
    counted = json.loads(perdure("prune", "--older-than", "0s", "--state", "failed,cancelled", "--yes", "--json").out)

    assert counted == {"runs": 2, "deleted": 2}
    assert perdure("prune", "--older-than", "0s", "--workflow", "no_such", "--dry-run", "-q").out == "0\n"


def test_what_has_not_been_closed_for_so_long_stays(perdure: Perdure) -> None:
    assert perdure("prune", "--older-than", "365d", "--yes", "-q").out == "0\n"
    assert len(closed(perdure)) == 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--older-than", "soon"], "--older-than 'soon' is no age"),
        (["--older-than", "1d", "--state", "running"], "runs that are running have not ended"),
        ([], "older-than"),
    ],
)
def test_what_makes_no_sense_is_told(perdure: Perdure, arguments: list[str], told: str) -> None:
    said = perdure("prune", *arguments)

    assert said.code == 2
    assert told in said.err
