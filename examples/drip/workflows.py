"""The campaign. Between two letters it is a row in the database, and nothing else."""

from contextvars import ContextVar

from examples.drip.mailbox import Mailbox
from perdure import Retry, activity, sleep, workflow

WELCOME = "Welcome"
REMINDERS = ("Did you find your way?", "We miss you")
PAUSE = "3 days"

mailbox: ContextVar[Mailbox] = ContextVar("mailbox")
"""Set before the engine is entered: activities run in the context of that moment."""


@activity(timeout="1m", retry=Retry(initial="1m", maximum="1h"))
def send_mail(to: str, subject: str) -> None:
    """May be attempted twice; the key makes it one letter."""
    mailbox.get().send(to, subject, key=activity.info().idempotency_key)


@activity(timeout="1m", retry=Retry(initial="1m", maximum="1h"))
def has_replied(customer: str) -> bool:
    return mailbox.get().has_letter_from(customer)


@workflow
async def campaign(customer: str) -> str:
    await send_mail(customer, WELCOME)
    for reminder in REMINDERS:
        await sleep(PAUSE)
        if await has_replied(customer):
            return "replied"
        await send_mail(customer, reminder)
    return "no reply"


ALL = [campaign, send_mail, has_replied]
