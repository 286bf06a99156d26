"""The loans of the example: people decide, are reminded, and the engine may die anywhere meanwhile."""

import subprocess
import sys
from pathlib import Path

import pytest

from examples.loans.workflows import Application, LoanDecision, loan, mail_people, pay_out, score
from perdure import Handle
from perdure.errors import TaskNotAssigned
from perdure.testing import TestEngine, crash_everywhere

ROOT = Path(__file__).resolve().parents[2]
ALL = [loan, score, mail_people, pay_out]


def test_a_week_is_shown_in_a_moment() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.loans"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True
    )

    assert done.stderr == ""
    ends = [line.partition("· ")[2] for line in done.stdout.splitlines() if "· " in line]
    assert ends == [
        "800 paid out to ada",
        "4000 paid out to bob, approved by ann",
        "refused by eve: too much at once",
        "refused: nobody has decided within a week",
    ]
    assert "eve is told: task 'Approve the loan of bob' is claimed by ann" in done.stdout
    assert 'ann is told: field verdict: expected one of "approve", "refuse", found \'perhaps\' (str)' in done.stdout
    assert done.stdout.count("✉ overdue: Approve the loan of cy (perdure task show loan-cy/0:2)") == 1
    assert "what is overdue: loan-cy, loan-dan" in done.stdout


def test_nobody_is_asked_for_a_small_loan() -> None:
    with TestEngine(ALL) as engine:
        assert engine.run(loan(Application("ada", 800))).wait() == "800 paid out to ada"
        assert engine.calls(mail_people) == []


def test_people_are_reminded_until_somebody_decides() -> None:
    with TestEngine(ALL) as engine:
        run = engine.start(loan(Application("bob", 5_000)), id="loan-bob").wait()
        engine.sleep("3 days 1h").wait()
        with pytest.raises(TaskNotAssigned):
            engine.tasks.complete("loan-bob", LoanDecision("approve"), by="mallory").wait()
        engine.tasks.complete("loan-bob", LoanDecision("approve"), by="eve", groups=["credit"]).wait()

        assert run.result().wait() == "5000 paid out to bob, approved by eve"
        kinds = list(dict.fromkeys(call.arguments["notice"].kind for call in engine.calls(mail_people)))
        assert kinds == ["opened", "reminder", "overdue"]


def test_the_committee_takes_its_time() -> None:
    with TestEngine(ALL) as engine:
        engine.people.answer(
            "Approve the loan of *", LoanDecision("approve"), by="eve", groups=["credit"], after="2 days"
        )

        assert engine.run(loan(Application("bob", 5_000))).wait() == "5000 paid out to bob, approved by eve"


def test_what_nobody_decides_is_refused_after_a_week() -> None:
    with TestEngine(ALL) as engine:
        assert engine.run(loan(Application("dan", 9_000))).wait() == "refused: nobody has decided within a week"


def test_a_decision_is_taken_once_wherever_the_engine_dies() -> None:
    async def decide(engine: TestEngine, run: Handle[str]) -> None:
        """Begins anew after each crash: the same request made again is no second decision."""
        await engine.sleep("1 day 1h")
        await engine.tasks.complete(f"{run.id}/0:2", LoanDecision("approve", 4_000), by="ann", request_id="form-1")

    crash_everywhere(loan(Application("bob", 5_000)), script=decide, definitions=ALL).wait().assert_ok()
