"""Tests of the workflow. The fixture `perdure_engine` comes with Perdure: its engine keeps runs in memory and skips time.
With `crash_everywhere` it dies, at each place where that could hurt, and another one goes on."""

from typing import Any

from workflows import send_mail, welcome

from perdure import activity


def test_a_second_mail_follows_after_three_days(perdure_engine: Any) -> None:
    sent: list[str] = []

    def pretend(to: str, subject: str) -> None:
        sent.append(subject)

    engine = perdure_engine([welcome], activities={send_mail: pretend})
    before = engine.now()

    assert engine.run(welcome("ada@example.com", "3 days")).wait() == "ada@example.com has two mails"

    assert sent == ["Welcome", "How do you like it?"]
    assert (engine.now() - before).days == 3


def test_a_mail_that_fails_is_sent_again(perdure_engine: Any) -> None:
    def fails_once(to: str, subject: str) -> None:
        if len(engine.calls(send_mail)) == 1:
            raise ConnectionError("the mail server is asleep")

    engine = perdure_engine([welcome], activities={send_mail: fails_once})

    engine.run(welcome("ada@example.com")).wait()

    assert [call.attempt for call in engine.calls(send_mail)] == [1, 2, 1]


def test_two_mails_are_sent_wherever_the_process_dies(crash_everywhere: Any) -> None:
    sent: dict[str, str] = {}

    def pretend(to: str, subject: str) -> None:
        sent[activity.info().idempotency_key] = subject

    crash_everywhere(
        welcome("ada@example.com", "3 days"),
        activities={send_mail: pretend},
        state=lambda: list(sent.values()),
        reset=sent.clear,
    )
