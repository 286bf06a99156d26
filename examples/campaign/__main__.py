"""Three people and three weeks, in a moment: the clock skips to whatever comes next."""

import asyncio
from datetime import UTC, datetime

from examples.campaign.workflows import MAILS, campaign, hand_over, replies, send
from perdure.testing import TestEngine

BEGIN = datetime(2026, 3, 2, 9, tzinfo=UTC)
REPLIES = {"ada": ("1 day", "yes, show me"), "bob": ("4 days", "not before summer")}
"""When somebody replies, after the campaign has begun, and what."""


class Diary:
    """What happens to whom, on which day."""

    def __init__(self, engine: TestEngine) -> None:
        self._engine = engine
        self.lines: list[str] = []

    def note(self, who: str, what: str) -> None:
        now = self._engine.now()
        self.lines.append(f"day {(now - BEGIN).days:>2}  {now:%a %d %b %H:%M}  {who:<4} {what}")
        print(self.lines[-1])


async def main() -> list[str]:
    engine = TestEngine([campaign, send, hand_over], start=BEGIN)
    diary = Diary(engine)

    async def shown(to: str, subject: str) -> str:
        diary.note(to, f"✉ {subject}")
        return subject

    async def taken(to: str, reply: str) -> None:
        diary.note(to, "☎ the sales team takes over")

    engine.replace(send, shown)
    engine.replace(hand_over, taken)
    async with engine:
        people = {who: await engine.start(campaign(who), id=f"campaign-{who}") for who in ("ada", "bob", "cy")}

        async def reply(who: str) -> None:
            after, text = REPLIES[who]
            await engine.sleep(after)
            diary.note(who, f"↩ {text}")
            await people[who].signal(replies, text)

        await asyncio.gather(*map(reply, REPLIES))
        for who, run in people.items():
            diary.note(who, f"· {await run.result()} ({(await run.published())['stage']})")
    return diary.lines


if __name__ == "__main__":
    print(f"A campaign of {len(MAILS)} mails to three people\n")
    asyncio.run(main())
