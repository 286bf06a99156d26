"""The drip campaign: weeks of it, in milliseconds."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from examples.drip.mailbox import Mailbox
from examples.drip.workflows import ALL, REMINDERS, WELCOME, campaign, has_replied, mailbox, send_mail
from perdure import RunCancelled
from perdure.testing import TestEngine, activity_context


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Mailbox]:
    """A mailbox, which activities of this test use."""
    before = mailbox.set(Mailbox(tmp_path))
    yield mailbox.get()
    mailbox.reset(before)


def test_who_does_not_reply_gets_all_letters_three_days_apart(post: Mailbox) -> None:
    with TestEngine(ALL) as engine:
        began = engine.now()

        assert engine.run(campaign("ada")).wait() == "no reply"

        assert post.subjects() == sorted([WELCOME, *REMINDERS])
        assert timedelta(days=6) <= engine.now() - began < timedelta(days=6, minutes=1)


def test_who_replies_gets_no_more_letters(post: Mailbox) -> None:
    with TestEngine(ALL) as engine:
        handle = engine.start(campaign("ada")).wait()
        engine.sleep("4 days").wait()
        assert post.subjects() == sorted([WELCOME, REMINDERS[0]])

        post.reply("ada")

        assert handle.result().wait() == "replied"
        assert len(post.subjects()) == 2


def test_whose_campaign_is_cancelled_gets_no_more_letters(post: Mailbox) -> None:
    with TestEngine(ALL) as engine:
        handle = engine.start(campaign("ada")).wait()
        engine.sleep("1 day").wait()

        handle.cancel("has unsubscribed").wait()

        with pytest.raises(RunCancelled):
            handle.result().wait()
        assert post.subjects() == [WELCOME]


def test_a_mail_server_that_is_down_for_hours_delays_a_letter_and_loses_none() -> None:
    sent: list[str] = []

    def sends_after_lunch(to: str, subject: str) -> None:
        if engine.now() < began + timedelta(hours=5):
            raise ConnectionError("the mail server is down")
        sent.append(subject)

    with TestEngine(ALL, activities={send_mail: sends_after_lunch, has_replied: lambda customer: False}) as engine:
        began = engine.now()

        assert engine.run(campaign("ada")).wait() == "no reply"

        assert sent == [WELCOME, *REMINDERS]
        assert len(engine.calls(send_mail)) > 6
        assert engine.now() - began > timedelta(days=6, hours=5)


def test_hundreds_of_campaigns_run_beside_each_other(post: Mailbox) -> None:
    customers = [f"customer-{n}" for n in range(200)]
    for customer in customers[::2]:
        post.reply(customer)
    with TestEngine(ALL) as engine:
        handles = [engine.start(campaign(customer)).wait() for customer in customers]

        ends = [handle.result().wait() for handle in handles]

        assert ends == ["replied", "no reply"] * 100
        assert len(post.subjects()) == 100 * 1 + 100 * 3


def test_a_letter_that_is_attempted_twice_is_one_letter(post: Mailbox) -> None:
    for attempt in (1, 2):
        with activity_context(send_mail, attempt=attempt):
            send_mail.fn("ada", WELCOME)

    assert post.subjects() == [WELCOME]
