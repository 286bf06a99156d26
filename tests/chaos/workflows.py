"""What runs in the storm. Each knows beforehand what must come out: what happens is drawn from the run's own number `n`.

Activities note in the books what they do. Some fail at first, some always, as their number says.
"""

import asyncio
import os
import time
from typing import Any

from perdure import (
    ActivityFailed,
    ChildFailed,
    Retry,
    activity,
    continue_as_new,
    patched,
    saga,
    stream,
    task,
    wait_until,
    workflow,
)
from tests.chaos.world import note

PATIENT = Retry(initial=0.05, maximum=0.4)
BANK = "bank"
EDITION = int(os.environ.get("PERDURE_CHAOS_EDITION", "1"))
"""Of this code: in the middle of the storm the second one is deployed, to engines that are started from then on."""
ROOM_LINES = 12
"""A room goes on as another one after so many."""


def shakes(n: int) -> bool:
    """Whether the first attempt of the steps of `n` fails."""
    return n % 5 == 2


def fails(n: int) -> bool:
    """Whether the last step of `n` fails for good."""
    return n % 7 == 3


def stumble(n: int) -> None:
    if shakes(n) and activity.info().attempt == 1:
        raise ConnectionError("not yet")


@activity(retry=PATIENT)
def book(what: str, of: str, amount: int, n: int) -> int:
    note(what, of, amount)
    stumble(n)
    return amount


@activity(retry=PATIENT, queue=BANK)
def deposit(of: str, amount: int, n: int) -> int:
    if fails(n):
        raise activity.NonRetryable("no such account")
    note("deposit", of, amount)
    stumble(n)
    return amount


@activity(retry=PATIENT, queue=BANK)
async def book_far(what: str, of: str, amount: int, n: int) -> int:
    note(what, of, amount)
    await asyncio.sleep(0.02)
    stumble(n)
    return amount


@activity(retry=Retry(initial=0.05, maximum=0.4, max_attempts=60))
async def clock() -> float:
    return time.time()


@workflow
async def transfer(of: str, n: int) -> str:
    """Money leaves an account and comes to another one, or comes back."""
    amount = 1 + n % 50
    try:
        async with saga() as undo:
            undo(book, "refund", of, amount, n)
            await book("withdraw", of, -amount, n)
            await deposit(of, amount, n)
    except ActivityFailed:
        return "refused"
    if EDITION > 1 and patched("receipts"):  # the first edition has nothing of this
        await book("receipt", of, 0, n)
    return "done"


@workflow
async def shipping(of: str, n: int) -> str:
    await book_far("pack", of, 0, n)
    await asyncio.sleep(0.05)
    if fails(n):
        raise ValueError("no ship sails there")
    await book("ship", of, 0, n)
    return f"shipped {n}"


@workflow
async def order(of: str, n: int) -> str:
    """Steps side by side, then a child; all of it is undone if that fails."""
    try:
        async with saga(parallel=n % 2 == 0) as undo:
            undo(book, "release", of, 1, n)
            undo(book_far, "repay", of, 10, n)
            await asyncio.gather(book("reserve", of, -1, n), book_far("charge", of, -10, n))
            return await shipping(of, n).with_options(id=f"{of}-shipping")
    except ChildFailed as error:
        return error.message


@workflow
async def leaf(of: str, n: int, depth: int) -> int:
    await book("leaf", of, depth, n)
    return n if depth == 0 else n + await leaf(f"{of}.0", n, depth - 1).with_options(id=f"{of}.0")


@workflow
async def family(of: str, n: int) -> int:
    return sum(await asyncio.gather(*[leaf(f"{of}.{k}", n, k).with_options(id=f"{of}.{k}") for k in range(3)]))


@workflow
async def nap(of: str, n: int) -> list[float]:
    """How long it slept, by its own clock and by the world's, and how long it wanted to."""
    wanted = 0.05 + n % 8 / 10
    there, before = await clock(), time.time()
    await asyncio.sleep(wanted)
    return [wanted, time.time() - before, await clock() - there]


@workflow
async def counter(of: str, left: int, total: int) -> int:
    total += await book("count", of, left, left)
    if left > 1:
        continue_as_new(of, left - 1, total)
    return total


@workflow
async def sleeper(of: str, n: int) -> None:
    try:
        await asyncio.sleep(100_000)
    finally:
        await book("broom", of, 0, n)


@workflow
async def question(of: str, n: int) -> list[str]:
    answer = await task(f"What is {n}?", form=str).with_actor()
    await book("heard", of, 0, n)
    return [answer.value, answer.by]


WORDS = 30


@activity(retry=PATIENT)
async def recite(of: str, n: int) -> int:
    words = stream("words", int)
    for k in range(WORDS):
        await words.write(k)
        await asyncio.sleep(0.005)
        if k == WORDS // 2:
            stumble(n)
    return WORDS


@workflow
async def talk(of: str, n: int) -> int:
    log = stream("log", int)
    log.write(0)
    heard = await (recite(of, n) if n % 2 else recite(of, n).with_options(queue=BANK))
    for k in range(1, 20):
        log.write(k)
        await asyncio.sleep(0.01)
    return heard


@activity(retry=Retry(initial=0.05, maximum=0.4, max_attempts=60), queue=BANK)
async def climb(of: str, top: int) -> int:
    """Goes on where the attempt before has stood, as far as that has told."""
    height = activity.info().heartbeat_details or 0
    while height < top:
        await asyncio.sleep(0.1)
        height += 1
        activity.heartbeat(height)
    note("top", of, height)
    return height


@workflow
async def mountain(of: str, n: int) -> int:
    return await climb(of, 3 + n % 5)


@activity(retry=PATIENT, runs_in="process")
def grind(of: str, n: int) -> int:
    note("ground", of, by=os.getppid())
    return sum(range(n))


@workflow
async def mill(of: str, n: int) -> int:
    return await grind(of, n)


@activity(retry=PATIENT, transactional=True)
async def enter(of: str, k: int, n: int) -> int:
    """A row beside the runs, committed with the result. Whoever enters it and fails then has entered nothing."""
    import psycopg

    note("entered", of, k)
    await activity.connection(psycopg.AsyncConnection).execute("INSERT INTO public.vault VALUES (%s, %s)", (of, k))
    stumble(n)
    return k


@activity(retry=PATIENT, transactional=True, queue=BANK)
def enter_far(of: str, k: int, n: int) -> int:
    import psycopg

    note("entered", of, k)
    activity.connection(psycopg.Connection).execute("INSERT INTO public.vault VALUES (%s, %s)", (of, k))
    stumble(n)
    return k


@workflow
async def vault(of: str, n: int) -> int:
    """Only where there is a server."""
    return await enter(of, 1, n) + await enter_far(of, 2, n) + await enter(of, 3, n)


@workflow
class Room:
    """Several say something, each in an order of its own, and draw tickets; when all have said goodbye it is closed."""

    def __init__(self) -> None:
        self.said: list[list[Any]] = []
        self.tickets: list[str] = []
        self.rest = 1_000_000

    @workflow.run
    async def run(self, rest: int, said: list[list[Any]], tickets: list[str]) -> dict[str, Any]:
        self.rest = rest
        self.said[:0] = said
        self.tickets[:0] = tickets
        await wait_until(lambda: self._left() == 0 or len(self.said) >= len(said) + ROOM_LINES)
        await wait_until(workflow.all_handlers_finished)
        if self._left():
            continue_as_new(self.rest, self.said, self.tickets)
        return {"said": self.said, "tickets": self.tickets}

    def _left(self) -> int:
        return self.rest - sum(1 for _, k in self.said if k < 0)

    @workflow.signal
    async def say(self, who: str, k: int) -> None:
        self.said.append([who, k])
        if k > 0 and k % 5 == 4:
            await book("heard", f"{workflow.info().id}-{who}-{k}", 0, k)

    @workflow.update
    def draw(self, who: str) -> int:
        self.tickets.append(who)
        return len(self.tickets)

    @draw.validator
    def only_guests(self, who: str) -> None:
        if not who:
            raise ValueError("nobody draws no ticket")

    @workflow.query
    def heard(self, who: str) -> int:
        return sum(1 for each, _ in self.said if each == who)
