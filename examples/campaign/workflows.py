"""A campaign of one person: a mail, days of waiting for a reply, the next mail."""

from dataclasses import dataclass

from perdure import activity, channel, publish, workflow


@dataclass(frozen=True)
class Mail:
    """One mail of a campaign, and how long a reply to it is waited for before the next one goes out."""

    subject: str
    patience: str


MAILS = (
    Mail("Welcome to Perdure", "3 days"),
    Mail("Five minutes that save you an outbox", "4 days"),
    Mail("Shall we call you?", "7 days"),
)

replies = channel("reply", str)


@activity(timeout="30s")
async def send(to: str, subject: str) -> str:
    """Where a provider of mails is called; `activity.info().idempotency_key` keeps it from sending one twice."""
    return f"sent {subject!r} to {to}"


@activity
async def hand_over(to: str, reply: str) -> None:
    """Somebody of the sales team takes it from here."""


@workflow
async def campaign(to: str) -> str:
    """How it ended: after which mail, or that nobody has answered."""
    for number, mail in enumerate(MAILS, 1):
        await send(to, mail.subject)
        publish("stage", f"mail {number} of {len(MAILS)} is out")
        try:
            reply = await replies.receive(timeout=mail.patience)
        except TimeoutError:
            continue
        await hand_over(to, reply)
        return f"replied to mail {number}: {reply}"
    return "never replied"
