"""What is killed: small programs that together use everything a run can do.

Every activity, and every side effect, first notes in the ledger that it is about to act. `drive` may be called any
number of times, by any number of processes, one after the other: it starts what is not started, and waits for the end.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure import (
    ActivityFailed,
    ActivityTimedOut,
    ChildFailed,
    Client,
    Engine,
    OutcomeUnknown,
    PayloadCodec,
    Retry,
    RunBlocked,
    RunCancelled,
    RunClosed,
    RunFailed,
    RunNotFound,
    RunTerminated,
    RunTimedOut,
    TokenRefused,
    WaitedTooLong,
    activity,
    channel,
    continue_as_new,
    external,
    patched,
    publish,
    saga,
    start_child,
    stream,
    task,
    wait_until,
    workflow,
)
from perdure.errors import ChildCancelled, TaskClosed, UpdateFailed, UpdateRejected
from perdure.handlers import Message
from perdure.runtime.world import World

ID = "the-run"
LARGE = 200_000
MANY = 3
LEDGER = "PERDURE_TEST_LEDGER"


class Ledger:
    """Outside of every database: what really happened. In memory, or in a file that survives the process. `lines` are
    those of earlier processes, too."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._file: int | None = None

    def open(self, path: str | None) -> None:
        self.lines = [] if path is None else Path(path).read_text().splitlines()
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.environ[LEDGER] = path or ""  # for activities in processes of their own

    def note(self, key: str) -> None:
        self.lines.append(key)
        if self._file is not None:
            os.write(self._file, f"{key}\n".encode())
            os.fsync(self._file)


ledger = Ledger()
if os.environ.get(LEDGER):
    ledger.open(os.environ[LEDGER])


def act() -> None:
    ledger.note(activity.info().idempotency_key)


@activity
async def fetch(what: str) -> str:
    act()
    return f"<{what}>"


@activity
def store(what: str) -> str:
    act()
    return what.upper()


@activity(retry=Retry(initial=0.001, maximum=0.002, max_attempts=50))
async def shaky(what: str) -> str:
    act()
    if activity.info().attempt < 3:
        raise ConnectionError("not yet")
    return what


@activity(retry=Retry(initial=0.001, max_attempts=9))
def refuse(what: str) -> str:
    act()
    raise activity.NonRetryable(f"no {what} today")


@activity
async def forever() -> None:
    """Not in the ledger: it may be cancelled before it begins."""
    await asyncio.Event().wait()


@activity
async def swell(size: int) -> str:
    act()
    return "x" * size


@activity
def measure(text: str) -> int:
    act()
    return len(text)


@activity(runs_in="process", retry=Retry(initial=0.001, max_attempts=50))
def carve(what: str) -> str:
    act()
    if activity.info().attempt == 1:
        os._exit(1)
    return f"[{what}]"


@workflow
async def apart(what: str) -> str:
    return await fetch(await carve(await fetch(what)))


@workflow
async def sequence(what: str) -> str:
    first = await fetch(what)
    second = await store(first)
    return await fetch(second)


@workflow
async def fan_out(count: int) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(chain(str(n))) for n in range(count)]
    return [task.result() for task in tasks]


async def chain(what: str) -> str:
    return await fetch(await store(what))


@workflow
async def failures() -> list[str]:
    got = await shaky("bread")
    try:
        await refuse("milk")
    except ActivityFailed as error:
        return [got, error.message]
    return [got]


@workflow
async def durable_timer() -> str:
    before = await fetch("before")
    await asyncio.sleep(0.02)
    return before + await fetch("after")


@workflow
async def cancelled() -> str:
    try:
        await forever()
    finally:
        await fetch("broom")
        await store("floor")
    return "never"


@workflow
async def timed_out() -> str:
    try:
        async with asyncio.timeout(0.03):
            await forever()
    except TimeoutError:
        return await store("rolled back")
    return "never"


@workflow
async def chance() -> str:
    coin = workflow.side_effect(toss, f"{workflow.info().run_id}:coin")
    got = await fetch(coin)
    if patched("twice"):
        got = await fetch(got)
    return got + workflow.side_effect(toss, f"{workflow.info().run_id}:again")


def toss(key: str) -> str:
    ledger.note(key)
    return key


@workflow
async def large(size: int) -> int:
    text = await swell(size)
    return await measure(text) + len(await store(text))


@workflow
class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []

    @workflow.run
    async def fill(self, wanted: list[str]) -> list[str]:
        for item in wanted:
            self.items.append(await fetch(item))
        return self.items


@workflow
async def young(what: str) -> str:
    return await store(await fetch(what))


@workflow(retry=Retry(initial=0.001, max_attempts=3))
async def naughty(what: str) -> str:
    try:
        return await refuse(what)
    except ActivityFailed as error:
        raise ValueError(error.message) from None


@workflow
async def middle(what: str) -> str:
    return await young(what).with_options(id=f"{what}-young")


@workflow
async def waits_or_cleans() -> str:
    try:
        await asyncio.sleep(1_000)
    finally:
        await fetch("broom")
    return "never"


@workflow
async def parents(size: int) -> list[Any]:
    """Children at once, one after the other, with large values, that fail, and that have children."""
    got: list[Any] = await asyncio.gather(*[young(name).with_options(id=name) for name in ("ann", "bob")])
    try:
        await naughty("tim").with_options(id="tim")
    except ChildFailed as error:
        got.append(error.message)
    started = await start_child(young("x" * size).with_options(id="large"))
    got.append(await middle("eve").with_options(id="eve"))
    return [*got, len(await started)]


words = channel("words", str)

FAMILY = ["ann", "bob", "tim", "eve", "eve-young", "large"]
POLICIES = ("terminate", "cancel", "abandon")


@workflow
async def left_alone() -> str:
    """Outlives its parent: it is spoken to only when that has ended."""
    return await store(await words.receive())


@workflow
async def leaves_children() -> str:
    for policy in POLICIES:
        child = waits_or_cleans() if policy != "abandon" else left_alone()
        await start_child(child.with_options(id=policy, parent_close=policy))
    return await fetch("end")


@workflow
async def gives_up_a_child() -> str:
    try:
        async with asyncio.timeout(0.03):
            await waits_or_cleans().with_options(id="late")
    except TimeoutError:
        return await store("gave up")
    return "never"


@workflow
async def meddles() -> list[str]:
    """Speaks to other runs: one that is there, and one that is not. What it hears of them it hears in one order."""
    other = await start_child(waits_or_cleans().with_options(id="other", parent_close="abandon"))
    await external("other").cancel("meddled with")
    try:
        return [await other]
    except ChildCancelled as error:
        said = [str(error)]
    try:
        await external("nobody").cancel("meddled with")
    except RunNotFound as error:
        said.append(str(error))
    return said


@workflow
async def goes_on(n: int, ballast: str) -> str:
    """Four runs, with a child in each; one that is left over from the run before has another name."""
    got = await young(f"{n}").with_options(id=f"of-{n}")
    await start_child(waits_or_cleans().with_options(id=f"left-{n}"))
    workflow.set_attributes({"n": n})
    workflow.set_memo({"n": n})
    if n < 3:
        continue_as_new(n + 1, ballast)
    return got + str(len(ballast))


@workflow
async def hands_on(left: int, got: list[str]) -> list[str]:
    """Receives one signal a run; the others go on with it."""
    if left == 4:
        await start_child(tells_all().with_options(id="teller", parent_close="abandon"))
    got = [*got, await words.receive()]
    await fetch(got[-1])
    if left > 1:
        continue_as_new(left - 1, got)
    return got


@workflow
async def tells_all() -> None:
    for text in ("one", "x" * LARGE, "three", "four"):
        await external(ID).signal(words, text)


LINE = [f"{kind}-{n}" for n in range(4) for kind in ("of", "left")]


mended: list[bool] = []
"""Not empty: the code has no bug now. What tells builds apart in earnest is a retry here."""


@activity(retry=5)
async def clumsy(what: str) -> str:
    if not mended:
        raise NameError("a bug in the activity")
    act()
    return what


@workflow
async def held() -> str:
    return await fetch(await clumsy("vase"))


@workflow
async def blocked() -> str:
    first = await fetch("before")
    if not mended:
        raise NameError("a bug in the workflow")
    return first + await fetch("after")


@workflow
async def undone(parallel: bool = False) -> str:
    try:
        async with saga(parallel=parallel) as undo:
            for what in ("flight", "hotel"):
                undo(store, what)
                await fetch(what)
            undo(twice, "car")
            await refuse("car")
    except ActivityFailed as error:
        return await fetch(error.message)
    return "never"


async def twice(what: str) -> None:
    await fetch(await store(what))


@workflow
async def undone_when_cancelled() -> str:
    async with saga() as undo:
        undo(fetch, "broom")
        undo(store, "floor")
        await forever()
    return "never"


@workflow
async def undone_in_time() -> str:
    try:
        async with asyncio.timeout(0.03), saga() as undo:
            undo(store, "rolled back")
            await forever()
    except TimeoutError:
        return await fetch("later")
    return "never"


@workflow
async def undone_in_tasks() -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(leg(n))


async def leg(n: int) -> None:
    async with saga() as undo:
        undo(store, f"leg {n}")
        await (refuse(f"leg {n}") if n == 1 else forever())


@activity(retry=Retry(initial=0.001, max_attempts=2))
async def stubborn(what: str) -> str:
    if not mended:
        raise ConnectionError("a bug in the bank")
    act()
    return what


@workflow
async def held_while_undone() -> str:
    try:
        async with saga() as undo:
            undo(store, "first")
            undo(stubborn, "second")
            undo(fetch, "third")
            await refuse("fourth")
    except ActivityFailed as error:
        return error.message
    return "never"


@workflow(retry=Retry(initial=0.001, max_attempts=9))
async def third_time(what: str) -> str:
    got = await fetch(what)
    if workflow.info().attempt < 3:
        raise ValueError(f"attempt {workflow.info().attempt}")
    return await store(got)


@workflow(run_timeout=0.05, retry=Retry(initial=0.001, max_attempts=2))
async def too_slow() -> str:
    await asyncio.sleep(3600)
    return "never"


@workflow
async def noted(what: str) -> str:
    workflow.set_attributes({"stage": "first"})
    got = await fetch(what)
    workflow.set_attributes({"stage": "last", "tags": [what, got]})
    workflow.set_memo({"got": got})
    return await store(got)


@workflow(retry=Retry(initial=0.001, max_attempts=4))
async def noted_again(what: str) -> str:
    """The first attempt fails in the turn in which it begins, the second later."""
    attempt = workflow.info().attempt
    workflow.set_attributes({"attempt": attempt, "region": None if attempt == 2 else "us"})
    workflow.set_memo({"attempt": attempt})
    if attempt == 1:
        raise ValueError("at once")
    got = await fetch(what[:5])
    if attempt == 2:
        raise ValueError("later")
    return await store(got)


class Backwards:
    """A codec."""

    name = "backwards"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


GPU = "gpu"
QUICK = Retry(initial=0.001, maximum=0.001)


@activity(queue=GPU, retry=QUICK)
async def fetch_far(what: str) -> str:
    act()
    return f"<{what}>"


@activity(queue=GPU, retry=QUICK)
def store_far(what: str) -> str:
    act()
    return what.upper()


@workflow
async def far(count: int) -> list[str]:
    async def chain(what: str) -> str:
        return await fetch_far(await store_far(await fetch(what)))

    return list(await asyncio.gather(*[chain(str(n)) for n in range(count)]))


BEATS = 2


@activity(retry=QUICK)
async def climb() -> str:
    """One step higher in each attempt; how high it stood is in the ledger."""
    act()
    height = activity.info().heartbeat_details or 0
    ledger.note(f"{activity.info().idempotency_key}#{height}")
    if height < BEATS:
        activity.heartbeat(height + 1)
        raise ConnectionError(f"at {height + 1}")
    return "at the top"


@workflow
async def climbers() -> list[str]:
    near, distant = climb(), climb().with_options(queue=GPU)
    return [await near, await distant]


@workflow
async def limited() -> list[str]:
    """What nobody takes, and what does not end."""
    found: list[str] = []
    for call in (
        fetch("never").with_options(queue="nobody's", schedule_to_start=0.03),
        forever().with_options(schedule_to_close=0.03),
        forever().with_options(queue=GPU, schedule_to_close=0.05),
    ):
        try:
            await call
        except ActivityTimedOut as late:
            found.append(late.kind)
    return [*found, await fetch("later")]


@activity(retry=QUICK)
async def ask() -> str:
    """Somebody else will answer: whoever finds the token in the ledger."""
    act()
    ledger.note(f"token {activity.token()}")
    activity.complete_later()


@workflow
async def asked() -> str:
    near = await ask()
    return near + await ask().with_options(queue=GPU)


@activity(at_most_once=True)
async def dangerous(what: str) -> str:
    act()
    return what


@workflow
async def at_most_once() -> str:
    try:
        got = await dangerous("near") + await dangerous("far").with_options(queue=GPU)
    except OutcomeUnknown:
        return await fetch("somebody has to look")
    return await fetch(got)


@activity
async def told(kind: str) -> None:
    act()


@workflow
async def people() -> str:
    """One task that is overdue before somebody takes it, and one that nobody does."""
    asked = task("first", form=str, assignees=["ann"], due=0.01, notify=lambda notice: told(notice.kind))
    answer = await asked.with_actor()
    try:
        await task("second", timeout=0.02, data={"after": answer.value[:5]})
    except TimeoutError:
        return await fetch(answer.by)
    return "never"


@workflow(versioning="pinned")
async def pinned(what: str) -> str:
    await asyncio.sleep(0.3)
    return await store(await fetch(what))


ALL = [people, told]
ALL += [sequence, apart, fan_out, failures, durable_timer, cancelled, timed_out, chance, large, Basket, held, blocked]
ALL += [third_time, too_slow, noted, noted_again, pinned]
ALL += [
    young,
    naughty,
    middle,
    waits_or_cleans,
    parents,
    left_alone,
    leaves_children,
    gives_up_a_child,
    meddles,
    goes_on,
    hands_on,
    tells_all,
]
ALL += [undone, undone_when_cancelled, undone_in_time, undone_in_tasks, held_while_undone]
ALL += [far, climbers, limited, asked, at_most_once, fetch_far, store_far, climb, ask, dangerous]
ALL += [fetch, store, shaky, refuse, forever, swell, measure, clumsy, stubborn, carve]


WORDS = ["once", "upon", "a", "time", "there", "was"]


@activity(retry=Retry(initial=0.001, maximum=0.002, max_attempts=50))
async def recite(name: str) -> str:
    act()
    words = stream(name)
    for word in WORDS:
        await words.write(word)
        if activity.info().attempt == 1 and word == "upon":
            await asyncio.sleep(0.06)  # what it has written is stored by then
            raise ConnectionError("not yet")
    return activity.info().step


@activity(queue=GPU, retry=Retry(initial=0.001, maximum=0.002, max_attempts=50))
def recite_far(name: str) -> str:
    act()
    for word in WORDS:
        stream(name).write(word)
    return activity.info().step


@workflow
async def tale() -> str:
    log = stream("log")
    for n in range(3):
        log.write(n)
    first = await recite("words")
    log.write("half")
    stream("log2").write({"half": True})
    second = await recite_far("words")
    await asyncio.sleep(0.01)
    log.write("end")
    log.close()
    await fetch("moral")
    return f"{first} {second}"


ALL += [tale, recite, recite_far]


@workflow
class Desk:
    """Messages whose handlers take steps."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.is_open = True

    @workflow.run
    async def run(self, what: str) -> list[str]:
        await fetch(what)
        await wait_until(lambda: not self.is_open)
        await wait_until(workflow.all_handlers_finished)
        return sorted(self.items)

    @workflow.signal
    async def note(self, text: str) -> None:
        self.items.append(await store(text))

    @workflow.update
    async def add(self, item: str) -> int:
        if item == "i1":
            raise ValueError(f"no {item} today")
        self.items.append(await fetch(item))
        return len(item)

    @add.validator
    def check(self, item: str) -> None:
        if not item:
            raise ValueError("nothing")

    @workflow.signal
    def close(self) -> None:
        self.is_open = False

    @workflow.query
    def count(self) -> int:
        return len(self.items)


orders = channel("orders", str)


@workflow
async def counter(wanted: int) -> int:
    done = 0
    async for what in orders:
        await fetch(what)
        done += 1
        publish("done", done)
        if done == wanted:
            break
    return done


@workflow
class Hasty:
    """Ends without having waited."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        return self.heard

    @workflow.signal
    def tell(self, text: str) -> None:
        self.heard.append(text)


ALL += [Desk, counter, Hasty]


def talk(engine: Engine) -> None:
    desk = engine.start(Desk.run("bread"), id=ID).wait()
    for n in range(3):
        desk.as_request(f"s{n}").signal(Desk.note, f"n{n}").wait()
        with contextlib.suppress(UpdateFailed):
            assert desk.as_request(f"u{n}").update(Desk.add, f"i{n}").wait() == 2
        with contextlib.suppress(UpdateRejected, RunClosed):
            desk.update(Desk.add, "").wait()
    desk.as_request("end").signal(Desk.close).wait()
    assert desk.result().wait() == ["<i0>", "<i2>", "N0", "N1", "N2"]
    assert desk.query(Desk.count).wait() == 5


def talk_by_mail(client: Client) -> None:
    desk = client.start("Desk", ["x" * LARGE], id=ID, signal=Message("note", ["n0"])).wait()
    for n in range(1, 4):
        desk.as_request(f"s{n}").signal("note", f"n{n}").wait()
    desk.as_request("end").signal("close").wait()


def speak_first(client: Client) -> None:
    hasty = client.start("Hasty", id=ID, signal=Message("tell", ["a"])).wait()
    for text in ("b", "x" * LARGE):
        hasty.as_request(text[:9]).signal("tell", text).wait()


def hear_first(engine: Engine) -> None:
    assert engine.handle(ID).result().wait() == ["a", "b", "x" * LARGE]
    spoken = engine.start(Hasty.run(), id="told", signal=Hasty.tell.message("c"), request_id="r").wait()
    assert spoken.result().wait() == ["c"]


def order_by_channel(engine: Engine) -> None:
    run = engine.start(counter(4), id=ID, signal=orders.message("o0"), request_id="first").wait()
    for n in range(1, 4):
        run.as_request(f"o{n}").signal(orders, f"o{n}").wait()
    assert run.result().wait() == 4
    assert run.published().wait() == {"done": 4}


def run_it(call: Callable[[], Any]) -> Callable[[Engine], None]:
    return lambda engine: engine.run(call(), id=ID).wait()


def run_to_failure(call: Callable[[], Any]) -> Callable[[Engine], None]:
    def drive(engine: Engine) -> None:
        with contextlib.suppress(RunFailed):
            engine.run(call(), id=ID).wait()

    return drive


def run_and_cancel(call: Callable[[], Any]) -> Callable[[Engine], None]:
    def drive(engine: Engine) -> None:
        handle = engine.start(call(), id=ID).wait()
        with contextlib.suppress(RunClosed):
            handle.cancel("enough").wait()
        with contextlib.suppress(RunCancelled):
            handle.result().wait()

    return drive


def run_and_mend(call: Callable[[], Any]) -> Callable[[Engine], None]:
    """The bug is mended only when it has been seen, in each life anew."""

    def drive(engine: Engine) -> None:
        mended.clear()
        while True:
            try:
                return engine.run(call(), id=ID).wait()
            except RunBlocked as stopped:
                if "a bug in the" not in str(stopped):
                    raise
                mended.append(True)
                engine.handle(ID).retry().wait()

    return drive


def run_many(engine: Engine) -> None:
    handles = [engine.start(sequence(f"s{n}"), id=f"many-{n}").wait() for n in range(MANY)]
    for handle in handles:
        handle.result().wait()


def run_a_crowd(engine: Engine) -> None:
    handles = [engine.start(name, args, id=f"crowd-{name}").wait() for name, args in CROWD.items()]
    for handle in handles:
        handle.result().wait()


def run_again(engine: Engine) -> None:
    """One after the other: a run, its follower, and one that ends the open run of its id. A request is made once."""
    for n in range(2):
        engine.run(sequence(f"s{n}"), id=ID, request_id=f"r{n}", id_reuse="allow_duplicate").wait()
    engine.start(cancelled(), id="other", request_id="r0").wait()
    engine.run(sequence("s2"), id="other", request_id="r1", id_conflict="terminate_existing").wait()


def run_noted(engine: Engine) -> None:
    engine.run(noted("bread"), id=ID, attributes={"region": "eu"}, memo={"for": "Ada"}).wait()
    assert [row.id for row in engine.list(attributes={"stage": "last", "tags": "<bread>"}).wait()] == [ID]


def run_noted_again(engine: Engine) -> None:
    notes: dict[str, Any] = {"attributes": {"region": "eu", "for": "Ada"}, "memo": {"for": "Ada"}}
    engine.run(noted_again("bread" * (LARGE // 5)), id=ID, **notes).wait()
    demand_notes_of_each_attempt(engine)


def submit_noted(client: Client) -> None:
    notes: dict[str, Any] = {"attributes": {"region": "eu", "for": "Ada"}, "memo": {"for": "Ada"}}
    client.start("noted_again", ["bread" * (LARGE // 5)], id=ID, **notes).wait()


def wait_for_noted(engine: Engine) -> None:
    engine.handle(ID).result().wait()
    demand_notes_of_each_attempt(engine)


def demand_notes_of_each_attempt(engine: Engine) -> None:
    runs = [engine.handle(ID, run_id=row.run_id).describe().wait() for row in engine.list().wait()]
    assert [(run.attributes, run.memo) for run in runs] == [
        ({"for": "Ada", "attempt": 3, "region": "us"}, {"for": "Ada", "attempt": 3}),
        ({"for": "Ada", "attempt": 2}, {"for": "Ada", "attempt": 2}),
        ({"for": "Ada", "attempt": 1, "region": "us"}, {"for": "Ada", "attempt": 1}),
    ]
    assert [engine.count(attributes={"region": region, "for": "Ada"}).wait() for region in ("eu", "us")] == [0, 2]


def run_out_of_time(engine: Engine) -> None:
    with contextlib.suppress(RunTimedOut):
        engine.run(too_slow(), id=ID).wait()


def run_later(engine: Engine) -> None:
    engine.run(sequence("a"), id=ID, start_delay=0.03).wait()


def submit_for_later(client: Client) -> None:
    client.start("sequence", ["x" * LARGE], id=ID, start_delay=0.03).wait()


def run_and_answer(call: Callable[[], Any]) -> Callable[[Engine], None]:
    """Bring an answer with every token there is, again and again: one that is used up is refused."""

    def drive(engine: Engine) -> None:
        handle = engine.start(call(), id=ID).wait()
        while handle.describe().wait().status not in ("completed", "failed", "blocked"):
            for line in list(ledger.lines):
                if line.startswith("token "):
                    with contextlib.suppress(TokenRefused):
                        engine.attempt(line.removeprefix("token ")).complete("answered").wait()
            time.sleep(0.002)
        handle.result().wait()

    return drive


def until_ended(engine: Engine, id: str) -> Any:
    """The result of a run. One that waits for a child which the store's refusal has blocked is not told of that: such
    children are released."""
    while True:
        try:
            return engine.handle(id).result(timeout=0.1).wait()
        except WaitedTooLong:
            for row in engine.list(status="blocked").wait():
                if "the database refuses" in row.note:
                    with contextlib.suppress(RunClosed):
                        engine.handle(row.id, run_id=row.run_id).retry().wait()


def run_with(call: Callable[[], Any], ids: Sequence[str]) -> Callable[[Engine], None]:
    """Until the run has ended, and others that it has started."""

    def drive(engine: Engine) -> None:
        engine.start(call(), id=ID, memo={"for": "Ada"}).wait()
        until_ended(engine, ID)
        for id in ids:
            with contextlib.suppress(RunCancelled, RunTerminated, RunFailed):
                until_ended(engine, id)

    return drive


def run_and_leave(engine: Engine) -> None:
    """The child that goes on alone hears of it when its parent has ended."""
    engine.start(leaves_children(), id=ID).wait()
    until_ended(engine, ID)
    with contextlib.suppress(RunClosed):
        engine.handle("abandon").as_request("once").signal(words, "alone").wait()
    for id in POLICIES:
        with contextlib.suppress(RunCancelled, RunTerminated):
            until_ended(engine, id)


def run_and_hand_on(engine: Engine) -> None:
    """Which run hears what is a matter of time, but each hears the next, and all of it is heard once."""
    engine.start(hands_on(4, []), id=ID).wait()
    assert until_ended(engine, ID) == ["one", "x" * LARGE, "three", "four"]
    until_ended(engine, "teller")


def run_and_do(engine: Engine) -> None:
    """Claim and complete the first task when people have been told twice of it; each request is made again in each life."""
    handle = engine.start(people(), id=ID).wait()
    while True:
        told = handle.describe().wait()
        steps = told.steps
        if told.status == "blocked":
            handle.result().wait()  # says why, as an error
        if sum(step.name == "told" and step.state == "completed" for step in steps) == 2:
            break
        if any(step.name == "first" and step.ended_at is not None for step in steps):
            break
        time.sleep(0.002)
    with contextlib.suppress(TaskClosed):
        engine.tasks.claim(f"{ID}/0:1", by="ann").wait()
    engine.tasks.complete(f"{ID}/0:1", "x" * LARGE, by="ann", request_id="once").wait()
    handle.result().wait()
    assert engine.tasks.list().wait() == []


def wait_for_it(engine: Engine) -> None:
    engine.handle(ID).result().wait()


class StandsStill(World):
    """Its clock does not move: a timer that is set in it waits for another engine, however slow this one is."""

    def __init__(self) -> None:
        self._now = time.time_ns()

    def now(self) -> int:
        return self._now


def begin_elsewhere(client: Client) -> None:
    """A run that is pinned to another build, and asleep."""
    with Engine(client.store, ALL, build="yesterday", world=StandsStill()) as engine:
        engine.start(pinned("bread"), id=ID).wait()


def move_it(engine: Engine) -> None:
    handle = engine.handle(ID)
    with contextlib.suppress(RunClosed):
        handle.move().wait()
    handle.result().wait()


def submit(client: Client) -> None:
    """Queue the run in the database before there is an engine."""
    client.start("sequence", ["by mail"], id=ID).wait()


@dataclass(frozen=True)
class Scenario:
    """`ids` are the runs it makes; `prepare` is done before the first engine is there; `slots`, `codec` and `queues` are an
    engine's."""

    drive: Callable[[Engine], None]
    ids: Sequence[str] = (ID,)
    prepare: Callable[[Client], None] | None = None
    in_order: bool = True
    slots: int = 100
    codec: PayloadCodec | None = None
    queues: Sequence[str] = ()


SCENARIOS = {
    "sequence": Scenario(run_it(lambda: sequence("a"))),
    "fan-out": Scenario(run_it(lambda: fan_out(6)), in_order=False),
    "failures": Scenario(run_it(failures)),
    "timer": Scenario(run_it(durable_timer)),
    "cancelled": Scenario(run_and_cancel(cancelled)),
    "timed out": Scenario(run_it(timed_out)),
    "chance": Scenario(run_it(chance)),
    "held": Scenario(run_and_mend(held)),
    "blocked": Scenario(run_and_mend(blocked)),
    "large": Scenario(run_it(lambda: large(LARGE))),
    "class": Scenario(run_it(lambda: Basket.fill(["egg", "ham", "pea"]))),
    "by mail": Scenario(wait_for_it, prepare=submit),
    "one slot": Scenario(run_it(lambda: fan_out(3)), in_order=False, slots=1),
    "later": Scenario(run_later),
    "later, by mail": Scenario(wait_for_it, prepare=submit_for_later),
    "noted": Scenario(run_noted),
    "noted again": Scenario(run_noted_again),
    "noted again, with a codec": Scenario(run_noted_again, codec=Backwards()),
    "noted by mail, with a codec": Scenario(wait_for_noted, prepare=submit_noted, codec=Backwards()),
    "talked to": Scenario(talk, in_order=False),
    "talked to, with a codec": Scenario(talk, in_order=False, codec=Backwards()),
    "talked to by mail": Scenario(wait_for_it, prepare=talk_by_mail, in_order=False),
    "told before it begins": Scenario(hear_first, ids=[ID, "told"], prepare=speak_first),
    "channel": Scenario(order_by_channel, in_order=False),
    "tried again": Scenario(run_it(lambda: third_time("bread"))),
    "out of time": Scenario(run_out_of_time),
    "ids again": Scenario(run_again, ids=[ID, "other"]),
    "saga": Scenario(run_it(undone)),
    "parallel saga": Scenario(run_it(lambda: undone(True)), in_order=False),
    "cancelled saga": Scenario(run_and_cancel(undone_when_cancelled)),
    "timed out saga": Scenario(run_it(undone_in_time)),
    "held saga": Scenario(run_and_mend(held_while_undone)),
    "sagas in tasks": Scenario(run_to_failure(undone_in_tasks), in_order=False),
    "queue": Scenario(run_it(lambda: far(3)), in_order=False, queues=[GPU]),
    "heartbeats": Scenario(run_it(climbers), queues=[GPU]),
    "limits": Scenario(run_it(limited), queues=[GPU]),
    "people": Scenario(run_and_do, in_order=False),
    "people, with a codec": Scenario(run_and_do, in_order=False, codec=Backwards()),
    "tokens": Scenario(run_and_answer(asked), queues=[GPU]),
    "streams": Scenario(run_it(tale), queues=[GPU]),
    "streams, with a codec": Scenario(run_it(tale), queues=[GPU], codec=Backwards()),
    "children": Scenario(run_with(lambda: parents(LARGE), FAMILY), ids=[ID, *FAMILY], in_order=False),
    "children, with a codec": Scenario(
        run_with(lambda: parents(LARGE), FAMILY), ids=[ID, *FAMILY], in_order=False, codec=Backwards()
    ),
    "children that are left": Scenario(run_and_leave, ids=[ID, *POLICIES]),
    "a child that is given up": Scenario(run_with(gives_up_a_child, ["late"]), ids=[ID, "late"]),
    "as new": Scenario(run_with(lambda: goes_on(0, "x" * LARGE), LINE), ids=[ID, *LINE]),
    "as new, with a codec": Scenario(run_with(lambda: goes_on(0, "x"), LINE), ids=[ID, *LINE], codec=Backwards()),
    "pinned": Scenario(move_it, prepare=begin_elsewhere),
    "other runs": Scenario(run_with(meddles, ["other"]), ids=[ID, "other"]),
    "handed on": Scenario(run_and_hand_on, ids=["teller"]),
    "handed on, with a codec": Scenario(run_and_hand_on, ids=["teller"], codec=Backwards()),
    "many": Scenario(run_many, ids=[f"many-{n}" for n in range(MANY)]),
}

SPAWNING = {
    "in a process": Scenario(run_it(lambda: apart("oak"))),
}
"""Each life of these starts processes, which takes its time: they are killed, and spared other trials."""

CROWD: dict[str, list[Any]] = {
    "sequence": ["a"],
    "fan_out": [4],
    "failures": [],
    "durable_timer": [],
    "timed_out": [],
    "chance": [],
    "large": [LARGE],
    "far": [3],
    "climbers": [],
    "tale": [],
    "gives_up_a_child": [],
}
AT_MOST_ONCE = Scenario(run_it(at_most_once), queues=[GPU])
"""How it ends depends on where it is killed: an outcome that is unknown is one, too."""

STORM = Scenario(run_a_crowd, ids=[f"crowd-{name}" for name in CROWD], in_order=False, slots=2, queues=[GPU])
"""All at once with few slots: not for a walk through every crash point, but for weather."""
