"""Bad input: each has its own clear error, and touches only the run concerned."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    DefinitionError,
    Engine,
    InvalidArguments,
    RunBlocked,
    RunExists,
    RunNotFound,
    UnknownWorkflow,
    activity,
    errors,
    workflow,
)

WORKS_WITH_JSON = "has no JSON form; what works: None, bool, int"


@activity
async def double(n: int) -> int:
    return 2 * n


@activity
async def swell(size: int) -> str:
    return "x" * size


@activity
async def wrong() -> int:
    return object()  # type: ignore[return-value]


@workflow
async def doubled(n: int) -> int:
    return await double(n)


@workflow
class Doubled:
    @workflow.run
    async def run(self, n: int) -> int:
        return 2 * n


def closed(coroutine: Any) -> Any:
    coroutine.close()
    return coroutine


@workflow
async def other(n: int) -> int:
    return n


@workflow
async def pair(first: int, *, second: int = 1) -> list[int]:
    return [first, second]


@workflow
async def anything(value: Any) -> None: ...


@workflow
async def passes_text() -> int:
    return await double("x")  # type: ignore[arg-type]


@workflow
async def gives_an_object() -> Any:
    return object()


@workflow
async def gives_much(size: int) -> str:
    return "x" * size


@workflow
async def asks_for_much(size: int) -> str:
    return await swell(size)


@workflow
async def asks_for_wrong() -> int:
    return await wrong()


ALL = [doubled, other, anything, passes_text, gives_an_object, gives_much, asks_for_much, asks_for_wrong]
ALL += [double, swell, wrong]


def engine() -> Engine:
    return Engine("memory://", ALL, payload_max_bytes=2_000)


Start = Callable[[Engine], Any]
REFUSED: dict[str, tuple[Start, type[Exception], str]] = {
    "a wrong type": (
        lambda engine: engine.run(doubled("x")),  # type: ignore[arg-type]
        InvalidArguments,
        "argument n: expected int, found 'x' (str); the signature is (n: int)",
    ),
    "a wrong type by name": (
        lambda engine: engine.run("doubled", ["x"]),
        InvalidArguments,
        "argument n: expected int, found 'x' (str)",
    ),
    "a missing argument": (lambda engine: engine.run(doubled()), InvalidArguments, "missing: n"),  # type: ignore[call-arg]
    "too many arguments": (
        lambda engine: engine.run(doubled(1, 2)),  # type: ignore[call-arg]
        InvalidArguments,
        "expected at most 1 by position, found 2 arguments",
    ),
    "an unknown workflow": (
        lambda engine: engine.run("nope", [1]),
        UnknownWorkflow,
        "was not given the workflow 'nope'; it knows: anything, asks_for_much, asks_for_wrong, doubled",
    ),
    "an argument without a JSON form": (
        lambda engine: engine.run(anything(object())),
        errors.PayloadNotEncodable,
        WORKS_WITH_JSON,
    ),
    "an argument that is too large": (
        lambda engine: engine.run(anything("x" * 3_000)),
        errors.PayloadTooLarge,
        "the arguments of workflow anything: 3,004 bytes are more than the limit of 2,000; "
        "store them elsewhere and pass a reference, or raise the limit: Engine(payload_max_bytes=...)",
    ),
    "an activity": (
        lambda engine: engine.run(double(1)),
        DefinitionError,
        "'double' is an activity; start a workflow that awaits it, or await it directly",
    ),
    "a definition that is not called": (
        lambda engine: engine.run(doubled),  # type: ignore[call-overload]
        DefinitionError,
        "doubled is the workflow itself; call it: doubled(...)",
    ),
    "an object of a workflow class": (
        lambda engine: engine.run(Doubled()),  # type: ignore[call-overload]
        DefinitionError,
        "; write: Doubled.run(...)",
    ),
    "a coroutine": (
        lambda engine: engine.run(closed(doubled.fn(1))),  # type: ignore[call-overload]
        DefinitionError,
        "; is @workflow missing?",
    ),
    "arguments beside a call": (
        lambda engine: engine.run(doubled(1), [2]),  # type: ignore[call-overload]
        InvalidArguments,
        "doubled(1) has its arguments, and was given more beside it: [2]; write them into the call",
    ),
    "arguments that are no list": (
        lambda engine: engine.run("doubled", 1),  # type: ignore[call-overload]
        InvalidArguments,
        "arguments are a list by position and a dict by name, not 1 and {}",
    ),
    "an empty id": (
        lambda engine: engine.run(doubled(1), id=""),
        DefinitionError,
        "an id is a text of 1 to 200 characters, not ''",
    ),
    "an id that is too long": (
        lambda engine: engine.run(doubled(1), id="x" * 201),
        DefinitionError,
        "has 201 characters; at most 200 are allowed",
    ),
    "an id that is no text": (
        lambda engine: engine.run(doubled(1), id=7),  # type: ignore[call-overload]
        DefinitionError,
        "an id is a text of 1 to 200 characters, not 7",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_start_is_refused_before_anything_happens_with(what: str):
    start, kind, message = REFUSED[what]
    with engine() as opened:
        with pytest.raises(kind) as refused:
            start(opened).wait()

        assert message in str(refused.value)
        assert opened.count().wait() == 0


@pytest.mark.parametrize("make", [lambda store: Engine(store, [doubled, double]), Client], ids=["engine", "client"])
def test_a_path_is_no_address(make: Callable[[Any], Any]):
    with pytest.raises(DefinitionError) as refused:
        make(Path("orders.db"))

    assert 'named by its address, such as "sqlite:///orders.db", not by PosixPath' in str(refused.value)


def test_arguments_by_name_and_by_position_go_together_with_a_workflow_the_engine_knows():
    with Engine("memory://", [pair]) as opened:
        result = opened.run("pair", [1], {"second": 2}).wait()

    assert result == [1, 2]


def test_a_workflow_that_was_defined_anew_is_not_taken_for_the_one_the_engine_has():
    @workflow(name="doubled")
    async def doubled_anew(n: int) -> int:
        return await double(n) + 1

    with engine() as opened:
        with pytest.raises(DefinitionError) as refused:
            opened.run(doubled_anew(1)).wait()

        assert "this engine was given another workflow 'doubled': that at " in str(refused.value)
        assert str(refused.value).endswith("; make a new engine with it")


@pytest.mark.parametrize("ask", ["await", "wait"])
def test_a_workflow_that_asks_an_engine_is_blocked_before_anything_happens(ask: str):
    @workflow
    async def asks() -> int:
        answer = opened.run(doubled(1))
        return await answer if ask == "await" else answer.wait()

    with Engine("memory://", [asks, doubled, double]) as opened:
        with pytest.raises(RunBlocked) as blocked:
            opened.run(asks()).wait()

        assert "run(...) cannot be awaited in a workflow: the answer is not recorded" in str(blocked.value)
        assert opened.count().wait() == 1


def test_an_id_of_another_workflow_is_refused():
    with engine() as opened:
        opened.run(doubled(1), id="a").wait()

        with pytest.raises(
            RunExists, match="the id 'a' belongs to a run of workflow doubled, and this start is of other"
        ):
            opened.run(other(1), id="a").wait()


def test_an_id_with_other_arguments_is_refused_and_says_where_to_see_them():
    with engine() as opened:
        opened.run(doubled(1), id="a").wait()

        with pytest.raises(
            RunExists, match=r"with other arguments \(see them with: perdure show a\); choose another id"
        ):
            opened.run(doubled(2), id="a").wait()


def test_the_same_start_again_gives_the_result_that_is_kept():
    with engine() as opened:
        opened.run(doubled(1), id="a").wait()

        assert opened.run(doubled(1), id="a").wait() == 2
        assert opened.count().wait() == 1


@pytest.mark.parametrize("verb", ["result", "cancel", "terminate", "retry", "describe", "history"])
def test_an_unknown_run_is_named_with_the_place_where_it_is_not(verb: str):
    with engine() as opened, pytest.raises(RunNotFound, match="there is no run 'nobody' in memory://"):
        getattr(opened.handle("nobody"), verb)().wait()


@pytest.mark.parametrize("verb", ["cancel", "terminate", "retry"])
def test_a_run_that_has_ended_takes_no_message(verb: str):
    with engine() as opened:
        opened.run(doubled(1), id="a").wait()

        with pytest.raises(errors.RunClosed, match="run 'a' is completed already"):
            getattr(opened.handle("a"), verb)().wait()


BLOCKING: dict[str, tuple[Any, str]] = {
    "a call whose arguments do not fit": (
        lambda: passes_text(),
        "is blocked at {here}: InvalidArguments: activity double ({here}): argument n: expected int, found 'x' (str)",
    ),
    "a result without a JSON form": (lambda: gives_an_object(), WORKS_WITH_JSON),
    "a result that is too large": (
        lambda: gives_much(3_000),
        "PayloadTooLarge: the result of workflow gives_much: 3,002 bytes are more than the limit of 2,000",
    ),
    "an activity's result that is too large": (
        lambda: asks_for_much(3_000),
        "is held by a bug in activity swell: PayloadTooLarge: the result of activity swell: 3,002 bytes",
    ),
    "an activity's result of another type": (
        lambda: asks_for_wrong(),
        "is held by a bug in activity wrong: PayloadNotEncodable: activity wrong ({here}): the result: expected int",
    ),
}


@pytest.mark.parametrize("what", BLOCKING)
def test_a_run_waits_for_mended_code_with(what: str):
    call, message = BLOCKING[what]
    with engine() as opened:
        with pytest.raises(RunBlocked) as blocked:
            opened.run(call(), id="bad").wait()

        text = _without_lines(str(blocked.value))
        assert message.format(here=__file__) in text
        assert opened.run(doubled(4), id="good").wait() == 8


def _without_lines(text: str) -> str:
    """Line numbers of this file change with every edit."""
    head, *parts = text.split(f"{__file__}:")
    return head + "".join(__file__ + part.lstrip("0123456789") for part in parts)


def older() -> list[Any]:
    @activity
    async def first() -> str:
        return "text"

    return [first, waiting_after(first)]


def newer() -> list[Any]:
    @activity
    async def first() -> int:
        return 1

    return [first, waiting_after(first)]


def mended() -> list[Any]:
    @activity
    async def first() -> int | str:
        return 2

    return [first, waiting_after(first)]


def waiting_after(first: Any) -> Any:
    @workflow
    async def waits() -> None:
        await first()
        await asyncio.sleep(3600)

    return waits


def test_a_result_that_no_longer_decodes_blocks_the_run_until_the_type_reads_what_older_code_wrote(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, older()) as engine:
        engine.start("waits", id="w").wait()
    with Engine(address, newer()) as engine:
        engine.handle("w").cancel().wait()
        with pytest.raises(RunBlocked) as blocked:
            engine.handle("w").result().wait()
    with Engine(address, mended()) as engine, pytest.raises(errors.RunCancelled):
        engine.handle("w").result().wait()

    assert "the result of activity first [0:1] can no longer be read" in str(blocked.value)
    assert "expected int, found 'text' (str)" in str(blocked.value)
    assert "hint: mend the type hint, or let the type read what older code wrote" in str(blocked.value)


def test_arguments_that_a_client_without_code_sent_wrongly_come_back_to_it():
    with engine() as opened, Client(opened.store) as client:
        with pytest.raises(InvalidArguments, match="argument n: expected int, found 'x'"):
            client.run("doubled", ["x"], id="bad").wait()

        assert opened.count().wait() == 0
