"""What people say to runs: signals, queries and updates, sent straight to the owner and through the database."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    DefinitionError,
    Engine,
    EngineNotRunning,
    Handle,
    InvalidArguments,
    Retry,
    RunBlocked,
    RunClosed,
    RunFailed,
    activity,
    channel,
    continue_as_new,
    publish,
    saga,
    wait_until,
    workflow,
)
from perdure.errors import PayloadTooLarge, QueryFailed, UnknownMessage, UpdateFailed, UpdateRejected
from perdure.handlers import Message
from perdure.kernel.events import Payload
from perdure.kernel.messages import Signal
from perdure.stores.base import MailRow
from perdure.testing import TestEngine


@dataclass
class Decision:
    approved: bool
    by: str = "nobody"


done: list[str] = []


@activity
async def book(what: str) -> str:
    done.append(what)
    return f"<{what}>"


@activity
async def refuse(what: str) -> str:
    raise activity.NonRetryable(f"no {what}")


@workflow
class Loan:
    def __init__(self) -> None:
        self.amount = 0
        self.decision: Decision | None = None
        self.log: list[str] = []

    @workflow.run
    async def run(self, amount: int) -> str:
        self.amount = amount
        await wait_until(lambda: self.decision is not None)
        await wait_until(workflow.all_handlers_finished)
        assert self.decision is not None
        return f"{self.decision.approved} by {self.decision.by}: {self.amount} {','.join(self.log)}"

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        self.decision = decision

    @workflow.signal(name="note it")
    async def note(self, text: str) -> None:
        self.log.append(await book(text))

    @workflow.query
    def state(self, *, unit: str = "EUR") -> str:
        return f"{self.amount} {unit}"

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
    def double(self) -> int:
        self.amount *= 2
        return self.amount


@workflow
class Sum:
    """Takes no step, whatever it is told."""

    def __init__(self) -> None:
        self.total = 0

    @workflow.run
    async def run(self) -> None:
        await wait_until(lambda: self.total > 1000)

    @workflow.signal
    def add(self, n: int) -> None:
        self.total += n
        if n < 0:
            raise TypeError("a bug")

    @workflow.query
    def state(self) -> str:
        return str(self.total)

    @workflow.update
    def take(self, text: str) -> int:
        return len(text)


@workflow
class Faulty:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.waved = False

    @workflow.run
    async def run(self) -> str:
        async with saga() as undo:
            undo(book, "undone")
            await self.gate.wait()
        return "done"

    @workflow.signal
    async def fail(self, kind: str) -> None:
        await book("before")
        if kind == "bug":
            raise TypeError("a bug in a handler")
        raise ValueError("not good")

    @workflow.signal
    def open(self) -> None:
        self.gate.set()

    @workflow.query
    def meddles(self) -> str:
        self.gate.set()
        return "changed"

    @workflow.query
    def raises(self) -> str:
        raise KeyError("nothing there")

    @workflow.query
    def wrong(self) -> int:
        return "text"  # type: ignore[return-value]

    @workflow.query
    def endless(self) -> int:
        while True:
            pass

    @workflow.update
    async def declined(self, what: str) -> str:
        return await refuse(what)

    @workflow.update
    async def never(self) -> None:
        await asyncio.Event().wait()

    @workflow.update
    async def by_the_gate(self) -> str:
        await wait_until(lambda: self.waved)
        return await book("waved through")

    @workflow.signal
    def wave(self) -> None:
        self.waved = True

    @workflow.update
    async def bug(self) -> None:
        raise AttributeError("a bug in an update")


@workflow
class Anything:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await wait_until(lambda: ["stop", []] in self.heard)
        return self.heard

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, *args: Any) -> None:
        self.heard.append([name, list(args)])

    @workflow.query(dynamic=True)
    def any_query(self, name: str, *args: Any, **named: Any) -> Any:
        return [name, list(args), named]

    @workflow.update(dynamic=True)
    async def any_update(self, name: str, *args: Any) -> Any:
        return [name, await book(str(args))]


numbers = channel("numbers", int)
words = channel("words")


async def collect(count: int) -> list[int]:
    return [await numbers.receive() for _ in range(count)]


@workflow
async def adds(count: int) -> int:
    publish("sum", 0)
    total = 0
    for n in await collect(count):
        total += n
        publish("sum", total)
    publish("last", {"words": words.receive_nowait(None), "left": len(numbers)})
    return total


@workflow
async def waits_for_a_reply() -> str:
    try:
        return await words.receive(timeout="3 days")
    except TimeoutError:
        return "nobody replied"


@workflow
async def makes_its_channel() -> int:
    mine = channel("mine", int)
    return await mine.receive()


@workflow
async def breaks_with_its_channel() -> int:
    mine = channel("mine", int)
    first = await mine.receive()
    if first in faults:
        raise TypeError("a bug")
    return first + await mine.receive()


faults: list[int] = []


@workflow
async def two_listen() -> list[int]:
    return await asyncio.gather(numbers.receive(), numbers.receive(), numbers.receive())


@workflow
async def waits_for_two() -> int:
    await wait_until(lambda: len(numbers) == 2)
    return await numbers.receive() + await numbers.receive()


@workflow
async def gives_up_one() -> list[int]:
    first = asyncio.create_task(numbers.receive())
    second = asyncio.create_task(numbers.receive())
    await words.receive()
    first.cancel()
    return [await second, await numbers.receive()]


@workflow
async def deaf() -> None:
    await workflow.sleep("1 day")


DEFINITIONS = [
    Loan,
    Sum,
    Faulty,
    Anything,
    adds,
    waits_for_a_reply,
    makes_its_channel,
    breaks_with_its_channel,
    two_listen,
    gives_up_one,
    waits_for_two,
    deaf,
    book,
    refuse,
]


class Door:
    """An engine, and who speaks to it: itself, or a client that has the database alone."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.engine = engine
        self.client = client

    async def start(self, call: Any, id: str) -> Handle[Any]:
        await self.engine.start(call, id=id)
        return self.client.handle(id, call.definition)


@pytest.fixture(params=["engine", "database", "memory"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    done.clear()
    address = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"
    with Engine(address, DEFINITIONS) as engine:
        if request.param == "database":
            with Client(address) as client:
                yield Door(engine, client)
        else:
            yield Door(engine, engine)  # type: ignore[arg-type]  it has the same verbs


async def test_a_signal_is_heard_by_the_method_it_is_addressed_to(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")

    assert await loan.signal(Loan.decide, Decision(True, "ann")) is None

    assert await loan.result() == "True by ann: 100 "


async def test_a_signal_goes_by_name_too_and_its_arguments_by_name(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")

    await loan.signal("note it", text="x")
    await loan.signal("decide", decision={"approved": False})

    assert await loan.result() == "False by nobody: 100 <x>"


async def test_signals_of_one_sender_are_heard_in_their_order(door: Door) -> None:
    run = await door.start(adds(30), "a")

    for n in range(30):
        await run.signal(numbers, n)

    assert await run.result() == sum(range(30))
    received = [event["input"][0] for event in await run.history() if event["type"] == "SignalReceived"]
    assert received == list(range(30))


async def test_when_signal_returns_the_history_holds_it(door: Door) -> None:
    run = await door.start(adds(2), "a")

    await run.signal(numbers, 5)

    assert [event["type"] for event in await run.history()].count("SignalReceived") == 1


async def test_a_signal_with_a_request_id_is_taken_once(door: Door) -> None:
    run = await door.start(adds(2), "a")
    again = run.as_request("mail-17")

    await again.signal(numbers, 5)
    await again.signal(numbers, 5)
    await run.signal(numbers, 1)

    assert await run.result() == 6
    await again.signal(numbers, 5)  # of a run that has ended, too


async def test_a_query_answers_and_leaves_nothing_in_the_history(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")
    before = await loan.history()

    assert await loan.query(Loan.state) == "100 EUR"
    assert await loan.query("state", unit="CHF") == "100 CHF"

    assert await loan.history() == before


async def test_a_run_that_has_ended_answers_queries(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")
    await loan.update(Loan.double)
    await loan.signal(Loan.decide, Decision(True))
    await loan.result()

    assert await loan.query(Loan.state) == "200 EUR"


async def test_an_update_takes_steps_and_its_sender_gets_the_answer(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")

    assert await loan.update(Loan.raise_by, 20) == 120
    assert await loan.update("double") == 240

    assert done == ["raise 20"]
    assert [event["type"] for event in await loan.history() if event["type"].startswith("Update")] == [
        "UpdateAccepted",
        "UpdateCompleted",
        "UpdateAccepted",
        "UpdateCompleted",
    ]


async def test_an_update_that_its_validator_rejects_leaves_no_trace(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")
    before = await loan.history()

    with pytest.raises(
        UpdateRejected, match="update 'raise_by' is rejected by run 'a': ValueError: -1 is not more"
    ) as no:
        await loan.update(Loan.raise_by, -1)

    assert "ValueError: -1 is not more" in str(no.value.__cause__)
    assert await loan.history() == before


async def test_an_update_has_two_stages_and_both_are_durable(door: Door) -> None:
    faulty = await door.start(Faulty.run(), "a")

    never = await faulty.as_request("u-1").start_update(Faulty.never)

    assert never.id == "u-1"
    assert (await faulty.history())[-1]["type"] == "UpdateAccepted"
    await faulty.signal(Faulty.open)
    with pytest.raises(RunClosed, match="run 'a' has ended before it had answered update 'never'"):
        await never.result()


async def test_an_update_sent_again_has_the_same_answer(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")
    again = loan.as_request("u-1")

    assert await again.update(Loan.raise_by, 5) == 105
    assert await again.update(Loan.raise_by, 5) == 105
    assert await (await again.start_update(Loan.raise_by, 5)).result() == 105
    assert await loan.update_handle("u-1").result() == 105
    assert done == ["raise 5"]


async def test_an_update_sent_again_while_it_is_under_way_waits_for_its_answer(door: Door) -> None:
    faulty = await door.start(Faulty.run(), "a")
    again = faulty.as_request("u-1")
    await again.start_update(Faulty.by_the_gate)

    second = asyncio.ensure_future(again.update(Faulty.by_the_gate))
    await asyncio.sleep(0)  # it is sent before the signal
    await faulty.signal(Faulty.wave)

    assert await second == "<waved through>"
    assert done == ["waved through"]


async def test_what_an_updates_method_raises_is_its_answer(door: Door) -> None:
    faulty = await door.start(Faulty.run(), "a")

    with pytest.raises(UpdateFailed, match="update 'declined' of run 'a' failed: ActivityFailed") as failed:
        await faulty.update(Faulty.declined, "loan")

    assert "no loan" in str(failed.value.__cause__)
    await faulty.signal(Faulty.open)
    assert await faulty.result() == "done"


async def test_an_update_that_was_never_sent_is_not_there(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")

    with pytest.raises(UnknownMessage, match="run 'a' has not accepted an update 'u-9'"):
        await loan.update_handle("u-9").result()


@pytest.mark.parametrize(
    ("send", "expected"),
    [
        (lambda run: run.signal("nobody"), "workflow Loan .* hears no signal 'nobody'; it hears decide, note it"),
        (lambda run: run.signal("decid", {}), "did you mean decide"),
        (lambda run: run.query("nobody"), "hears no query 'nobody'; it hears state"),
        (lambda run: run.update("nobody"), "hears no update 'nobody'; it hears double, raise_by"),
        (lambda run: run.update("decide"), "hears no update 'decide'"),
    ],
)
async def test_a_message_nobody_hears_is_refused(door: Door, send: Any, expected: str) -> None:
    loan = await door.start(Loan.run(100), "a")
    before = await loan.history()

    with pytest.raises(UnknownMessage, match=expected):
        await send(loan)

    assert await loan.history() == before


@pytest.mark.parametrize(
    ("send", "expected"),
    [
        (lambda run: run.signal("decide", 5), "signal decide .*: argument decision: expected Decision, found 5"),
        (lambda run: run.signal("decide"), "missing: decision"),
        (lambda run: run.query("state", 1), "query state .*: argument unit: expected str, found 1"),
        (lambda run: run.update("raise_by", "x"), "update raise_by .*: argument more: expected int, found 'x'"),
        (lambda run: run.update("raise_by", 1, 2), "expected at most 1"),
    ],
)
async def test_arguments_are_checked_before_a_message_is_taken(door: Door, send: Any, expected: str) -> None:
    await door.engine.start(Loan.run(100), id="a")
    loan = door.client.handle("a")  # without the workflow: nothing is checked here
    before = await loan.history()

    with pytest.raises(InvalidArguments, match=expected):
        await send(loan)

    assert await loan.history() == before


async def test_messages_to_a_run_that_has_ended_are_refused(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")
    await loan.signal(Loan.decide, Decision(True))
    await loan.result()

    with pytest.raises(RunClosed, match="run 'a' is completed already"):
        await loan.signal(Loan.decide, Decision(True))
    with pytest.raises(RunClosed, match="run 'a' is completed already"):
        await loan.update(Loan.raise_by, 5)


async def test_a_query_that_raises_tells_its_sender_and_nobody_else(door: Door) -> None:
    faulty = await door.start(Faulty.run(), "a")

    with pytest.raises(QueryFailed, match="query 'raises' of run 'a' failed: KeyError: 'nothing there'") as failed:
        await faulty.query(Faulty.raises)
    with pytest.raises(QueryFailed, match=r"query wrong .*: the result: expected int, found 'text'"):
        await faulty.query(Faulty.wrong)

    assert "in raises" in "".join(failed.value.__cause__.__notes__)  # type: ignore[union-attr]
    await faulty.signal(Faulty.open)
    assert await faulty.result() == "done"


async def test_a_query_that_changes_something_is_refused_and_has_no_effect(door: Door) -> None:
    faulty = await door.start(Faulty.run(), "a")

    with pytest.raises(QueryFailed, match=r"query 'meddles' is at fault: .* a query and a validator only look"):
        await faulty.query(Faulty.meddles)

    assert (await faulty.describe()).status == "waiting"


async def test_a_query_that_never_ends_is_interrupted(door: Door) -> None:
    faulty = await door.start(Faulty.run(), "a")

    with pytest.raises(QueryFailed, match="query 'endless' is at fault: it did not come to its end in time"):
        await faulty.query(Faulty.endless)

    await faulty.signal(Faulty.open)
    assert await faulty.result() == "done"


async def test_a_signals_handler_that_raises_fails_the_run_and_its_sagas_are_undone(door: Door) -> None:
    faulty = await door.start(Faulty.run(), "a")

    await faulty.signal(Faulty.fail, "value")

    with pytest.raises(RunFailed, match="run 'a' failed: ValueError: not good"):
        await faulty.result()
    assert done == ["before", "undone"]


@pytest.mark.parametrize("by", ["signal", "update"])
async def test_a_bug_in_a_handler_blocks_the_run(door: Door, by: str) -> None:
    faulty = await door.start(Faulty.run(), "a")

    if by == "signal":
        await faulty.signal(Faulty.fail, "bug")
    else:
        await faulty.start_update(Faulty.bug)

    with pytest.raises(RunBlocked, match=f"in {by} .*: a bug in a"):
        await faulty.result()


async def test_a_blocked_run_refuses_updates_and_queries_and_keeps_signals(door: Door) -> None:
    faulty = await door.start(Faulty.run(), "a")
    await faulty.start_update(Faulty.bug)
    with pytest.raises(RunBlocked):
        await faulty.result()

    with pytest.raises(RunBlocked, match="run 'a' is blocked and cannot say whether it accepts an update"):
        await faulty.update(Faulty.declined, "x")
    with pytest.raises(RunBlocked, match="run 'a' is blocked and answers nothing"):
        await faulty.query(Faulty.raises)
    await faulty.signal(Faulty.open)

    assert (await faulty.history())[-1]["type"] == "UpdateAccepted"


async def test_a_dynamic_handler_hears_all_names(door: Door) -> None:
    run = await door.start(Anything.run(), "a")

    assert await run.query("how", 1) == ["how", [1], {}]
    assert await run.query("how", far=2) == ["how", [], {"far": 2}]
    assert await run.update("do", 3) == ["do", "<(3,)>"]
    await run.signal("some", 1, [2])
    await run.signal("stop")

    assert await run.result() == [["some", [1, [2]]], ["stop", []]]


async def test_a_function_workflow_receives_from_channels(door: Door) -> None:
    run = await door.start(adds(2), "a")

    with pytest.raises(InvalidArguments, match="channel numbers: argument value: expected int, found 'x'"):
        await run.signal("numbers", "x")
    with pytest.raises(UnknownMessage, match=r"workflow adds .* hears no signal 'other'; it hears numbers, words"):
        await run.signal("other", 1)
    with pytest.raises(UnknownMessage, match="a workflow that is a function hears signals only"):
        await run.update("numbers", 1)
    await run.signal(words, {"any": "thing"})
    await run.signal(numbers, 1)
    await run.signal("numbers", value=2)

    assert await run.result() == 3
    assert await run.published() == {"sum": 3, "last": {"words": {"any": "thing"}, "left": 0}}


async def test_what_is_published_is_shown_while_the_run_goes_on(door: Door) -> None:
    run = await door.start(adds(2), "a")

    assert await run.published() == {"sum": 0}
    await run.signal(numbers, 7)
    await run.signal(numbers, 8)
    await run.result()

    assert (await run.published())["sum"] == 15


async def test_a_channel_made_in_the_workflow_is_known_from_there_on(door: Door) -> None:
    run = await door.start(makes_its_channel(), "a")

    await run.signal("mine", 4)

    assert await run.result() == 4


async def test_who_came_first_receives_first(door: Door) -> None:
    run = await door.start(two_listen(), "a")

    for n in range(3):
        await run.signal(numbers, n)

    assert await run.result() == [0, 1, 2]


async def test_a_value_is_not_lost_with_a_receiver_that_was_cancelled(door: Door) -> None:
    run = await door.start(gives_up_one(), "a")

    await run.signal(words, "go")
    await run.signal(numbers, 1)
    await run.signal(numbers, 2)

    assert await run.result() == [1, 2]


async def test_a_workflow_that_hears_nothing_says_how_to_change_that(door: Door) -> None:
    run = await door.start(deaf(), "a")

    with pytest.raises(
        UnknownMessage, match=r"it hears no signal\. To add it: make a channel beside the workflow, x = channel"
    ):
        await run.signal("x")


async def test_large_arguments_and_answers_travel(door: Door) -> None:
    run = await door.start(Anything.run(), "a")
    large = "x" * 300_000

    assert (await run.query("how", large))[1] == [large]
    await run.signal("some", large)
    await run.signal("stop")

    assert (await run.result())[0] == ["some", [large]]


async def test_what_is_too_large_is_refused_where_it_is_sent(door: Door) -> None:
    run = await door.start(Anything.run(), "a")

    with pytest.raises(PayloadTooLarge, match="the arguments of signal some"):
        await run.signal("some", "x" * 20_000_000)


@pytest.mark.parametrize(
    ("send", "expected"),
    [
        (lambda run: run.signal(Loan.raise_by, 1), r"is a update; write: handle.update\(raise_by"),
        (lambda run: run.update(Loan.decide, 1), r"is a signal; write: handle.signal\(decide"),
        (lambda run: run.signal(Anything.any_signal, "x"), "hears all names: say which one, as a text"),
        (lambda run: run.signal(lambda: 1), "a method marked @workflow.signal was expected, a channel or a name"),
        (lambda run: run.signal(""), "a signal has a name of 1 to 200 printable characters"),
        (
            lambda run: run.signal(Loan.decide.message(Decision(True)), 1),
            "has its arguments; leave out those beside it",
        ),
        (lambda run: run.as_request(""), "a request_id is a text of 1 to 200 printable characters"),
    ],
)
def test_what_is_no_message_is_refused_at_once(send: Any, expected: str) -> None:
    with Engine("memory://", DEFINITIONS) as engine, pytest.raises(DefinitionError, match=expected):
        send(engine.handle("a"))


def test_time_skipping_runs_to_the_timeout_of_a_channel() -> None:
    with TestEngine(DEFINITIONS) as engine:
        assert engine.run(waits_for_a_reply()).wait() == "nobody replied"


def test_updates_and_queries_need_an_engine(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    with Engine(address, DEFINITIONS) as engine:
        engine.start(Loan.run(1), id="a").wait()
    with Client(address) as client:
        loan = client.handle("a", Loan.run)

        with pytest.raises(EngineNotRunning, match=r"no engine owns .* start one, with the workflow 'Loan'"):
            loan.query(Loan.state).wait()
        with pytest.raises(EngineNotRunning, match="no engine owns"):
            loan.update(Loan.double).wait()
        loan.signal(Loan.decide, Decision(True, "by mail")).wait()

    with Engine(address, DEFINITIONS) as engine:
        assert engine.handle("a", Loan.run).result().wait() == "True by by mail: 1 "


def test_who_waits_for_an_update_is_told_that_the_engine_was_closed() -> None:
    async def main() -> None:
        async with Engine("memory://", DEFINITIONS) as engine:
            faulty = await engine.start(Faulty.run(), id="a")
            waiting = asyncio.ensure_future(faulty.update(Faulty.never))
            await asyncio.sleep(0.05)
        with pytest.raises(EngineNotRunning, match="the engine was closed"):
            await waiting

    asyncio.run(main())


def test_many_wait_for_their_updates_at_once() -> None:
    async def main() -> list[int]:
        async with Engine("memory://", DEFINITIONS) as engine:
            loan = await engine.start(Loan.run(0), id="a")
            return await asyncio.gather(*(loan.update(Loan.raise_by, 1) for _ in range(300)))

    assert sorted(asyncio.run(main())) == list(range(1, 301))


async def test_a_signal_with_a_start_is_heard_by_the_run_that_begins(door: Door) -> None:
    loan = await door.client.start(Loan.run(100), id="a", signal=Loan.decide.message(Decision(True, "ann")))

    assert await loan.result() == "True by ann: 100 "


async def test_a_signal_with_a_start_goes_to_the_open_run_of_the_id(door: Door) -> None:
    first = await door.client.start(adds(2), id="a", signal=numbers.message(1))
    second = await door.client.start(adds(2), id="a", signal=numbers.message(2))

    assert first.run_id == second.run_id
    assert await second.result() == 3


async def test_a_signal_with_a_start_begins_another_run_when_the_last_one_has_ended(door: Door) -> None:
    first = await door.client.start(adds(1), id="a", signal=numbers.message(1))
    await first.result()

    second = await door.client.start(adds(1), id="a", signal=numbers.message(2))

    assert first.run_id != second.run_id
    assert await second.result() == 2


async def test_an_update_with_a_start_is_answered_by_the_run_that_begins_or_is_open(door: Door) -> None:
    update = await door.client.update_with_start(Loan.run(100), Loan.raise_by.message(5), id="a", update_id="u")
    again = await door.client.update_with_start(Loan.run(900), Loan.raise_by.message(7), id="a")

    assert await update.result() == 105
    assert await again.result() == 112
    assert update.id == "u"
    assert await again.handle.query(Loan.state) == "112 EUR"


@pytest.mark.parametrize(
    ("first", "error"),
    [(Loan.decide.message, InvalidArguments), (lambda: Message("nobody"), UnknownMessage)],
)
async def test_a_start_whose_message_cannot_be_taken_begins_nothing(door: Door, first: Any, error: Any) -> None:
    with pytest.raises(error):
        await door.client.start("Loan", [100], id="a", signal=first())
    with pytest.raises(UnknownMessage):
        await door.client.update_with_start("Loan", Message("nobody"), [100], id="a")

    assert await door.client.count() == 0


async def test_an_update_that_is_rejected_leaves_the_run_that_has_begun(door: Door) -> None:
    with pytest.raises(UpdateRejected, match="ValueError: -5 is not more"):
        await door.client.update_with_start(Loan.run(100), Loan.raise_by.message(-5), id="a")

    assert await door.client.handle("a").query("state") == "100 EUR"


def test_options_that_contradict_a_message_are_refused() -> None:
    with Engine("memory://", DEFINITIONS) as engine:
        with pytest.raises(DefinitionError, match="signal and start_delay contradict each other"):
            engine.start(Loan.run(1), signal=Loan.decide.message(Decision(True)), start_delay="1h")
        with pytest.raises(DefinitionError, match="signal is a message with its arguments, not 'decide'"):
            engine.start(Loan.run(1), signal="decide")  # type: ignore[arg-type]
        with pytest.raises(DefinitionError, match="an update with its arguments was expected"):
            engine.update_with_start(Loan.run(1), "raise_by", id="a")  # type: ignore[call-overload]


async def test_a_signal_lets_a_run_begin_that_waits_for_its_time(door: Door) -> None:
    loan = await door.client.start(Loan.run(100), id="a", start_delay="1h")

    await loan.signal(Loan.decide, Decision(True, "ann"))

    assert await loan.result() == "True by ann: 100 "


posts: list[Any] = []


@activity
async def is_told_meanwhile(what: str) -> str:
    """Somebody else has said something to the run, and nobody has told its owner that there is mail."""
    engine, message = posts.pop()
    row = engine.store.views.row("a")
    engine.store.post.send(MailRow(0, row.key, message))
    return what


@workflow
async def ends_by_a_step() -> Any:
    await is_told_meanwhile("x")
    return words.receive_nowait("nothing was said")


@workflow
class EndsByAStep:
    def __init__(self) -> None:
        self.heard = "nothing was said"

    @workflow.run
    async def run(self) -> str:
        await is_told_meanwhile("x")
        return self.heard

    @workflow.signal
    def tell(self, text: str) -> None:
        self.heard = text

    @workflow.signal
    def loop_for_ever(self) -> None:
        while True:
            pass


@pytest.mark.parametrize("call", [ends_by_a_step, EndsByAStep.run])
@pytest.mark.parametrize("address", ["memory://", "sqlite"])
async def test_a_run_ends_when_it_has_heard_what_was_in_its_mailbox(call: Any, address: str, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'runs.db'}" if address == "sqlite" else address
    async with Engine(address, [ends_by_a_step, EndsByAStep, is_told_meanwhile]) as engine:
        name = "tell" if call is EndsByAStep.run else "words"
        posts.append((engine, Signal(name, Payload(b'["just in time"]'))))

        assert await engine.run(call(), id="a") == "just in time"


async def test_a_handler_that_never_comes_back_is_interrupted_and_blocks_its_run_alone() -> None:
    async with Engine("memory://", [*DEFINITIONS, EndsByAStep, is_told_meanwhile], stuck_after="200ms") as engine:
        posts.append((engine, Signal("loop_for_ever", Payload(b"[]"))))
        with pytest.raises(RunBlocked, match="the workflow did not come to an await in time and was interrupted at"):
            await engine.run(EndsByAStep.run(), id="a")

        other = await engine.start(adds(1), id="b")
        await other.signal(numbers, 3)
        assert await other.result() == 3


async def test_an_id_stands_for_one_update(door: Door) -> None:
    loan = await door.start(Loan.run(100), "a")
    request = loan.as_request("r")
    await request.update(Loan.raise_by, 5)

    with pytest.raises(InvalidArguments, match="knows 'r' as the id of an update 'raise_by'"):
        await request.update(Loan.double)


async def test_an_update_with_a_start_that_is_made_again_has_the_same_answer(door: Door) -> None:
    answers = [
        await (
            await door.client.update_with_start(Loan.run(100), Loan.raise_by.message(5), id="a", request_id="r")
        ).result()
        for _ in range(2)
    ]

    assert answers[0] == answers[1]
    assert [event["type"] for event in await door.client.handle("a").history()].count("UpdateAccepted") == 1


@pytest.mark.parametrize("option", [{"start_delay": "1 hour"}, {"signal": Loan.decide.message(Decision(True))}])
async def test_an_update_with_a_start_is_the_one_message_of_it(door: Door, option: Any) -> None:
    with pytest.raises(DefinitionError, match="update_with_start has its message"):
        await door.client.update_with_start(Loan.run(100), Loan.raise_by.message(5), id="a", **option)

    assert await door.client.count() == 0


async def test_a_handle_is_given_a_workflow_by_its_class_or_its_method(door: Door) -> None:
    await door.start(Loan.run(100), "a")
    by_class = door.client.handle("a", Loan)
    await by_class.signal("decide", Decision(False))

    assert await by_class.result() == await door.client.handle("a", Loan.run).result()
    for wrong in ("Loan", book, Door, 7):
        with pytest.raises(DefinitionError, match="a handle takes the id of a run and a workflow"):
            door.client.handle("a", wrong)  # type: ignore[call-overload]


class Backwards:
    name = "backwards"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


@pytest.mark.parametrize("through", ["engine", "database"])
async def test_messages_that_come_with_a_start_pass_a_codec(through: str, tmp_path: Path) -> None:
    address, codec = f"sqlite:///{tmp_path / 'runs.db'}", Backwards()
    async with Engine(address, DEFINITIONS, codec=codec) as engine, Client(address, codec=codec) as client:
        verbs: Any = engine if through == "engine" else client

        loan = await verbs.start(Loan.run(100), id="a", signal=Loan.decide.message(Decision(True, "ann" * 30_000)))
        update = await verbs.update_with_start(Loan.run(100), Loan.raise_by.message(5), id="b")

        assert await loan.result() == f"True by {'ann' * 30_000}: 100 "
        assert await update.result() == 105


async def test_what_a_query_answers_is_not_in_the_database_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    codec = Backwards()
    async with (
        Engine(f"sqlite:///{path}", DEFINITIONS, codec=codec) as engine,
        Client(f"sqlite:///{path}", codec=codec) as client,
    ):
        await engine.start(Loan.run(4711), id="a")

        assert await client.handle("a", Loan).query(Loan.state, unit="EUR" * 40_000) == "4711 " + "EUR" * 40_000

        held = path.read_bytes() + (tmp_path / "runs.db-wal").read_bytes()
        assert b"RUERUE" in held
        assert b"EUREUR" not in held


@pytest.mark.parametrize("told", [[], [3], [3, 4]])
async def test_a_run_that_was_ended_answers_what_it_would_have_before(door: Door, told: list[int]) -> None:
    run = await door.start(Sum.run(), "a")
    for n in told:
        await run.signal(Sum.add, n)
    await run.terminate("enough")

    assert await run.query("state") == str(sum(told))


async def test_a_run_that_was_ended_while_it_was_blocked_answers_what_it_was_before_that(door: Door) -> None:
    run = await door.start(Sum.run(), "a")
    await run.signal(Sum.add, 3)
    await run.signal(Sum.add, -1)
    with pytest.raises(RunBlocked):
        await run.result()
    await run.terminate()

    assert await run.query("state") == "3"


async def test_a_condition_may_ask_how_much_a_channel_has(door: Door) -> None:
    run = await door.start(waits_for_two(), "a")

    await run.signal(numbers, 3)
    await run.signal(numbers, 4)

    assert await run.result() == 7


@workflow
class GoesOn:
    """Goes on as a new run when it is told to, or fails and is tried again; in its third life it ends."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.over = False

    @workflow.run
    async def run(self, by: str, life: int = 1, heard: list[str] | None = None) -> list[str]:
        self.heard = [*(heard or ()), *self.heard]
        await wait_until(lambda: self.over)
        attempt = workflow.info().attempt
        if by == "failing" and attempt < 3:
            raise ValueError("again")
        if by == "going on" and life < 3:
            continue_as_new(by, life + 1, self.heard)
        return self.heard

    @workflow.signal
    def hear(self, text: str) -> None:
        self.heard.append(text)

    @workflow.signal
    def go_on(self) -> None:
        self.over = True

    @workflow.update
    async def ask(self, text: str) -> str:
        self.heard.append(text)
        return await book(f"{text} in life {workflow.info().attempt}: {','.join(self.heard)}")

    @workflow.update
    def other(self, text: str) -> None: ...


@workflow
async def hands_on(left: int, got: list[int]) -> list[int]:
    await words.receive()
    if left:
        continue_as_new(left - 1, got)
    while (n := numbers.receive_nowait(None)) is not None:
        got.append(n)
    return got


GO_ON = [GoesOn, hands_on, book]


@pytest.fixture(params=["engine", "database", "memory"])
def chain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    done.clear()
    address = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"
    with Engine(address, GO_ON) as engine:
        if request.param == "database":
            with Client(address) as client:
                yield Door(engine, client)
        else:
            yield Door(engine, engine)  # type: ignore[arg-type]


async def _lives(door: Door, count: int) -> None:
    while (await door.client.count(id_prefix="a")) < count:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("by", ["going on", "failing"])
async def test_a_signal_of_one_request_is_taken_once_by_a_run_and_those_that_it_goes_on_as(
    chain: Door, by: str
) -> None:
    await chain.engine.start(GoesOn.run(by), id="a", retry=Retry(max_attempts=3, initial="1ms"))
    run = chain.client.handle("a", GoesOn)
    for life in (1, 2, 3):
        await _lives(chain, life)
        await run.as_request("mail-17").signal(GoesOn.hear, "x")
        await run.as_request(f"life-{life}").signal(GoesOn.go_on)

    await run.result()

    received = [
        event["request_id"]
        for each in await chain.client.list(id_prefix="a")
        for event in await chain.client.handle("a", run_id=each.run_id).history()
        if event["type"] == "SignalReceived"
    ]
    assert sorted(received) == ["life-1", "life-2", "life-3", "mail-17"]


async def test_a_signal_with_a_request_that_was_handed_on_is_received_once(chain: Door) -> None:
    await chain.engine.start(hands_on(2, []), id="a")
    run = chain.client.handle("a")
    for _ in range(3):
        await run.as_request("n").signal("numbers", 7)
        await run.signal("words", "on")

    assert await run.result() == [7]


@pytest.mark.parametrize("by", ["going on", "failing"])
async def test_an_update_sent_again_has_the_answer_of_the_run_that_took_it(chain: Door, by: str) -> None:
    await chain.engine.start(GoesOn.run(by), id="a", retry=Retry(max_attempts=3, initial="1ms"))
    run = chain.client.handle("a", GoesOn)
    first = await run.as_request("u").update(GoesOn.ask, "x")
    await run.signal(GoesOn.go_on)
    await _lives(chain, 2)

    assert await run.as_request("u").update(GoesOn.ask, "x") == first
    assert await (await run.as_request("u").start_update(GoesOn.ask, "x")).result() == first
    assert await run.update_handle("u").result() == first
    with pytest.raises(InvalidArguments, match="knows 'u' as the id of an update 'ask'"):
        await run.as_request("u").update(GoesOn.other, "x")
    assert done == ["x in life 1: x"]


async def test_an_update_with_a_start_made_again_has_the_answer_of_the_run_that_took_it(chain: Door) -> None:
    async def send(**options: Any) -> Any:
        message = GoesOn.ask.message("x")
        update = await chain.client.update_with_start(GoesOn.run("going on"), message, id="a", update_id="u", **options)
        return await update.result()

    first = await send(request_id="r")
    await chain.client.handle("a").signal("go_on")
    await _lives(chain, 2)

    assert await send(request_id="r") == first
    assert await send() == first
    assert done == ["x in life 1: x"]


async def test_who_waits_for_an_update_hears_the_answer_of_the_run_that_came_to_take_it(chain: Door) -> None:
    await chain.engine.start(GoesOn.run("going on"), id="a")
    run = chain.client.handle("a", GoesOn)

    answers = await asyncio.gather(
        *(run.signal(GoesOn.go_on) if n in (3, 9) else run.update(GoesOn.ask, str(n)) for n in range(14)),
        return_exceptions=True,
    )

    assert all(answer is None or isinstance(answer, str | RunClosed) for answer in answers), answers


async def test_a_run_that_is_blocked_keeps_what_comes_for_a_channel_that_it_has_made(door: Door) -> None:
    faults[:] = [1]
    run = await door.start(breaks_with_its_channel(), "a")
    await run.signal("mine", 1)
    with pytest.raises(RunBlocked):
        await run.result()

    await run.signal("mine", 2)
    faults.clear()
    await run.retry()

    assert await run.result() == 3


def test_a_run_with_a_channel_of_its_own_ends_when_it_has_heard_what_was_in_its_mailbox() -> None:
    @workflow
    async def ends() -> str:
        own = channel("own", str)
        await is_told_meanwhile("x")
        return own.receive_nowait("nothing was said")

    with Engine("memory://", [ends, is_told_meanwhile]) as engine:
        posts.append((engine, Signal("own", Payload(b'["just in time"]'))))

        assert engine.run(ends(), id="a").wait() == "just in time"


async def test_a_start_with_a_signal_made_again_says_it_once(door: Door) -> None:
    await door.client.start(adds(2), id="a")
    for n in (5, 5, 6):
        run = await door.client.start(adds(2), id="a", signal=numbers.message(n), request_id=f"r{n}")

    assert await run.result() == 11


def test_an_update_that_a_blocked_run_refuses_leaves_no_bytes() -> None:
    with Engine("memory://", DEFINITIONS) as engine:
        engine.start(Anything.run(), id="a").wait()
        run = engine.start(Sum.run(), id="b").wait()
        run.signal(Sum.add, -1).wait()
        with pytest.raises(RunBlocked):
            run.result().wait()
        blobs: Any = engine.store.shelf.blobs  # type: ignore[attr-defined]

        with pytest.raises(UnknownMessage):
            run.update("anything", "x" * 300_000).wait()
        with pytest.raises(RunBlocked):
            engine.update_with_start(Sum.run(), Sum.take.message("x" * 300_000), id="b").wait()

        assert not blobs
