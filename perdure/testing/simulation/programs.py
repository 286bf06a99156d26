"""What is simulated: one workflow that performs any program, a nested list, whose result no order of events can change."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

from perdure.activities import Retry, activity
from perdure.errors import ActivityFailed
from perdure.streams import stream
from perdure.testing.simulation.banking import BANKING, transferred, transfers
from perdure.testing.simulation.changing import changed
from perdure.testing.simulation.families import FAMILIES, MAIN_LINES, a_family, numbers
from perdure.testing.simulation.talks import TALKS, desk
from perdure.testing.simulation.values import UNDONE
from perdure.workflows import saga, workflow

Spec = list[Any]
"""A program: its kind, then what it needs."""

FOR_EVER_SECONDS = 365 * 86_400

SHARED = "said"
"""The stream to which all attempts write that tell something, and the workflow."""


@activity(retry=Retry(initial=1, maximum=8))
async def work(n: int) -> int:
    """Fails a few times, perhaps."""
    return 2 * n + 1


@activity(retry=Retry(initial=1, maximum=8))
def toil(n: int) -> int:
    """The same in a thread."""
    return 2 * n + 1


@activity(retry=Retry(initial=1, maximum=8), timeout=5)
async def linger(n: int) -> int:
    """Hangs at first, so that attempts run out of time."""
    return 2 * n + 1


@activity
async def refuse(n: int) -> int:
    """Fails for good."""
    raise activity.NonRetryable(str(n))


@activity
async def never(n: int) -> int:
    """Hangs until it is cancelled."""
    return n


@activity(retry=Retry(initial=1, maximum=8))
async def take_back(n: int) -> int:
    """Undoes `work`."""
    return n


@activity(retry=Retry(initial=1, maximum=8), heartbeat=3)
async def pulse(n: int) -> int:
    """Tells that it lives, and falls silent at times."""
    return 2 * n + 1


QUEUE = "far"


@activity(retry=Retry(initial=1, maximum=8), queue=QUEUE)
async def fetch(n: int) -> int:
    """Workers of a queue do it."""
    return 2 * n + 1


@activity(retry=Retry(initial=1, maximum=8), queue=QUEUE, timeout=20, heartbeat=3)
async def haul(n: int) -> int:
    """So they do that; it is heavy."""
    return 2 * n + 1


@activity(retry=Retry(initial=1, maximum=8))
async def tell(n: int) -> int:
    """Writes to streams meanwhile."""
    return 2 * n + 1


@activity(retry=Retry(initial=1, maximum=8), queue=QUEUE, timeout=60)
async def cry(n: int) -> int:
    """The same, by workers."""
    return 2 * n + 1


ACTIVITIES = [work, toil, linger, refuse, never, take_back, pulse, fetch, haul, tell, cry, *BANKING]
WAYS = {
    "tell": tell,
    "cry": cry,
    "work": work,
    "toil": toil,
    "linger": linger,
    "pulse": pulse,
    "fetch": fetch,
    "haul": haul,
}


@workflow
async def perform(spec: list) -> int:
    assert numbers.name  # where it is looked for, since what is told may come before somebody receives it
    return await do(spec)


@workflow(retry=Retry(initial=1))
async def insist(spec: list) -> int:
    """The same, again and again until it does not fail."""
    return await do(spec)


WORKFLOWS = [perform, insist, desk(work)]


async def do(spec: Spec) -> int:
    began = workflow.now()
    got = await _doing(*spec)
    assert workflow.now() >= began, "the time of a run never goes back"
    return got


def _doing(kind: str, *rest: Any) -> Coroutine[Any, Any, int]:
    if kind in FAMILIES:
        return FAMILIES[kind](perform, *rest)
    if kind in TALKS:
        return TALKS[kind](*rest)
    if kind in MAIN_LINES:
        return MAIN_LINES[kind](do, *rest)
    return _DO[kind](*rest)


async def _act(way: str, n: int) -> int:
    return await WAYS[way](n)


async def _fail(n: int) -> int:
    try:
        return await refuse(n)
    except ActivityFailed:
        return await work(n)


def composed(do: Callable[[Spec], Coroutine[Any, Any, int]], work: Any, never: Any) -> dict[str, Any]:
    """How programs are put together of others, which `do` performs: each kind, and what performs it. `work` is an activity that
    gives a number, `never` one that hangs."""

    async def slept(seconds: float) -> int:
        await asyncio.sleep(seconds)
        return 1

    async def sequence(specs: list[Spec]) -> int:
        return sum([await do(spec) for spec in specs])

    async def gather(specs: list[Spec]) -> int:
        return sum(await asyncio.gather(*(do(spec) for spec in specs)))

    async def group(specs: list[Spec]) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(do(spec)) for spec in specs]
        return sum(task.result() for task in tasks)

    async def in_time(seconds: float, n: int) -> int:
        try:
            async with asyncio.timeout(seconds):
                return await never(n)
        except TimeoutError:
            return await work(n)

    async def cleaned_up(spec: Spec, cleanup: Spec) -> int:
        try:
            return await do(spec)
        finally:
            await do(cleanup)

    return {
        "sleep": slept,
        "sequence": sequence,
        "gather": gather,
        "group": group,
        "timeout": in_time,
        "finally": cleaned_up,
    }


async def _write(name: str, count: int) -> int:
    for n in range(count):
        stream(name).write(n)
    return count


async def _saga(ns: list[int], fails: bool) -> int:
    try:
        async with saga() as undo:
            total = 0
            for n in ns:
                undo(take_back, n)
                total += await work(n)
            if fails:
                await refuse(0)
            return total
    except ActivityFailed:
        return UNDONE


async def _transfer(n: int, fails: bool, seconds: float) -> int:
    return await transferred(refuse, n, fails, seconds)


async def _for_ever(spec: Spec) -> int:
    """Ends only when it is cancelled or terminated."""
    try:
        while True:
            await do(spec)
            await asyncio.sleep(FOR_EVER_SECONDS)
    finally:
        await work(0)


async def _shielded(seconds: float, spec: Spec) -> int:
    """Who waits may give up; what is shielded goes on all the same, and is waited for then."""
    inner = asyncio.ensure_future(do(spec))
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(inner)
    except TimeoutError:
        return await inner


async def _nested(seconds: float, depth: int, n: int) -> int:
    """Groups in groups, each with one who never ends, are given up at once."""

    async def nest(depth: int) -> None:
        if depth % 2:
            await asyncio.gather(never(n), nest(depth - 1))
        elif depth:
            async with asyncio.TaskGroup() as group:
                group.create_task(never(n))
                group.create_task(nest(depth - 1))
        else:
            await never(n)

    try:
        async with asyncio.timeout(seconds):
            await nest(depth)
    except TimeoutError:
        return await work(n)
    return 0


async def _raced(n: int) -> int:
    """One of a group fails, and the other, who never ends, is given up for that."""

    async def fails() -> None:
        await asyncio.sleep(1.0)
        raise LookupError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(never(n))
            group.create_task(fails())
    except* LookupError:
        pass
    return await work(n)


_DO: dict[str, Any] = {
    "act": _act,
    "fail": _fail,
    "shield": _shielded,
    "nested": _nested,
    "raced": _raced,
    "write": _write,
    "saga": _saga,
    "transfer": _transfer,
    "changed": changed(work, toil),
    "for ever": _for_ever,
    **composed(do, work, never),
}


def program(chance: Random, workload: str) -> Spec:
    """A program of a workload."""
    return WORKLOADS[workload](chance)


def _any(chance: Random, depth: int = 3, more: Sequence[str] = ()) -> Spec:
    kinds = ["act", "act", "act", "fail", "sleep", "timeout", *more]
    if depth:
        kinds += ["sequence", "sequence", "gather", "group", "finally", "family"]
    match chance.choice(kinds):
        case "act":
            return _an_act(chance)
        case "fail":
            return ["fail", chance.randrange(10)]
        case "sleep":
            return ["sleep", chance.choice([0.0, 0.01, 1.0, 60.0, 3 * 86_400.0])]
        case "timeout":
            return ["timeout", chance.choice([0.1, 3.0, 3_600.0]), chance.randrange(10)]
        case "saga":
            return ["saga", [chance.randrange(10) for _ in range(chance.randint(1, 3))], chance.random() < 0.5]
        case "ask":
            return ["ask", chance.randrange(1_000)]
        case "family":
            return a_family(chance, lambda: _any(chance, depth - 1, more))
        case "finally":
            return ["finally", _any(chance, depth - 1, more), _an_act(chance)]
        case kind:
            return [kind, [_any(chance, depth - 1, more) for _ in range(chance.randint(1, 4))]]


def _nest(chance: Random, depth: int = 3) -> Spec:
    """What is shielded, given up and cancelled within each other."""
    n = chance.randrange(10)
    match chance.choice(["shield", "shield", "nested", "raced", "gather", "group"] if depth else ["act", "nested"]):
        case "shield":
            inner = _nest(chance, depth - 1)
            is_late = chance.random() < 0.5  # for certain, or certainly not
            return ["shield", 3.0, ["sequence", [["sleep", 60.0], inner]]] if is_late else ["shield", 1e9, inner]
        case "nested":
            return ["nested", chance.choice([0.1, 3.0, 3_600.0]), chance.randrange(4), n]
        case "raced":
            return ["raced", n]
        case "act":
            return _an_act(chance)
        case kind:
            return [kind, [_nest(chance, depth - 1) for _ in range(chance.randint(1, 3))]]


def _an_act(chance: Random) -> Spec:
    return ["act", chance.choice(["work", "work", "toil", "linger", "pulse"]), chance.randrange(10)]


def _a_timer(chance: Random) -> Spec:
    """Many are due at the same time; some are given up before that."""
    seconds = chance.choice([0.0, 0.001, 1.0, 1.0, 1.0, 60.0, 60.001, 86_400.0])
    return ["sleep", seconds] if chance.random() < 0.8 else ["timeout", chance.choice([0.5, 1.0, 59.0]), 1]


def _telling(chance: Random, name: str) -> Spec:
    """Steps, with what is written to a stream between them."""
    steps = [_an_act(chance) for _ in range(chance.randint(1, 5))]
    return ["sequence", [part for step in steps for part in (["write", name, chance.randint(0, 4)], step)]]


def _tale(chance: Random) -> Spec:
    """Attempts write, and so does the workflow between them."""
    parts: list[Spec] = []
    for _ in range(chance.randint(1, 4)):
        ways = ["tell", "tell", "tell", "cry", "work", "linger"]
        several = [["act", chance.choice(ways), chance.randrange(10)] for _ in range(chance.randint(1, 3))]
        parts += [[chance.choice(["gather", "sequence", "group"]), several], ["write", SHARED, chance.randint(0, 2)]]
    chance.shuffle(parts)
    return [chance.choice(["sequence", "sequence", "gather"]), parts]


def _listening(chance: Random, more: Sequence[str] = ()) -> Spec:
    """Other things are done meanwhile, and in several places it is waited for what is told."""
    parts: list[Spec] = [["listen", chance.randint(1, 3)], _any(chance, 1, more), ["listen", chance.randint(0, 2)]]
    chance.shuffle(parts)
    return [chance.choice(["sequence", "gather", "group"]), parts]


def _everything(chance: Random) -> Spec:
    spec = _listening(chance, ("saga", "saga", "ask", "ask"))
    return spec if chance.random() < 0.7 else ["chain", chance.randint(1, 3), spec]


def _far(chance: Random, spec: Spec) -> Spec:
    """The same with most steps in a queue."""
    if spec and spec[0] == "act":
        return ["act", chance.choice(["fetch", "haul", "fetch", spec[1]]), spec[2]]
    return [_far(chance, part) if isinstance(part, list) else part for part in spec]


def _changing(chance: Random, spec: Spec) -> Spec:
    """The same, with code that changes; but not where turns follow the one with a bug, and are recorded: a cleanup's, or a
    group's that waits for its other tasks."""
    if spec and spec[0] in ("finally", "group"):
        return spec
    if spec and spec[0] == "act" and chance.random() < 0.7:
        return ["changed", spec[2]]
    return [_changing(chance, part) if isinstance(part, list) else part for part in spec]


def _of_any_kind(chance: Random) -> Spec:
    kinds = [name for name in WORKLOADS if not name.startswith(("cancel", "operators", "tales"))]
    return WORKLOADS[chance.choice(kinds)](chance)


WORKLOADS: dict[str, Any] = {
    "sequence": lambda chance: ["sequence", [_an_act(chance) for _ in range(chance.randint(1, 6))]],
    "fan-out": lambda chance: ["group", [["act", "work", n] for n in range(chance.randint(3, 20))]],
    "retries": lambda chance: ["sequence", [["act", "toil", 1], ["fail", 2], ["act", "linger", 3]]],
    "timers": lambda chance: ["gather", [["sleep", chance.choice([0.5, 90.0, 1e6])] for _ in range(8)]],
    "timer storm": lambda chance: ["gather", [_a_timer(chance) for _ in range(chance.randint(10, 40))]],
    "timeout": lambda chance: ["sequence", [["timeout", 10.0, n] for n in range(3)]],
    "cancel": lambda chance: ["for ever", _any(chance, 1)],
    "cancel what fails": lambda chance: ["fails first", chance.choice([0.5, 1.0, 10.0])],
    "streams": lambda chance: ["gather", [_telling(chance, name) for name in "ab"]],
    "tales": _tale,
    "families": lambda chance: ["gather", [a_family(chance, lambda: _any(chance, 1)) for _ in range(3)]],
    "sagas": lambda chance: _any(chance, 2, ("saga", "saga", "saga")),
    "transfers": lambda chance: transfers(chance, 5.0),
    "orders": lambda chance: ["group", [transfers(chance, 86_400.0) if n else _an_act(chance) for n in range(2)]],
    "cancel transfers": lambda chance: ["for ever", transfers(chance, 86_400.0)],
    "signals": _listening,
    "chat": lambda chance: ["chat", chance.randint(2, 6)],
    "signals to chains": lambda chance: ["chain", chance.randint(1, 4), _listening(chance)],
    "updates": lambda chance: ["desk", chance.randint(1, 6)],
    "people": lambda chance: _any(chance, 2, ("ask", "ask", "ask")),
    "everything": _everything,
    "cancel everything": lambda chance: ["for ever", _any(chance, 2, ("saga", "ask"))],
    "cancel tales": lambda chance: ["for ever", _tale(chance)],
    "cancel families": lambda chance: ["for ever", a_family(chance, lambda: _any(chance, 1))],
    "queues": lambda chance: _far(
        chance, WORKLOADS[chance.choice(["fan-out", "sequence", "random", "random"])](chance)
    ),
    "nests": _nest,
    "cancel nests": lambda chance: ["for ever", _nest(chance)],
    "cancel queues": lambda chance: ["for ever", _far(chance, _any(chance, 1))],
    "deploys": lambda chance: _changing(chance, WORKLOADS[chance.choice(["sequence", "random", "everything"])](chance)),
    "operators": _of_any_kind,
    "random": _any,
}
"""Ways to make a program, by name."""
