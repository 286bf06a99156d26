"""Money in a simulation: transfers that are undone if they fail, and a ledger that no crash takes anything back from.

What an attempt does to the world it does when it begins, whatever becomes of it then: a process that dies, a result that is
lost and a second attempt are all too late to change that. So the ledger knows each transfer by its number, as a bank would.
"""

import asyncio
from random import Random
from typing import Any

from perdure.activities import Retry, activity
from perdure.errors import ActivityFailed
from perdure.testing.simulation.values import UNDONE
from perdure.workflows import saga

Spec = list[Any]
_KEEPS_TRYING = Retry(initial=1, maximum=8)


@activity(retry=_KEEPS_TRYING)
async def withdraw(n: int) -> int:
    """From the one account."""
    return n


@activity(retry=_KEEPS_TRYING)
async def deposit(n: int) -> int:
    """To the other one."""
    return n


@activity(retry=_KEEPS_TRYING)
async def put_back(n: int) -> int:
    """What was withdrawn, if it was; it cannot be withdrawn later."""
    return n


@activity(retry=_KEEPS_TRYING)
async def take_out(n: int) -> int:
    """What was deposited, in the same way."""
    return n


BANKING = [withdraw, deposit, put_back, take_out]


async def transferred(refuse: Any, n: int, fails: bool, seconds: float) -> int:
    """Transfer number `n`, of as much money. Between its two sides it may wait."""
    try:
        async with saga() as undo:
            undo(put_back, n)
            await withdraw(n)
            await asyncio.sleep(seconds)
            undo(take_out, n)
            await deposit(n)
            if fails:
                await refuse(n)
            return n
    except ActivityFailed:
        return UNDONE


def transfers(chance: Random, longest: float) -> Spec:
    waits = [seconds for seconds in (0.0, 0.01, 5.0, 86_400.0) if seconds <= longest]
    numbers = chance.sample(range(1, 100), chance.randint(1, 4))
    each = [["transfer", n, chance.random() < 0.3, chance.choice(waits)] for n in numbers]
    return [chance.choice(["sequence", "gather"]), each]


class Ledger:
    """What has happened to the two accounts, by run and transfer."""

    def __init__(self) -> None:
        self._withdrawn: dict[tuple[str, int], int] = {}
        self._deposited: dict[tuple[str, int], int] = {}

    def act(self, name: str, run: str, n: int) -> None:
        """An attempt of an activity does what it does, once."""
        match name:
            case "withdraw":
                self._withdrawn.setdefault((run, n), n)
            case "deposit":
                self._deposited.setdefault((run, n), n)
            case "put_back":
                self._withdrawn[run, n] = 0
            case "take_out":
                self._deposited[run, n] = 0
            case _:
                pass

    def missing(self, run: str) -> int:
        """By how much the two accounts together have less than before, by what a run has done."""
        withdrawn = sum(money for (id, _), money in self._withdrawn.items() if id == run)
        return withdrawn - self.moved(run)

    def moved(self, run: str) -> int:
        return sum(money for (id, _), money in self._deposited.items() if id == run)
