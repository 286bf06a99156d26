# pyright: reportCallIssue=false, reportArgumentType=false
"""Handlers, channels and conditions of workflows, shown events by hand."""

import random
from typing import Any

import pytest

from perdure import DefinitionError, workflow
from perdure.errors import UnknownMessage
from perdure.kernel import events as ev
from perdure.kernel.messages import Query, Signal, Update
from perdure.kernel.program import Meddled
from perdure.languages.python.channels import channel, channels_of, wait_until
from tests.histories.corpus import ACTIVITIES, SAID, Talkative, reads_letters, signal, update
from tests.unit.languages.python.workflow_driver import Driver

elsewhere = channel("elsewhere", int)


async def reads_elsewhere() -> int:
    return await elsewhere.receive()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("definition", [Talkative.run, reads_letters])
def test_a_program_that_is_made_anew_at_any_time_goes_on_as_it_would_have(definition: Any, seed: int) -> None:
    said = SAID[definition.name]

    calm = Driver(definition, ACTIVITIES).start().finish(_Same(random.Random(seed)), said=said)
    again = Driver(definition, ACTIVITIES).start()
    again.finish(_Same(random.Random(seed)), evictions=0.5, said=said)

    assert [type(event) for event in again.history] == [type(event) for event in calm.history]
    assert again.result == calm.result


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("definition", [Talkative.run, reads_letters])
def test_a_program_that_begins_with_messages_goes_on_when_it_is_made_anew(definition: Any, seed: int) -> None:
    said = list(SAID[definition.name])
    first, later = said[: seed % len(said) + 1], said[seed % len(said) + 1 :]

    calm = Driver(definition, ACTIVITIES).start(*first).finish(_Same(random.Random(seed)), said=later)
    again = Driver(definition, ACTIVITIES).start(*first)
    again.finish(_Same(random.Random(seed)), evictions=0.5, said=later)

    assert calm.history[0].spoken == len(first)  # type: ignore[union-attr]
    assert [type(event) for event in again.history] == [type(event) for event in calm.history]
    assert again.result == calm.result


class _Same(random.Random):
    """The choices of another one; whether a program is evicted is its own affair."""

    def __init__(self, order: random.Random) -> None:
        super().__init__(1)
        self._order = order

    def choice(self, seq: Any) -> Any:
        return self._order.choice(seq)

    def randrange(self, *args: Any, **kwargs: Any) -> int:
        return self._order.randrange(*args, **kwargs)


def test_a_handler_has_a_path_that_counts_messages() -> None:
    driver = Driver(Talkative.run, ACTIVITIES).start()

    driver.tell(signal("note", "a"))
    driver.tell(signal("pass_on"))
    driver.tell(update("u", "ask", 3))

    assert "m1:1" in driver.run.pending  # the step of the first
    assert "m3:1" in driver.run.timers  # the sleep of the third


def test_conditions_wake_one_after_the_other() -> None:
    """The first to wake makes the condition of the second untrue again."""
    driver = Driver(Talkative.run, ACTIVITIES).start()

    driver.tell(signal("pass_on"))
    assert len(driver.run.pending) == 1
    driver.tell(signal("pass_on"))

    assert len(driver.run.pending) == 2


def test_a_condition_that_raises_raises_where_it_is_waited_for() -> None:
    @workflow
    class Breaks:
        def __init__(self) -> None:
            self.broken = False

        @workflow.run
        async def run(self) -> str:
            try:
                await wait_until(self.condition)
            except KeyError as error:
                return str(error)
            return ""

        def condition(self) -> bool:
            if self.broken:
                raise KeyError("broken")
            return False

        @workflow.signal
        def break_it(self) -> None:
            self.broken = True

    driver = Driver(Breaks.run).start()
    driver.tell(signal("break_it"))

    assert driver.result == "'broken'"


def test_channels_are_found_in_the_code_of_a_workflow_and_what_it_calls() -> None:
    inside = channel("inside")

    async def main() -> None:
        await reads_elsewhere()
        await inside.receive()

    found, makes_others = channels_of(main, None)

    assert set(found) == {"elsewhere", "inside"}
    assert not makes_others


def test_code_that_may_make_channels_of_its_own_is_known() -> None:
    make = channel

    async def by_name() -> None:
        channel("mine")

    async def by_another_name() -> None:
        make("mine")

    assert [channels_of(each, None)[1] for each in (by_name, by_another_name)] == [True, True]


def test_two_channels_of_a_name_with_different_types_are_refused() -> None:
    one, other = channel("same", int), channel("same", str)

    @workflow
    async def confused() -> object:
        return await one.receive() if one.receive_nowait(0) == 0 else await other.receive()

    @workflow
    async def mixes() -> None:
        one.receive_nowait(None)
        other.receive_nowait(None)

    with pytest.raises(Exception, match="two channels of this workflow are called 'same'"):
        Driver(mixes).start()
    Driver(confused).start()


@pytest.mark.parametrize("use", [lambda: len(elsewhere), lambda: elsewhere.receive_nowait()])
def test_a_channel_is_received_from_in_a_workflow_only(use: Any) -> None:
    with pytest.raises(DefinitionError, match="of channel elsewhere was called outside a workflow"):
        use()


def _ask(driver: Driver, name: str, *args: Any) -> ev.Payload:
    message = signal(name, *args)
    return driver.program.query(Query(message.name, message.input))


@workflow
class Looker:
    def __init__(self) -> None:
        self.values: list[float] = []

    @workflow.run
    async def run(self) -> list[float]:
        await wait_until(lambda: len(self.values) == 2)
        return [*self.values, workflow.random().random()]

    @workflow.signal
    def roll(self) -> None:
        self.values.append(workflow.random().random())

    @workflow.query
    def rolls(self) -> float:
        return workflow.random().random()

    @workflow.query
    def schedules(self) -> None:
        import asyncio

        asyncio.get_running_loop().create_task(asyncio.sleep(1))

    @workflow.update
    def never(self) -> None: ...

    @never.validator
    def check(self) -> None:
        workflow.set_memo({"a": 1})


def test_chance_is_the_same_whoever_has_looked() -> None:
    undisturbed, disturbed = Driver(Looker.run).start(), Driver(Looker.run).start()
    for driver in (undisturbed, disturbed):
        driver.tell(signal("roll"))
        if driver is disturbed:
            _ask(driver, "rolls")
        driver.tell(signal("roll"))

    assert disturbed.result == undisturbed.result


def test_what_only_looks_may_start_nothing() -> None:
    driver = Driver(Looker.run).start()

    with pytest.raises(Meddled, match="a query and a validator only look"):
        _ask(driver, "schedules")
    assert list(driver.program.loop.tasks) == ["0"]  # type: ignore[attr-defined]
    with pytest.raises(Meddled, match="a query and a validator only look"):
        driver.program.validate(Update("u", "never", ev.Payload(b"[]")))


def test_a_message_whose_method_is_gone_blocks_the_replay() -> None:
    driver = Driver(Looker.run).start()
    driver.tell(signal("roll"))

    with pytest.raises(UnknownMessage, match="hears no signal 'rol'"):
        driver.program.ears.reader("signal", "rol")  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="the signal gone can no longer be heard"):
        driver.tell(Signal("gone", ev.Payload(b"[]")))


def _class(**methods: Any) -> type:
    async def run(self: Any) -> None: ...

    return type("Made", (), {"run": workflow.run(run), **methods})


async def _async_query(self: Any) -> int:
    return 1


def _plain(self: Any, a: int) -> int:
    return a


def _no_self() -> None: ...


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: workflow.query(_async_query), "is async, but a query waits for nothing: write def"),
        (lambda: workflow.signal(_no_self), "is a method: its first parameters are self"),
        (
            lambda: workflow.signal(_async_query, dynamic=True),
            "its first parameters are self and the name of the message",
        ),
        (lambda: workflow.signal(_plain, name=""), "has a name of 1 to 200 printable characters"),
        (
            lambda: workflow.signal(_plain, name="x", dynamic=True),
            "is dynamic and so hears all other names; leave out name=",
        ),
        (lambda: workflow.signal(5), "@workflow.signal goes on a method written with def or async def, not on 5"),
        (lambda: workflow.update(_plain).validator(_async_query), "is a method written with def, not"),
        (
            lambda: workflow.update(_plain).validator(lambda self, b: None),
            r"takes the same parameters, \(self, a\), and has",
        ),
        (
            lambda: workflow(_class(a=workflow.signal(_plain, name="x"), b=workflow.signal(_plain, name="x"))),
            "two methods of workflow class Made hear the signal 'x'",
        ),
        (lambda: channel(""), "a channel has a name of 1 to 200 printable characters"),
    ],
)
def test_handlers_that_make_no_sense_are_refused_when_they_are_defined(make: Any, expected: str) -> None:
    with pytest.raises(DefinitionError, match=expected):
        make()


def test_a_class_inherits_handlers_and_overrides_them() -> None:
    class Base:
        @workflow.signal
        def first(self) -> None: ...

        @workflow.signal
        def second(self) -> None: ...

    @workflow
    class Derived(Base):
        @workflow.run
        async def run(self) -> None: ...

        def second(self) -> None: ...  # type: ignore[override]  # no handler any more

    assert Derived.run.handlers.names("signal") == ["first"]
