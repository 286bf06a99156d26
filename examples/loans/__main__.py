"""Four applications and a week, in a moment: the clock skips to whatever comes next."""

import asyncio
from datetime import UTC, datetime

from examples.loans.workflows import Application, LoanDecision, loan, mail_people, pay_out, score
from perdure.errors import AnswerMisfit, TaskClaimed
from perdure.tasks import TaskNotice
from perdure.testing import TestEngine

BEGIN = datetime(2026, 3, 2, 9, tzinfo=UTC)
LOANS = {"ada": 800, "bob": 5_000, "cy": 9_000, "dan": 12_000}


class Diary:
    """What happens to whose loan, on which day."""

    def __init__(self, engine: TestEngine) -> None:
        self._engine = engine
        self.lines: list[str] = []

    def note(self, who: str, what: str) -> None:
        now = self._engine.now()
        self.lines.append(f"day {(now - BEGIN).days}  {now:%a %d %b %H:%M}  {who:<4} {what}")
        print(self.lines[-1])


async def people(engine: TestEngine, diary: Diary) -> None:
    """What ann and eve, who is of the group credit, do in that week."""
    await engine.sleep("4h")
    await engine.tasks.claim("loan-bob", by="ann")
    diary.note("bob", "ann takes it")
    try:
        await engine.tasks.complete("loan-bob", {"verdict": "refuse"}, by="eve", groups=["credit"])
    except TaskClaimed as refused:
        diary.note("bob", f"eve is told: {str(refused).partition(';')[0]}")
    try:
        await engine.tasks.complete("loan-bob", {"verdict": "perhaps"}, by="ann")
    except AnswerMisfit as misfit:
        diary.note("bob", f"ann is told: {misfit.wrong[0]}")
    await engine.tasks.complete("loan-bob", LoanDecision("approve", limit=4_000), by="ann")
    await engine.sleep("2 days")
    late = await engine.tasks.list(assignee="group:credit", overdue=True)
    diary.note("cy", f"eve looks at what is overdue: {', '.join(each.run for each in late)}")
    await engine.tasks.complete("loan-cy", LoanDecision("refuse", note="too much at once"), by="eve", groups=["credit"])


async def main() -> list[str]:
    engine = TestEngine([loan, score, mail_people, pay_out], start=BEGIN)
    diary = Diary(engine)

    async def shown(notice: TaskNotice) -> None:
        diary.note(notice.run.removeprefix("loan-"), f"✉ {notice.kind}: {notice.title} ({notice.hint})")

    engine.replace(mail_people, shown)
    async with engine:
        runs = {
            who: await engine.start(loan(Application(who, amount)), id=f"loan-{who}") for who, amount in LOANS.items()
        }
        await people(engine, diary)
        for who, run in runs.items():
            diary.note(who, f"· {await run.result()}")
    return diary.lines


if __name__ == "__main__":
    print(f"{len(LOANS)} applications\n")
    asyncio.run(main())
