"""The drip campaign of the example: it stops on a reply, and bears that its engine dies anywhere."""

import subprocess
import sys
from pathlib import Path

from examples.campaign.workflows import campaign, hand_over, replies, send
from perdure import Engine, Handle
from perdure.testing import TestEngine, crash_everywhere

ROOT = Path(__file__).resolve().parents[2]


def test_three_weeks_are_shown_in_a_moment() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.campaign"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True
    )

    assert done.stderr == ""
    days = [line.split() for line in done.stdout.splitlines() if line.startswith("day")]
    told = [(int(words[1]), words[6], words[7]) for words in days if words[7] != "·"]
    assert told[:3] == [(0, who, "✉") for who in ("ada", "bob", "cy")]
    assert sorted(told[3:10]) == [
        (1, "ada", "↩"),
        (1, "ada", "☎"),
        (3, "bob", "✉"),
        (3, "cy", "✉"),
        (4, "bob", "↩"),
        (4, "bob", "☎"),
        (7, "cy", "✉"),
    ]
    assert "never replied (mail 3 of 3 is out)" in done.stdout
    assert "replied to mail 2: not before summer (mail 2 of 3 is out)" in done.stdout


def test_no_mail_goes_out_after_a_reply() -> None:
    with TestEngine([campaign, send, hand_over]) as engine:
        run = engine.start(campaign("ada"), id="ada").wait()
        engine.sleep("2 days").wait()
        run.signal(replies, "yes").wait()

        assert run.result().wait() == "replied to mail 1: yes"
        assert len(engine.calls(send)) == 1


def test_who_never_replies_gets_all_mails() -> None:
    with TestEngine([campaign, send, hand_over]) as engine:
        assert engine.run(campaign("cy")).wait() == "never replied"
        assert len(engine.calls(send)) == 3


def test_the_engine_may_die_at_every_place() -> None:
    async def replied(engine: Engine, handle: Handle[str]) -> None:
        await handle.as_request("reply-1").signal(replies, "yes")

    crash_everywhere(campaign("ada"), script=replied).wait().assert_ok()
