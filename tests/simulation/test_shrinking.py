"""A life that breaks a promise is shrunk to a small one, and written as a test that fails as well."""

import re
from typing import Any

import pytest

from perdure.testing.simulation.__main__ import main
from perdure.testing.simulation.life import STORES, Found, in_a_file, simulate
from perdure.testing.simulation.plan import Disturbance, Plan, Wish, Word, plan_of
from perdure.testing.simulation.shrinking import as_test, shrink
from tests.simulation.buggy_stores import ForgetsWhoRuns, LosesAttempts, SettlesBlindly, with_bug


def first_broken(bug: type, workload: str) -> tuple[Plan, Found]:
    lives = ((plan, simulate(plan, with_bug(bug))) for plan in (plan_of(seed, workload) for seed in range(100)))
    return next((plan, found) for plan, found in lives if found.violation)


@pytest.mark.parametrize("bug", [ForgetsWhoRuns, SettlesBlindly])
def test_what_is_left_is_what_it_takes(bug: type) -> None:
    plan, found = first_broken(bug, "sequence")

    smallest = shrink(plan, found, lambda smaller: simulate(smaller, with_bug(bug)))

    assert [wish.spec for wish in smallest.plan.wishes] == [["act", "work", 1]]
    assert len(smallest.plan.disturbances) == 1
    assert smallest.found.violation
    assert not smallest.plan.shaky


def test_a_life_that_goes_wrong_without_disturbances_keeps_none() -> None:
    plan, found = first_broken(LosesAttempts, "retries")

    smallest = shrink(plan, found, lambda smaller: simulate(smaller, with_bug(LosesAttempts)))

    assert smallest.found.undisturbed
    assert smallest.plan.disturbances == ()


def test_it_is_written_as_a_test_that_has_the_same_plan() -> None:
    wishes = (
        Wish("r0", ["gather", [["act", "work", n] for n in range(20)]], by_mail=True),
        Wish("r1", ["desk", 1], words=(Word(1, 0.0, by_mail=True), Word(-1, 90.0, by_mail=False, wrong=True))),
        Wish("r'2", ["for ever", ["sleep", 1.0]], end_at=0.5),
    )
    plan = Plan(7, wishes, (Disturbance(3, "inside"), Disturbance(4, "after")), slots=(1, 2), forgetful=True)
    lived: list[tuple[Any, ...]] = []

    def remembered(*lives: Any) -> Found:
        lived.append(lives)
        return Found([], {}, 0, "it is broken")

    source = as_test("seed_7", plan, "it was broken\n", "sqlite")
    names = {each.__name__: each for each in (Plan, Wish, Word, Disturbance, in_a_file)}
    names |= {"simulate": remembered}
    exec(source, names)
    with pytest.raises(AssertionError):
        names["test_seed_7"]()  # type: ignore[operator]

    assert lived == [(plan, in_a_file)]
    assert max(map(len, source.splitlines())) <= 120


def test_the_command_shows_the_smallest_life_and_the_test(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STORES, "memory", with_bug(ForgetsWhoRuns))

    assert main(["--seed", "1", "--workload", "sequence", "--crash-at", "2"]) == 1
    shown = capsys.readouterr().out
    assert main(["--seed", "1", "--workload", "sequence", "--crash-at", "2"]) == 1

    assert capsys.readouterr().out == shown
    assert re.search(r"As a test:\n\ndef test_seed_1_of_sequence\(\) -> None:\n    # r\d .*in nobody's hands", shown)
    assert main(["--seed", "1", "--workload", "sequence", "--crash-at", "2", "--no-shrink"]) == 1
    assert "As a test:" not in capsys.readouterr().out


def test_what_the_engine_raises_breaks_a_promise_as_well() -> None:
    class Raises(SettlesBlindly):
        def settle(self, batch: Any) -> bool:
            raise KeyError("nobody expects that")

    plan, found = first_broken(Raises, "random")

    assert found.violation.startswith("the engine raised KeyError: 'nobody expects that' (test_shrinking.py, line ")
    assert simulate(plan).violation == ""
