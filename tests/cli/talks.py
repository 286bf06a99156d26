"""Workflows that are spoken to, from other processes."""

import asyncio
from dataclasses import dataclass

from perdure import activity, channel, publish, wait_until, workflow


@dataclass
class Decision:
    approved: bool
    by: str = "nobody"


@activity
async def book(what: str) -> str:
    return f"<{what}>"


@workflow
class Loan:
    def __init__(self) -> None:
        self.amount = 0
        self.decision: Decision | None = None

    @workflow.run
    async def run(self, amount: int) -> str:
        self.amount = amount
        publish("stage", "waits for a decision")
        await wait_until(lambda: self.decision is not None)
        assert self.decision is not None
        return f"{self.decision.approved} by {self.decision.by}: {self.amount}"

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        self.decision = decision

    @workflow.query
    def state(self, unit: str = "EUR") -> dict[str, object]:
        return {"amount": self.amount, "unit": unit}

    @workflow.update
    async def raise_by(self, more: int) -> int:
        await book(f"raise {more}")
        self.amount += more
        return self.amount

    @raise_by.validator
    def check(self, more: int) -> None:
        if more <= 0:
            raise ValueError(f"{more} is not more")

    @workflow.update
    async def slow(self) -> None:
        await asyncio.sleep(3_600)


replies = channel("reply", str)


@workflow
async def campaign(address: str) -> str:
    return await replies.receive()
