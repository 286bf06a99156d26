"""Runs pinned to the build that has begun them: other code does not go on with them until they are moved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, DefinitionError, Engine, RunBlocked, RunFailed, activity, sleep, workflow
from perdure.errors import QueryFailed, ReplayFailed, RunClosed, RunPinned, UnknownWorkflow
from perdure.runtime.programs import Programs
from perdure.workflows import wait_until
from tests.engine.clocks import HOUR_NS, Later, StandingClock

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


@activity
async def note(what: str) -> str:
    done.append(what)
    return what


@activity
async def falter() -> None:
    done.append("faltered")
    raise ValueError("not today")


def order(code: Callable[..., Any]) -> Any:
    return workflow(name="order", versioning="pinned")(code)


@order
async def old(pause: float) -> str:
    await note("old first")
    await sleep(pause)
    return await note("old end")


@order
async def alike(pause: float) -> str:
    """Other code with the same steps so far."""
    await note("new first")
    await sleep(pause)
    return await note("new end")


@order
async def different(pause: float) -> str:
    await sleep(pause)
    return await note("different end")


def left_asleep(address: str, code: Any = old, build: str = "monday", **options: Any) -> None:
    """A run that is to sleep for an hour, which is over for an engine that comes later."""
    with Engine(address, [code, note], build=build) as engine:
        engine.start(code(3600), id="o", **options).wait()
        while engine.handle("o").describe().wait().status != "waiting":
            pass


def result(engine: Engine) -> Any:
    return engine.handle("o").result().wait()


def test_a_pinned_run_waits_for_its_build_and_says_so(address: str):
    left_asleep(address)
    with Engine(address, [alike, note], build="tuesday", world=Later()) as engine:
        with pytest.raises(RunBlocked) as waits:
            result(engine)
        description = engine.handle("o").describe().wait()
    assert "waits for build monday of order, to which it is pinned; the engine has build tuesday" in str(waits.value)
    assert "perdure move o" in str(waits.value)
    assert (description.status, description.block.kind, description.pinned) == ("blocked", "pinned", "monday")
    assert description.note.startswith("waits for build monday")
    assert done == ["old first"]

    with (
        Engine(address, [alike, note], build="wednesday", world=Later()),
        Client(address) as client,
        pytest.raises(RunPinned) as told,
    ):
        client.handle("o").retry().wait()
    assert "waits for build monday" in str(told.value)
    with Engine(address, [old, note], build="monday", world=Later()) as engine:
        assert result(engine) == "old end"


def test_without_pinning_any_code_that_fits_goes_on(address: str):
    left_asleep(address, versioning="auto")
    with Engine(address, [alike, note], build="tuesday", world=Later()) as engine:
        assert result(engine) == "new end"


def test_a_start_pins_a_run_whose_workflow_does_not(address: str):
    @workflow(name="order")
    async def free(pause: float) -> str:
        await note("old first")
        await sleep(pause)
        return await note("old end")

    left_asleep(address, free, versioning="pinned")
    with (
        Engine(address, [alike, note], build="tuesday", world=Later()) as engine,
        pytest.raises(RunBlocked, match="monday"),
    ):
        result(engine)


def test_a_run_that_is_moved_goes_on_with_the_code_at_hand(address: str):
    left_asleep(address)
    clock = StandingClock()
    with Engine(address, [alike, note], build="tuesday", world=clock) as engine:
        engine.handle("o").move().wait()
        engine.handle("o").move().wait()  # it is there already
        clock.time += HOUR_NS
        engine.store.post.nudge()  # so that the engine looks at its clock
        assert result(engine) == "new end"
        kinds = [event["type"] for event in engine.handle("o").history().wait()]
        assert engine.handle("o").describe().wait().pinned == "tuesday"
        assert engine.store.admin.check() == []
        with pytest.raises(RunClosed):
            engine.handle("o").move().wait()

    assert kinds.count("RunMoved") == 1


def test_a_run_that_waits_for_its_build_is_moved_too(address: str):
    left_asleep(address)
    with Engine(address, [alike, note], build="tuesday", world=Later()) as engine, Client(address) as client:
        with pytest.raises(RunBlocked):
            result(engine)
        client.handle("o").move().wait()
        assert result(engine) == "new end"


def test_a_run_whose_history_the_code_does_not_fit_is_not_moved(address: str):
    left_asleep(address)
    with Engine(address, [different, note], build="tuesday") as engine, Client(address) as client:
        with pytest.raises(ReplayFailed) as refused:
            client.handle("o").move().wait()
        assert client.handle("o").describe().wait().pinned == "monday"
    assert "run 'o' stays pinned to build monday" in str(refused.value)
    assert "recorded activity note [0:1]" in str(refused.value)

    with Engine(address, [old, note], build="monday", world=Later()) as engine:
        assert result(engine) == "old end"


def test_a_moved_run_is_replayed_by_whoever_comes_next(address: str):
    left_asleep(address)
    with Engine(address, [alike, note], build="tuesday") as engine:
        engine.handle("o").move().wait()
    for build, code in (("monday", old), ("wednesday", alike)):
        with Engine(address, [code, note], build=build) as engine:
            assert engine.handle("o").describe().wait().pinned == "tuesday"
    with Engine(address, [alike, note], build="tuesday", world=Later()) as engine:
        assert result(engine) == "new end"


def test_attempts_of_a_pinned_run_wait_for_its_build_too(address: str):
    @order
    async def faltering(pause: float) -> None:
        await falter()

    with Engine(address, [faltering, note, falter], build="monday") as engine:
        engine.start(faltering(0), id="o").wait()
        while engine.handle("o").describe().wait().status != "retrying":
            pass
    tries = len(done)
    with Engine(address, [faltering, note, falter], build="tuesday") as engine, pytest.raises(RunBlocked) as waits:
        result(engine)
    assert "waits for build monday" in str(waits.value)
    assert len(done) == tries


def test_a_pinned_run_that_waits_can_be_terminated(address: str):
    left_asleep(address)
    with Engine(address, [alike, note], build="tuesday", world=Later()) as engine:
        with pytest.raises(RunBlocked):
            result(engine)
        engine.handle("o").terminate("enough").wait()
        assert engine.handle("o").describe().wait().status == "terminated"


def test_a_pinned_run_that_waits_runs_into_its_time_limit(address: str):
    left_asleep(address, run_timeout="2h")
    clock = StandingClock()
    clock.time += HOUR_NS
    with Engine(address, [alike, note], build="tuesday", world=clock) as engine:
        with pytest.raises(RunBlocked):
            result(engine)
        clock.time += 2 * HOUR_NS
        while engine.handle("o").describe().wait().status != "timed out":
            pass


def test_a_run_that_a_bug_has_blocked_keeps_its_reason_under_another_build(address: str):
    @order
    async def buggy(pause: float) -> str:
        await note("old first")
        return undefined_name  # type: ignore[name-defined]  # noqa: F821

    @order
    async def mended(pause: float) -> str:
        return await note("old first")

    with Engine(address, [buggy, note], build="monday") as engine, pytest.raises(RunBlocked, match="undefined_name"):
        engine.run(buggy(0), id="o").wait()
    with Engine(address, [mended, note], build="tuesday") as engine:
        with pytest.raises(RunBlocked, match="undefined_name"):
            result(engine)
        engine.handle("o").move().wait()
        assert result(engine) == "old first"


def test_which_builds_have_open_runs_is_counted(address: str):
    left_asleep(address)
    with Engine(address, [alike, note], build="tuesday") as engine:
        engine.run(alike(0), id="p").wait()
        engine.run(alike(0), id="q", versioning="auto").wait()
        rows = {(row.build, row.pinned): (row.runs, row.open) for row in engine.store.admin.builds()}

    assert rows == {("monday", True): (1, 1), ("tuesday", True): (1, 0), ("tuesday", False): (1, 0)}


def test_the_next_attempt_of_a_pinned_run_is_pinned_to_the_build_that_begins_it(address: str):
    @workflow(name="order", versioning="pinned", retry=2)
    async def failing() -> None:
        raise ValueError("no")

    with Engine(address, [failing], build="monday") as engine:
        with pytest.raises(RunFailed):
            engine.run(failing(), id="o").wait()
        rows = engine.list().wait()

    assert [(row.id, row.pinned) for row in rows] == [("o", "monday")] * 2


@pytest.mark.parametrize("build", ["", " x", 5, "x" * 101, "a\nb"])
def test_a_build_has_a_name(build: Any):
    with pytest.raises(DefinitionError, match="a build is named by a text of 1 to 100 printable characters"):
        Engine("memory://", [old], build=build)


def test_versioning_is_one_of_two_words():
    with pytest.raises(DefinitionError, match=r'versioning is "auto" .* or "pinned"'):
        workflow(versioning="both")(old.fn)  # type: ignore[call-overload]
    with Engine("memory://", [old, note]) as engine, pytest.raises(DefinitionError, match="not 'never'"):
        engine.start(old(1), versioning="never").wait()  # type: ignore[arg-type]


def approving(answer: str, heard: str = "approve", versioning: Any = "pinned") -> Any:
    """The code of a build: what it says when it has heard a signal of that name."""

    @workflow(name="order", versioning=versioning)
    class Approving:
        def __init__(self) -> None:
            self.heard: list[str] = []

        @workflow.run
        async def run(self) -> str:
            await wait_until(lambda: bool(self.heard))
            return f"{answer} {self.heard[0]}"

        @workflow.signal(name=heard)
        async def hear(self, by: str) -> None:
            self.heard.append(by)

        @workflow.update
        async def raise_to(self, amount: int) -> int:
            return amount

        @workflow.query
        def waits(self) -> bool:
            return not self.heard

    return Approving


def begun(address: str, code: Any, build: str = "monday") -> None:
    with Engine(address, [code, note], build=build) as engine:
        engine.start(code.run(), id="o").wait()
        while engine.handle("o").describe().wait().status != "waiting":
            pass


def seen(client: Any) -> tuple[str, Any]:
    description = client.handle("o").describe().wait()
    return description.status, description.block


def test_a_run_that_is_pinned_to_another_build_is_as_it_was_after_a_question_a_refused_update_or_a_retry(address: str):
    begun(address, approving("old code heard"))
    with Engine(address, [approving("new code heard")], build="tuesday") as engine, Client(address) as client:
        handle = engine.handle("o")
        for asked in (
            handle.query("waits"),
            handle.update("raise_to", 5),
            client.handle("o").query("waits"),
            client.handle("o").update("raise_to", 5),
            client.handle("o").retry(),
        ):
            with pytest.raises(
                RunPinned, match="run 'o' waits for build monday of order, to which it is pinned"
            ) as told:
                asked.wait()
            assert "the engine has build tuesday" in str(told.value)
            assert "start an engine with that code" in str(told.value)
            assert seen(client) == ("waiting", None)
    with Engine(address, [approving("old code heard")], build="monday") as engine:
        assert engine.handle("o").query("waits").wait() is True


def test_a_signal_to_a_run_of_another_build_waits_for_that_and_is_not_judged_by_the_code_at_hand(address: str):
    begun(address, approving("old code heard", heard="approve"))
    with Engine(address, [approving("new code heard", heard="agree")], build="tuesday"), Client(address) as client:
        client.handle("o").signal("approve", "Ada").wait()
        assert seen(client)[0] == "blocked"
    with Engine(address, [approving("old code heard")], build="monday") as engine:
        assert result(engine) == "old code heard Ada"


def test_a_move_that_is_refused_leaves_a_run_as_it_was(address: str):
    left_asleep(address)
    with Engine(address, [different, note], build="tuesday"), Client(address) as client:
        with pytest.raises(ReplayFailed):
            client.handle("o").move().wait()
        assert seen(client) == ("waiting", None)


def test_a_question_does_not_block_a_run_whose_history_the_code_does_not_fit(address: str):
    @workflow(name="order")
    class Diverges:
        @workflow.run
        async def run(self) -> str:
            return await note("something else")

        @workflow.query
        def waits(self) -> bool:
            return True

    begun(address, approving("", versioning="auto"))
    with Engine(address, [Diverges, note]) as engine, Client(address) as client:
        with pytest.raises(
            QueryFailed, match="run 'o' cannot be asked: the code at hand does not do what its history has"
        ):
            engine.handle("o").query("waits").wait()
        assert seen(client) == ("waiting", None)


def test_a_question_to_a_run_whose_workflow_is_not_there_is_refused_and_leaves_it_as_it_was(address: str):
    begun(address, approving("", versioning="auto"))
    with Engine(address, [note]), Client(address) as client:
        with pytest.raises(UnknownWorkflow, match="the engine was not given the workflow 'order'"):
            client.handle("o").query("waits").wait()
        assert seen(client) == ("waiting", None)


def test_a_question_that_the_engine_cannot_ask_is_not_the_runs_fault(address: str, monkeypatch: pytest.MonkeyPatch):
    begun(address, approving(""))
    with Engine(address, [approving("")], build="monday") as engine, Client(address) as client:
        monkeypatch.setattr(Programs, "check_message", lambda *args: 1 / 0)
        with pytest.raises(QueryFailed, match=r"run .o. could not be asked: ZeroDivisionError"):
            engine.handle("o").query("waits").wait()
        assert seen(client) == ("waiting", None)


def test_a_result_from_outside_is_judged_by_the_build_the_run_is_pinned_to(address: str):
    tokens: list[str] = []

    def asking(kind: type) -> list[Any]:
        @activity(name="ask")
        async def ask() -> kind:  # type: ignore[valid-type]
            tokens.append(activity.token())
            activity.complete_later()

        @workflow(name="order", versioning="pinned")
        async def asks() -> str:
            return f"heard {await ask()}"

        return [asks, ask]

    old_code = asking(str)
    with Engine(address, old_code, build="monday") as engine:
        engine.start(old_code[0](), id="o").wait()
        while not tokens:
            pass
    with Engine(address, asking(int), build="tuesday"), Client(address) as client:
        client.attempt(tokens[0]).complete("yes").wait()
        assert seen(client)[0] == "blocked"
    with Engine(address, old_code, build="monday") as engine:
        assert result(engine) == "heard yes"
