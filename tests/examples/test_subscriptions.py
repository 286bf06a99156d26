"""Years of the subscriptions of the example, in seconds."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from examples.subscriptions import workflows
from examples.subscriptions.bank import Bank, bank
from examples.subscriptions.workflows import MONTHS_OF_A_RUN, Subscription, subscription
from perdure import RunCancelled
from perdure.testing import TestEngine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ledger() -> Bank:
    ledger = Bank()
    bank.set(ledger)
    return ledger


def test_the_example_tells_what_three_customers_have_paid() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.subscriptions"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines()[:3] == [
        "ada: ended after 96 months; 96 bills, 864.00 EUR, in 9 runs",
        "bob: ended after 36 months; 36 bills, 324.00 EUR, in 4 runs",
        "eve: suspended in month 1: month 1 was not paid; 1 bill, 0.00 EUR, in 1 run",
    ]
    assert "years have passed" in done.stdout


def test_each_month_is_charged_once_and_each_year_is_a_run_with_a_short_history(ledger: Bank) -> None:
    with TestEngine([workflows]) as engine:
        began = engine.now()
        assert engine.run(subscription(Subscription("ada", 500, 40)), id="s").wait() == "ended after 40 months"

        runs = list(reversed([row for row in engine.list().wait() if row.id == "s"]))
        assert [row.status for row in runs] == ["continued as new"] * 3 + ["completed"]
        assert [row.attributes["months"] for row in runs] == [0, 12, 24, 36]
        assert max(row.events for row in runs) < 6 * MONTHS_OF_A_RUN
        assert engine.count(parent="s", status="completed").wait() == 40
        assert len(ledger.charges) == 40 and ledger.paid()["ada"] == 40 * 500
        assert engine.now() - began >= timedelta(days=40 * 30)


def test_an_empty_card_is_reminded_and_charged_later(ledger: Bank) -> None:
    with TestEngine([workflows]) as engine:
        ledger.empty["bob"] = engine.now() + timedelta(days=7)

        assert engine.run(subscription(Subscription("bob", 500, 2)), id="s").wait() == "ended after 2 months"

    assert [subject for _, subject in ledger.mails] == [
        "Reminder 1: we could not charge month 1",
        "Reminder 2: we could not charge month 1",
        "Thank you, and goodbye",
    ]


def test_who_cancels_is_not_billed_any_more(ledger: Bank) -> None:
    with TestEngine([workflows]) as engine:
        handle = engine.start(subscription(Subscription("ada", 500, 10_000)), id="s").wait()
        engine.sleep("400 days").wait()
        handle.cancel("moved away").wait()

        with pytest.raises(RunCancelled, match="moved away"):
            handle.result().wait()
        assert ledger.paid()["ada"] == 14 * 500
