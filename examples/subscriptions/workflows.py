"""A subscription runs for as long as there is a customer. Each year it goes on as a new run, with an empty history."""

from dataclasses import dataclass, replace
from datetime import datetime

from examples.subscriptions.bank import CardDeclined, bank
from perdure import ActivityFailed, ChildFailed, Retry, activity, continue_as_new, workflow

MONTHS_OF_A_RUN = 12
REMINDERS = 3


@dataclass(frozen=True)
class Subscription:
    """What a run hands on to the next. `months` were paid, `until` so many at most."""

    customer: str
    cents: int
    until: int
    months: int = 0


@activity(retry=Retry(non_retryable=(CardDeclined,)))
def charge(customer: str, cents: int, at: datetime) -> None:
    bank.get().charge(activity.info().idempotency_key, customer, cents, at)


@activity
def send_mail(customer: str, subject: str) -> None:
    bank.get().mails.append((customer, subject))


@workflow
async def bill(customer: str, month: int, cents: int) -> int:
    """One month: the card is charged; one that is empty is tried again after a few days, with a reminder each time."""
    for reminder in range(REMINDERS):
        try:
            await charge(customer, cents, workflow.now())
            return cents
        except ActivityFailed as declined:
            if not declined.is_a(CardDeclined):
                raise
        await send_mail(customer, f"Reminder {reminder + 1}: we could not charge month {month}")
        await workflow.sleep("5 days")
    raise CardDeclined(f"month {month} was not paid")


@workflow
async def subscription(of: Subscription) -> str:
    """Months until the end of the contract. What cannot be billed suspends it."""
    began = of.months
    workflow.set_attributes({"customer": of.customer, "months": of.months})
    while of.months < of.until:
        month = of.months + 1
        try:
            await bill(of.customer, month, of.cents).with_options(id=f"bill-{of.customer}-{month}")
        except ChildFailed as failed:
            await send_mail(of.customer, "Your subscription is suspended")
            return f"suspended in month {month}: {failed.message}"
        of = replace(of, months=month)
        await workflow.sleep("30 days")
        if of.months - began >= MONTHS_OF_A_RUN or workflow.info().continue_as_new_suggested:
            continue_as_new(of)
    await send_mail(of.customer, "Thank you, and goodbye")
    return f"ended after {of.months} months"
