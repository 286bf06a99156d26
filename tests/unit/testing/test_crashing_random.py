"""Random programs with all that a workflow can do, whose engine dies at every place: each time the same comes out of it."""

import asyncio
import contextlib
from random import Random
from typing import Any

import pytest

from perdure import ActivityFailed, OutcomeUnknown, Retry, activity, saga, workflow
from perdure.testing import crash_everywhere
from perdure.testing.simulation.programs import Spec, composed

deeds: dict[str, int] = {}


def act(n: int) -> int:
    """Once for each step, however often it is called."""
    deeds.setdefault(activity.info().idempotency_key, n)
    return n


@activity
async def work(n: int) -> int:
    return act(n)


@activity
def toil(n: int) -> int:
    return act(n)


@activity
async def nap(n: int) -> int:
    await asyncio.sleep(n)
    return act(n)


@activity(retry=1)
async def only_once(n: int) -> int:
    return n


@activity(at_most_once=True)
async def at_most_once(n: int) -> int:
    return n


@activity(retry=Retry(initial="1s", max_attempts=6))
async def shaky(n: int) -> int:
    if activity.info().attempt == 1:
        raise ConnectionError("not yet")
    return act(n)


@activity
async def never(n: int) -> int:
    await asyncio.Event().wait()
    return n


@activity(queue="far")
async def far(n: int) -> int:
    return act(n)


@activity
async def refuse(n: int) -> int:
    raise activity.NonRetryable("never")


@activity
async def undone(n: int) -> None:
    act(-n)


DEFINITIONS = [work, toil, nap, only_once, at_most_once, shaky, never, far, refuse, undone]


@workflow
async def perform(spec: list) -> int:
    return await do(spec)


@workflow
async def child(spec: list) -> int:
    return await do(spec)


async def do(spec: Spec) -> int:
    kind, *rest = spec
    return await KINDS[kind](*rest)


async def _either(spec: Spec) -> int:
    """Of steps that a crash fails, the same comes out all the same."""
    kind, n = spec
    try:
        return await {"once": only_once, "most": at_most_once, "refuse": refuse}[kind](n)
    except (ActivityFailed, OutcomeUnknown):
        return n


async def _saga(spec: Spec, n: int) -> int:
    try:
        async with saga() as undo:
            undo(undone, n)
            await do(spec)
            undo(undone, n + 1)
            return await refuse(n)
    except ActivityFailed:
        return n


async def _cancelled(spec: Spec) -> int:
    task = asyncio.ensure_future(do(["sequence", [spec, ["timeout", 1e9, 3]]]))
    await asyncio.sleep(5)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return 7


KINDS: dict[str, Any] = {
    "work": lambda n: work(n),
    "toil": lambda n: toil(n),
    "nap": lambda n: nap(n),
    "shaky": lambda n: shaky(n),
    "far": lambda n: far(n),
    "either": _either,
    "saga": _saga,
    "child": lambda spec: child(spec),
    "cancelled": _cancelled,
    **composed(do, work, never),
}


def program(chance: Random, depth: int = 3) -> Spec:
    """A program, not deeper than so."""
    simple = ["work", "toil", "nap", "far", "shaky", "either", "sleep", "timeout"]
    deep = ["sequence", "gather", "group", "finally", "saga", "child", "cancelled"]
    kind, n = chance.choice(simple + deep if depth else simple), chance.randint(1, 9)
    match kind:
        case "either":
            return [kind, [chance.choice(["once", "most", "refuse"]), n]]
        case "sleep":
            return [kind, chance.choice([0.0, 1.0, 60.0, 86_400.0])]
        case "timeout":
            return [kind, chance.choice([0.5, 3.0, 3_600.0]), n]
        case "saga":
            return [kind, program(chance, depth - 1), n]
        case "finally":
            return [kind, program(chance, depth - 1), ["work", n]]
        case "child" | "cancelled":
            return [kind, program(chance, depth - 1)]
        case "sequence" | "gather" | "group":
            return [kind, [program(chance, depth - 1) for _ in range(chance.randint(1, 3))]]
        case _:
            return [kind, n]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_program_does_it_bears_every_crash(seed: int, twice: bool) -> None:
    chance = Random(f"crashes {seed} {twice}")
    spec = [chance.choice(["sequence", "gather", "group"]), [program(chance) for _ in range(3)]]

    report = crash_everywhere(
        perform(spec),
        definitions=[child, *DEFINITIONS],
        state=lambda: sorted(deeds.values()),
        reset=deeds.clear,
        max_points=24,
        seed=seed,
        twice=twice,
        progress=False,
    ).wait()

    report.assert_ok()
    assert report.unreached == []
    assert report.advice == []
