"""Handlers that do what no handler should: raise what is no `Exception`, take what is not theirs, or break the run."""

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
    InvalidArguments,
    RunBlocked,
    RunFailed,
    channel,
    continue_as_new,
    publish,
    wait_until,
    workflow,
)
from perdure.errors import QueryFailed, UpdateFailed, UpdateRejected

words = channel("word", str)
mended = False


class NoWords(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


ODD = {
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "cancelled": asyncio.CancelledError(),
    "closed": GeneratorExit(),
    "base": BaseException("x"),
    "wordless": NoWords(),
}


@workflow
class Odd:
    def __init__(self) -> None:
        self.over = False

    @workflow.run
    async def run(self) -> list[str]:
        await wait_until(lambda: self.over)
        return [await words.receive()] if len(words) else []

    @workflow.signal
    def end(self) -> None:
        self.over = True

    @workflow.signal
    def told(self, how: str) -> None:
        raise ODD[how]

    @workflow.signal
    def again(self) -> None:
        continue_as_new()

    @workflow.query
    def asked(self, how: str) -> int:
        raise ODD[how]

    @workflow.query
    def is_over(self) -> bool:
        return self.over

    @workflow.query
    def steals(self) -> str:
        return words.receive_nowait("nothing")

    @workflow.update
    async def does(self, how: str) -> int:
        raise ODD[how]

    @workflow.update
    def checked(self, how: str) -> None:
        pass

    @checked.validator
    def _check(self, how: str) -> None:
        raise ODD[how]

    @workflow.update
    async def breaks(self) -> int:
        if not mended:
            raise TypeError("a bug")
        return 7


@workflow
class Stubborn:
    """Does not let itself be cancelled."""

    @workflow.run
    async def run(self, how: str) -> str:
        try:
            await wait_until(lambda: False)
        except asyncio.CancelledError:
            if how == "fails":
                raise ValueError("while it cleaned up")  # noqa: B904  it has the cancellation for a context
            if how == "goes on":
                continue_as_new("returns")
            if how == "waits":
                await asyncio.sleep(0.01)
        return "fine"

    @workflow.signal
    def told(self) -> None:
        raise OSError("the handler's fault")


@dataclass
class Deadly:
    how: str

    def __post_init__(self) -> None:
        raise ODD[self.how]


@workflow
class Trusting:
    @workflow.run
    async def run(self, first: Deadly | None = None) -> None:
        await wait_until(lambda: False)

    @workflow.signal
    def told(self, what: Deadly) -> None:
        pass

    @workflow.query
    def lives(self) -> bool:
        return True


@workflow
class Unborn:
    def __init__(self) -> None:
        raise ValueError("never")

    @workflow.run
    async def run(self) -> None:
        pass

    @workflow.query
    def state(self) -> int:
        return 1


@workflow
class Twice:
    """Hears the same by a method and by a channel."""

    @workflow.run
    async def run(self) -> str:
        return await words.receive()

    @workflow.signal
    def word(self, text: str) -> None:
        pass


@workflow
async def publishes(name: str) -> str:
    try:
        publish(name, 1)
    except DefinitionError as error:
        return str(error)
    return "published"


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine("memory://", [Odd, Stubborn, Unborn, Twice, publishes]) as engine:
        yield engine


@pytest.mark.parametrize("how", ODD)
async def test_whatever_a_query_raises_goes_to_who_has_asked(engine: Engine, how: str) -> None:
    run = await engine.start(Odd.run(), id="a")

    with pytest.raises(QueryFailed, match=type(ODD[how]).__name__):
        await run.query(Odd.asked, how)

    assert await run.query(Odd.is_over) is False


@pytest.mark.parametrize("how", ODD)
async def test_whatever_a_validator_raises_rejects_the_update(engine: Engine, how: str) -> None:
    run = await engine.start(Odd.run(), id="a")

    with pytest.raises(UpdateRejected, match=type(ODD[how]).__name__):
        await run.update(Odd.checked, how)

    assert len(await run.history()) == 1
    assert await run.query(Odd.is_over) is False


@pytest.mark.parametrize("how", ODD)
async def test_whatever_an_update_raises_is_its_answer(engine: Engine, how: str) -> None:
    run = await engine.start(Odd.run(), id="a")

    with pytest.raises(UpdateFailed, match=type(ODD[how]).__name__):
        await run.update(Odd.does, how)

    await run.signal(Odd.end)
    assert await run.result() == []


@pytest.mark.parametrize("how", sorted(ODD.keys() - {"cancelled"}))
async def test_whatever_a_signal_raises_fails_the_run(engine: Engine, how: str) -> None:
    run = await engine.start(Odd.run(), id="a")

    await run.signal(Odd.told, how)

    with pytest.raises(RunFailed, match=type(ODD[how]).__name__):
        await run.result()


@pytest.mark.parametrize("how", ["returns", "waits", "goes on"])
async def test_what_a_signal_raises_fails_the_run_whatever_its_main_line_makes_of_it(engine: Engine, how: str) -> None:
    run = await engine.start(Stubborn.run(how), id="a")

    await run.signal(Stubborn.told)

    with pytest.raises(RunFailed, match="OSError: the handler's fault"):
        await run.result()


async def test_what_the_main_line_raises_instead_has_it_for_a_cause(engine: Engine) -> None:
    run = await engine.start(Stubborn.run("raises"), id="a")
    await run.cancel("enough")
    assert await run.result() == "fine"  # nobody's failure
    run = await engine.start(Stubborn.run("fails"), id="b")

    await run.signal(Stubborn.told)

    with pytest.raises(RunFailed, match="ValueError: while it cleaned up") as failed:
        await run.result()
    causes = []
    cause = failed.value.__cause__
    while cause is not None:
        causes.append(str(cause))
        cause = cause.__cause__
    assert any("the handler's fault" in text for text in causes)


async def test_what_a_signal_raises_that_came_with_the_start_fails_the_run(engine: Engine) -> None:
    run = await engine.start(Odd.run(), id="a", signal=Odd.told.message("wordless"))

    with pytest.raises(RunFailed, match="NoWords"):
        await run.result()


async def test_a_handler_cannot_let_the_run_continue_as_new_and_says_so(engine: Engine) -> None:
    run = await engine.start(Odd.run(), id="a")

    await run.signal(Odd.again)

    with pytest.raises(RunBlocked, match="a handler has called continue_as_new, which ends the main line"):
        await run.result()


async def test_a_query_cannot_take_what_the_run_has_not_received(engine: Engine) -> None:
    run = await engine.start(Odd.run(), id="a")
    await run.signal(words, "mine")

    with pytest.raises(QueryFailed, match="took a value out of a channel"):
        await run.query(Odd.steals)

    await run.signal(Odd.end)
    assert await run.result() == ["mine"]


async def test_a_run_whose_code_never_began_cannot_answer(engine: Engine) -> None:
    unborn = await engine.start(Unborn.run(), id="a")
    with pytest.raises(RunFailed, match="never"):
        await unborn.result()
    with pytest.raises(QueryFailed, match="nobody is there to answer"):
        await unborn.query(Unborn.state)


@pytest.mark.parametrize("through", ["engine", "database"])
async def test_who_waits_for_an_update_is_told_that_its_run_is_blocked_and_may_ask_again(
    through: str, tmp_path: Path
) -> None:
    global mended
    mended = False
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(address, [Odd]) as engine, Client(address) as client:
        await engine.start(Odd.run(), id="a")
        verbs: Any = engine if through == "engine" else client
        run = verbs.handle("a", Odd)

        with pytest.raises(RunBlocked, match="TypeError in update breaks: a bug"):
            await run.as_request("r").update(Odd.breaks)
        with pytest.raises(RunBlocked, match="TypeError in update breaks: a bug"):
            await run.update_handle("r").result()

        mended = True
        await run.retry()
        assert await run.update_handle("r").result() == 7


NO_NAMES = ["", "x" * 201, "half \ud800", "two\nlines", "nul\0"]


@pytest.mark.parametrize("name", NO_NAMES)
async def test_what_no_store_can_hold_is_no_name(engine: Engine, name: str) -> None:
    run = await engine.start(Odd.run(), id="a")

    with pytest.raises(DefinitionError, match="1 to 200 printable characters"):
        run.as_request(name)
    with pytest.raises(DefinitionError, match="1 to 200 printable characters"):
        run.update_handle(name)
    with pytest.raises(DefinitionError, match="1 to 200 printable characters"):
        await run.signal(name)
    with pytest.raises(DefinitionError, match="1 to 200 printable characters"):
        channel(name)
    with pytest.raises(DefinitionError, match="1 to 200 printable characters"):
        workflow.signal(name=name)(lambda self: None)
    with pytest.raises(DefinitionError, match="1 to 200 printable characters"):
        await engine.start(Odd.run(), id="b", request_id=name)


async def test_a_name_to_publish_under_is_short_and_printable(engine: Engine) -> None:
    assert "1 to 200 printable characters" in await engine.run(publishes("x" * 201))
    assert "1 to 200 printable characters" in await engine.run(publishes("two\nlines"))
    assert await engine.run(publishes("a name")) == "published"


async def test_a_channel_that_has_the_name_of_a_method_is_refused(engine: Engine) -> None:
    with pytest.raises(RunBlocked, match=r"the signals 'word' go to .* and so none come by the channel of that name"):
        await engine.run(Twice.run())


def test_an_update_with_a_start_needs_an_engine(tmp_path: Path) -> None:
    with Client(f"sqlite:///{tmp_path / 'runs.db'}", create=True) as client:
        with pytest.raises(EngineNotRunning, match="nobody can answer"):
            client.update_with_start(Odd.run(), Odd.breaks.message(), id="a").wait()

        assert client.count().wait() == 0


@pytest.mark.parametrize("how", ODD)
async def test_arguments_that_raise_whatever_when_they_are_made_are_refused(how: str, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Engine(address, [Trusting]) as engine, Client(address) as client:
        await engine.start(Trusting.run(), id="a")
        run = client.handle("a")

        with pytest.raises(InvalidArguments):
            await run.signal("told", {"how": how})
        with pytest.raises(InvalidArguments):
            await client.start("Trusting", [{"how": how}], id="b")

        assert await run.query("lives") is True
        assert await client.count() == 1
