"""A loan: its score, a person's decision, the money."""

from dataclasses import dataclass
from typing import Literal

from perdure import activity, task, workflow
from perdure.tasks import TaskNotice

SMALL = 1_000
"""Up to here nobody is asked."""


@dataclass(frozen=True)
class Application:
    applicant: str
    amount: int


@dataclass(frozen=True)
class LoanDecision:
    """What the form asks for."""

    verdict: Literal["approve", "refuse"]
    limit: int = 0
    note: str = ""


@activity(timeout="30s")
async def score(application: Application) -> int:
    """Where a credit bureau is called: from 0 to 100."""
    return max(100 - application.amount // 200, 0)


@activity(timeout="30s")
async def mail_people(notice: TaskNotice) -> None:
    """Where a mail is sent to each of `notice.assignees`: what it is about, and the command that answers it."""


@activity(timeout="30s")
async def pay_out(applicant: str, amount: int) -> str:
    """Where the money goes out; `activity.info().idempotency_key` keeps it from going out twice."""
    return f"{amount} paid out to {applicant}"


@workflow
async def loan(application: Application) -> str:
    """What became of the application, and who has decided."""
    points = await score(application)
    if application.amount <= SMALL and points >= 50:
        return await pay_out(application.applicant, application.amount)
    asked = task(
        f"Approve the loan of {application.applicant}",
        form=LoanDecision,
        assignees=["ann", "group:credit"],
        due="2 days",
        remind="1 day",
        timeout="7 days",
        data={"applicant": application.applicant, "amount": application.amount, "score": points},
        notify=mail_people,
    )
    try:
        outcome = await asked.with_actor()
    except TimeoutError:
        return "refused: nobody has decided within a week"
    decision = outcome.value
    if decision.verdict == "refuse":
        return f"refused by {outcome.by}: {decision.note}"
    paid = await pay_out(application.applicant, min(decision.limit or application.amount, application.amount))
    return f"{paid}, approved by {outcome.by}"
