"""`python -m perdure.testing.simulation`."""

import itertools
import re
from pathlib import Path

import msgspec
import pytest

from perdure.testing.simulation.__main__ import main
from perdure.testing.simulation.batches import Life, by_turns, live_for
from perdure.testing.simulation.life import STORES
from perdure.testing.simulation.programs import WORKLOADS
from perdure.testing.simulation.trace import LEGEND
from tests.simulation.buggy_stores import ForgetsWhoRuns, with_bug


def test_it_shows_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--workload", "retries", "--crash-at", "2", "--how", "before"]) == 0

    shown = capsys.readouterr().out
    assert shown.startswith(LEGEND)
    assert "  m1  crash     before commit 2\n" in shown
    assert "  m2  own\n" in shown
    assert shown.splitlines()[-1].startswith("every promise was kept; ")


def test_it_lives_many_lives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "5", "--calm"]) == 0

    assert re.match(r"5 lives \([\d,]+ a minute\), .* 0 crashes, 0 in which a promise", capsys.readouterr().out)


def test_it_lives_for_a_time_and_writes_the_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--minutes", "0.02", "--seed", "5", "--json", str(tmp_path / "figures.json")]) == 0

    figures = msgspec.json.decode((tmp_path / "figures.json").read_bytes())
    assert capsys.readouterr().out.startswith("lives from seed 5 on\n")
    assert figures["from_seed"] == 5
    assert figures["lives"] > 0
    assert figures["commits"] > figures["lives"]
    assert figures["simulated_seconds"] > 0
    assert figures["broken"] == []


def test_processes_share_the_lives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0.02", "--seed", "5", "--workers", "2"]) == 0

    assert "0 in which a promise was broken" in capsys.readouterr().out


def test_a_broken_life_is_named_as_it_can_be_lived_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STORES, "memory", with_bug(ForgetsWhoRuns))
    seed = next(
        seed
        for seed in itertools.count(0, len(WORKLOADS))
        if live_for(0.0001, iter([Life(seed, next(iter(WORKLOADS)))]), 1, lambda tally: None).broken
    )

    assert main(["--minutes", "0.0001", "--seed", str(seed), "--no-shrink"]) == 1

    assert f'--seed {seed} --workload "sequence"\n  BROKEN: r' in capsys.readouterr().out


def test_each_workload_has_its_turn_and_some_lives_are_kept_in_files() -> None:
    lives = list(itertools.islice(by_turns(7), 200))

    assert {each.workload for each in lives} == set(WORKLOADS)
    assert {each.store for each in lives} == set(STORES)
    assert [each.seed for each in lives] == list(range(7, 207))


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["--calm", "--crash-at", "1"], "--calm and --crash-at contradict each other"),
        (["--minutes", "1", "--seeds", "1"], "--minutes and --seeds contradict each other"),
    ],
)
def test_it_refuses_what_contradicts_itself(
    arguments: list[str], refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

    assert refusal in capsys.readouterr().err
