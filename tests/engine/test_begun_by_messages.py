"""Messages that come with a start, or lie in the mailbox before it: runs that end without having waited have heard them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    Engine,
    RunBlocked,
    RunFailed,
    activity,
    channel,
    continue_as_new,
    publish,
    wait_until,
    workflow,
)
from perdure.errors import UpdateFailed, UpdateRejected
from perdure.testing import TestEngine, replay

words = channel("word", str)
mended = False


@activity
async def book(what: str) -> str:
    return f"<{what}>"


@workflow
class Hasty:
    """Waits for nothing."""

    def __init__(self) -> None:
        self.heard: list[str] = ["init"]

    @workflow.run
    async def run(self, how: str = "returns") -> list[str]:
        self.heard.append("main")
        if how == "fails":
            raise ValueError("at once")
        if how == "bug" and not mended:
            raise TypeError("a bug")
        if how == "goes on":
            continue_as_new("returns")
        if how == "patient":
            await wait_until(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal
    def tell(self, text: str) -> None:
        self.heard.append(text)

    @workflow.signal
    def fail(self) -> None:
        raise ValueError("not with me")

    @workflow.query
    def all(self) -> list[str]:
        return self.heard

    @workflow.update
    def ask(self, text: str) -> str:
        if text == "refused":
            raise ValueError("no")
        self.heard.append(text)
        return ",".join(self.heard)

    @ask.validator
    def _check(self, text: str) -> None:
        if text == "rejected" or "main" not in self.heard:
            raise ValueError(f"not {text}")

    @workflow.update
    async def book(self, text: str) -> str:
        return await book(text)


@workflow
async def takes_what_is_there() -> list[str]:
    publish("there", len(words))
    found: list[str] = []
    while (word := words.receive_nowait(None)) is not None:
        found.append(word)
    return found


ALL = [Hasty, takes_what_is_there, book]


class Door:
    def __init__(self, engine: Engine, verbs: Any) -> None:
        self.engine = engine
        self.verbs = verbs


@pytest.fixture(params=["engine", "database", "memory"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    address = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"
    with Engine(address, ALL) as engine:
        if request.param == "database":
            with Client(address) as client:
                yield Door(engine, client)
        else:
            yield Door(engine, engine)


async def kinds(handle: Any) -> list[str]:
    return [event["type"] for event in await handle.history()]


async def test_a_signal_that_comes_with_a_start_is_heard_by_a_run_that_waits_for_nothing(door: Door) -> None:
    run = await door.verbs.start(Hasty.run(), id="a", signal=Hasty.tell.message("x"))

    assert await run.result() == ["init", "main", "x"]
    assert await kinds(run) == ["RunStarted", "SignalReceived", "RunCompleted"]
    assert await run.query(Hasty.all) == ["init", "main", "x"]


async def test_channels_have_what_comes_with_a_start_from_the_beginning(door: Door) -> None:
    run = await door.verbs.start(takes_what_is_there(), id="a", signal=words.message("x"))

    assert await run.result() == ["x"]
    assert await run.published() == {"there": 1}


async def test_an_update_that_comes_with_a_start_is_answered_by_a_run_that_waits_for_nothing(door: Door) -> None:
    update = await door.verbs.update_with_start(Hasty.run(), Hasty.ask.message("x"), id="a")

    assert await update.result() == "init,main,x"
    assert await update.handle.result() == ["init", "main", "x"]
    assert await kinds(update.handle) == ["RunStarted", "UpdateAccepted", "UpdateCompleted", "RunCompleted"]


async def test_an_update_that_fails_is_answered_with_that(door: Door) -> None:
    update = await door.verbs.update_with_start(Hasty.run(), Hasty.ask.message("refused"), id="a")

    with pytest.raises(UpdateFailed, match="ValueError: no"):
        await update.result()


async def test_a_validator_looks_at_an_update_when_the_run_has_begun_and_rejects_it_without_a_trace(door: Door) -> None:
    with pytest.raises(UpdateRejected, match="ValueError: not rejected"):
        await door.verbs.update_with_start(Hasty.run(), Hasty.ask.message("rejected"), id="a")

    run = door.verbs.handle("a", Hasty)
    assert await run.result() == ["init", "main"]
    assert await kinds(run) == ["RunStarted", "RunCompleted"]


async def test_an_update_that_takes_steps_is_answered_if_the_run_waits_for_its_handlers(door: Door) -> None:
    update = await door.verbs.update_with_start(Hasty.run("patient"), Hasty.book.message("x"), id="a")

    assert await update.result() == "<x>"


async def test_a_run_that_fails_at_once_has_heard_what_came_with_its_start(door: Door) -> None:
    run = await door.verbs.start(Hasty.run("fails"), id="a", signal=Hasty.tell.message("x"))

    with pytest.raises(RunFailed, match="at once"):
        await run.result()
    assert await run.query(Hasty.all) == ["init", "main", "x"]


async def test_what_a_signal_raises_that_came_with_the_start_fails_a_run_that_is_at_its_end(door: Door) -> None:
    run = await door.verbs.start(Hasty.run(), id="a", signal=Hasty.fail.message())

    with pytest.raises(RunFailed, match="ValueError: not with me"):
        await run.result()


async def test_a_run_that_goes_on_at_once_has_heard_what_came_with_its_start(door: Door) -> None:
    run = await door.verbs.start(Hasty.run("goes on"), id="a", signal=Hasty.tell.message("x"))

    assert await run.result() == ["init", "main"]
    assert await kinds(door.verbs.handle("a", run_id=run.run_id)) == [
        "RunStarted",
        "SignalReceived",
        "RunContinuedAsNew",
    ]


async def test_a_run_that_a_bug_blocks_as_it_begins_hears_its_message_when_it_is_mended(door: Door) -> None:
    global mended
    mended = False
    run = await door.verbs.start(Hasty.run("bug"), id="a", signal=Hasty.tell.message("x"))
    with pytest.raises(RunBlocked, match="TypeError: a bug"):
        await run.result()

    mended = True
    await run.retry()

    assert await run.result() == ["init", "main", "x"]


async def test_an_update_whose_run_a_bug_blocks_as_it_begins_is_refused(door: Door) -> None:
    global mended
    mended = False
    with pytest.raises(RunBlocked, match="cannot say whether it accepts an update"):
        await door.verbs.update_with_start(Hasty.run("bug"), Hasty.ask.message("x"), id="a")

    mended = True
    run = door.verbs.handle("a", Hasty)
    await run.retry()
    assert await run.result() == ["init", "main"]


@pytest.mark.parametrize("workflow_name", ["Hasty", "takes_what_is_there"])
async def test_a_run_hears_what_was_said_before_an_engine_let_it_begin(tmp_path: Path, workflow_name: str) -> None:
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Client(address, create=True) as client:
        run = await client.start(workflow_name, id="a")
        for n in range(3):
            await run.as_request(f"r{n}").signal("tell" if workflow_name == "Hasty" else "word", str(n))
            await run.as_request(f"r{n}").signal("tell" if workflow_name == "Hasty" else "word", str(n))

        async with Engine(address, ALL) as engine:
            result = await run.result()

            assert [text for text in result if text in "012"] == ["0", "1", "2"]
            assert (await kinds(engine.handle("a"))).count("SignalReceived") == 3


async def test_what_nobody_hears_is_left_when_the_run_begins_with_the_rest(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Client(address, create=True) as client:
        run = await client.start("Hasty", id="a")
        await run.signal("tell", "x")
        await run.signal("tell", 5)
        await run.signal("tell", "y")

        async with Engine(address, ALL):
            assert await run.result() == ["init", "main", "x"]


def test_a_run_that_has_heard_messages_as_it_began_replays(tmp_path: Path) -> None:
    with TestEngine(ALL) as engine:
        engine.start(Hasty.run(), id="a", signal=Hasty.tell.message("x")).wait()
        engine.update_with_start(Hasty.run("patient"), Hasty.book.message("x"), id="b").wait()
        engine.start(takes_what_is_there(), id="c", signal=words.message("x")).wait()
        for id in "abc":
            handle = engine.handle(id)
            handle.result().wait()
            assert len(replay(handle, ALL).verdicts) == 1


async def test_the_log_says_what_became_of_a_signal_that_nobody_waits_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    async with Client(address, create=True) as client:
        run = await client.start("Hasty", id="a")
        await run.signal("tell", 5)

        async with Engine(address, ALL):
            await run.result()

    assert "run 'a': the signal 'tell', which was sent while nobody could hear it, is refused" in caplog.text
