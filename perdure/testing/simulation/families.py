"""Parts of simulated programs that are other runs: children, and what is said to them."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from perdure.activities import Retry
from perdure.errors import ChildCancelled
from perdure.workflows import channel, continue_as_new, external, start_child, workflow

Spec = list[Any]
Do = Callable[[Spec], Awaitable[int]]

numbers = channel("numbers", int)
WORDS = 4
FOR_EVER = ["for ever", ["act", "work", 1]]
LONG_SECONDS = 1e6
PATIENCE_SECONDS = 3.0


def _id(name: str) -> str:
    """The same in every life, as what becomes of a child's attempts is drawn from it."""
    return f"{workflow.info().id}/{name}"


async def _child(perform: Any, name: str, spec: Spec) -> int:
    return await perform(spec).with_options(id=_id(name))


async def _retried(perform: Any, name: str, spec: Spec) -> int:
    return await perform(["third time", spec]).with_options(id=_id(name), retry=Retry(initial=1))


async def _left(perform: Any, name: str, parent_close: str) -> int:
    """The child outlives this run, or would; it makes room for the one of a run that this one goes on as."""
    spec = ["sleep", 10 * LONG_SECONDS] if parent_close == "abandon" else FOR_EVER
    child = perform(spec).with_options(id=_id(name), parent_close=parent_close, id_conflict="terminate_existing")
    await start_child(child)
    return 1


async def _given_up(perform: Any, name: str, cancellation: str) -> int:
    """What the child does then takes less time than what comes next."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            child = perform(FOR_EVER).with_options(id=_id(name), cancellation=cancellation)
            return await child.with_options(id_conflict="terminate_existing")
    except TimeoutError:
        await asyncio.sleep(LONG_SECONDS)
    return 2


async def _given_up_late(perform: Any, name: str) -> int:
    """The child fails when it is given up, and is tried again: what it is told then is for its next attempt."""
    child = perform(["fails first", PATIENCE_SECONDS]).with_options(id=_id(name), retry=Retry(initial=1))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await child.with_options(cancellation="wait", id_conflict="terminate_existing")
    except TimeoutError:
        return 2


async def _told(perform: Any, name: str, kind: str) -> int:
    child = await start_child(perform([kind, WORDS, 0]).with_options(id=_id(name)))
    for n in range(WORDS):
        await child.signal(numbers, n)
    return await child


async def _stopped(perform: Any, name: str) -> int:
    child = await start_child(perform(FOR_EVER).with_options(id=_id(name)))
    await external(child.id).cancel("enough")
    try:
        return await child
    except ChildCancelled:
        return 3


FAMILIES: dict[str, Any] = {
    "child": _child,
    "retried": _retried,
    "left": _left,
    "given up": _given_up,
    "given up late": _given_up_late,
    "told": _told,
    "stopped": _stopped,
}


async def _third_time(do: Do, spec: Spec) -> int:
    got = await do(spec)
    if workflow.info().attempt < 3:
        raise ConnectionError("not yet")
    return got


async def _fails_first(do: Do, seconds: float) -> int:
    """From the second attempt on it ends only when it is cancelled or terminated."""
    await asyncio.sleep(seconds)
    if workflow.info().attempt == 1:
        raise ConnectionError("not yet")
    return await do(FOR_EVER)


async def _chain(do: Do, left: int, spec: Spec, total: int = 0) -> int:
    total += await do(spec)
    return continue_as_new(["chain", left - 1, spec, total]) if left else total


async def _hear(do: Do, left: int, total: int) -> int:
    for _ in range(left):
        total = total * 10 + await numbers.receive()
    return total


async def _relay(do: Do, left: int, total: int) -> int:
    """Each run of a chain hears one word, and hands the others on."""
    total = total * 10 + await numbers.receive()
    await do(["act", "work", left])
    return continue_as_new(["relay", left - 1, total]) if left > 1 else total


MAIN_LINES: dict[str, Any] = {
    "third time": _third_time,
    "fails first": _fails_first,
    "chain": _chain,
    "hear": _hear,
    "relay": _relay,
}
"""What only a whole run can do."""


def a_family(chance: Random, inner: Callable[[], Spec]) -> Spec:
    """One of them, with programs for its children."""
    name = f"{chance.randrange(10**6)}"
    match chance.choice(["child", "child", *FAMILIES]):
        case "child":
            return ["child", name, chance.choice([inner(), ["chain", 2, inner()]])]
        case "retried":
            return ["retried", name, inner()]
        case "left":
            return ["left", name, chance.choice(["terminate", "cancel", "abandon"])]
        case "given up":
            return ["given up", name, chance.choice(["wait", "try", "abandon"])]
        case "told":
            return ["told", name, chance.choice(["hear", "relay"])]
        case kind:
            return [kind, name]
