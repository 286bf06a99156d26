"""Every benchmark runs and gives its figures. How large they are is for people to judge, and depends on the machine."""

import json
import math
from pathlib import Path

import pytest

from bench.__main__ import NAMES, main, measured
from bench.figures import Figure, Setting, as_json, table
from bench.floor import BareCommits, Written
from tests.postgres.present import demand_postgres

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_gives_figures_that_are_numbers(name: str, tmp_path: Path):
    if name in ("postgres", "takeover"):
        demand_postgres()

    figures = measured(name, Setting(tmp_path, "smoke"))

    assert figures
    assert all(math.isfinite(each.figure) for each in figures)


def test_every_file_with_a_measurement_is_among_the_benchmarks():
    folder = Path(__file__).parents[3] / "bench"

    found = {path.stem for path in folder.glob("*.py") if "\ndef measure(" in path.read_text()}

    assert found == set(NAMES)


def test_all_sleepers_of_the_crowd_wake_and_none_too_early(tmp_path: Path):
    woke, early, *_ = measured("sleeping", Setting(tmp_path, "smoke"))

    assert (woke.figure, early.figure) == (20, 0)


def test_a_figure_holds_up_to_its_limit():
    assert Figure("a", 1.0, limit=1.0).holds
    assert not Figure("a", 1.1, limit=1.0).holds


def test_a_figure_that_must_reach_something_holds_from_there_on():
    assert Figure("a", 1.0, limit=1.0, at_least=True).holds
    assert not Figure("a", 0.9, limit=1.0, at_least=True).holds


def test_a_figure_without_a_target_neither_holds_nor_fails():
    assert Figure("a", 1.0).holds is None


def test_the_table_tells_the_floor_the_target_and_whether_it_holds():
    lines = table([Figure("cost", 120.0, "µs", 40.0, 100.0), Figure("speed", 5.0)]).splitlines()

    assert lines[2].split() == ["cost", "120", "µs", "40.0", "µs", "3.0", "≤", "100", "µs", "✗"]
    assert lines[3].split() == ["speed", "5.00"]


def test_figures_as_json_say_whether_they_hold():
    (entry,) = json.loads(as_json([Figure("cost", 1.0, "s", 0.5, 2.0)]))

    assert entry["holds"] is True
    assert entry["floor"] == 0.5


def test_a_usual_commit_is_the_mean_of_all():
    assert Written(10, 45, 4_000).per_commit() == Written(1, 4, 400)


def test_bare_commits_are_in_the_database(tmp_path: Path):
    with BareCommits(tmp_path) as bare:
        took = bare.commits(Written(2, 6, 1_000), 2)
        rows = bare.rows()

    assert len(took) == 2
    assert rows == 6


def test_an_unknown_benchmark_is_refused_with_the_names_there_are(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["thruput"])

    assert "there is no benchmark 'thruput'; there are: throughput, latency" in capsys.readouterr().err
