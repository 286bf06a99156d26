"""Several runs of an id, one after the other: who gets it, who is refused, and who finds which."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    DefinitionError,
    Engine,
    RunExists,
    RunFailed,
    RunNotFound,
    RunTerminated,
    activity,
    workflow,
)
from perdure.client import verbs
from perdure.client.verbs import Verbs
from perdure.stores.memory import MemoryStore, Shelf


@activity
async def echo(text: str) -> str:
    if text == "broken":
        raise activity.NonRetryable("broken")
    return text


@workflow
async def say(text: str) -> str:
    return await echo(text)


@workflow
async def wait_long(text: str) -> str:
    await workflow.sleep("1h")
    return text


@workflow
async def other() -> None: ...


ALL = [say, wait_long, other, echo]
WAYS = ["engine", "client"]


@pytest.fixture(params=WAYS)
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Verbs]:
    """An engine, asked directly, or by a client through the database."""
    with ExitStack() as stack:
        engine = stack.enter_context(Engine(f"sqlite:///{tmp_path}/runs.db", ALL))
        yield engine if request.param == "engine" else stack.enter_context(Client(engine.store))


def start(runs: Verbs, name: str, text: str, **options: Any) -> Any:
    return runs.start(name, [text], id="a", **options).wait()


def run(runs: Verbs, name: str, text: str, **options: Any) -> Any:
    return runs.run(name, [text], id="a", **options).wait()


def test_a_start_of_an_open_id_attaches_if_it_asks_for_that_whatever_its_arguments(runs: Verbs):
    first = start(runs, "wait_long", "x")

    second = start(runs, "wait_long", "y", id_conflict="use_existing")

    assert second.run_id == first.run_id
    assert runs.count().wait() == 1


def test_a_start_of_another_workflow_does_not_attach_even_if_it_asks_for_that(runs: Verbs):
    start(runs, "wait_long", "x")

    with pytest.raises(RunExists, match="belongs to a run of workflow wait_long, and this start is of other"):
        runs.start("other", id="a", id_conflict="use_existing").wait()


def test_a_start_of_an_open_id_is_refused_if_it_asks_for_that_even_the_same_start(runs: Verbs):
    start(runs, "wait_long", "x")

    with pytest.raises(RunExists) as refused:
        start(runs, "wait_long", "x", id_conflict="fail")

    assert str(refused.value) == (
        "the id 'a' belongs to a run that is waiting, and this start says id_conflict=\"fail\"; wait for its end, choose "
        'another id, or say id_conflict="use_existing" or "terminate_existing"'
    )


def test_a_start_can_end_the_open_run_of_its_id_and_begin_in_its_stead(runs: Verbs):
    first = start(runs, "wait_long", "x")

    result = run(runs, "say", "y", id_conflict="terminate_existing")

    assert result == "y"
    with pytest.raises(RunTerminated, match="a new run of the same id was started in its stead"):
        first.result().wait()
    assert [(row.workflow, row.status) for row in runs.list().wait()] == [
        ("say", "completed"),
        ("wait_long", "terminated"),
    ]


def test_what_can_end_an_open_run_begins_at_once_where_there_is_none(runs: Verbs):
    assert run(runs, "say", "x", id_conflict="terminate_existing") == "x"
    assert run(runs, "say", "x", id_conflict="terminate_existing", id_reuse="allow_duplicate") == "x"
    assert runs.count().wait() == 2


@pytest.mark.parametrize(
    ("first", "id_reuse", "count"),
    [
        ("fine", "allow_duplicate", 2),
        ("broken", "allow_duplicate", 2),
        ("broken", "allow_duplicate_failed_only", 2),
        ("fine", None, 1),
    ],
)
def test_an_id_whose_run_has_ended_can_be_used_again(runs: Verbs, first: str, id_reuse: Any, count: int):
    start(runs, "say", first)
    with suppress(RunFailed):
        runs.handle("a").result().wait()

    again = start(runs, "say", first, id_reuse=id_reuse)

    assert runs.count().wait() == count
    assert again.describe().wait().id == "a"


@pytest.mark.parametrize("id_reuse", ["allow_duplicate_failed_only", "reject_duplicate"])
def test_an_id_whose_run_has_completed_is_refused_if_the_start_asks_for_that(runs: Verbs, id_reuse: Any):
    run(runs, "say", "x")

    with pytest.raises(RunExists) as refused:
        start(runs, "say", "x", id_reuse=id_reuse)

    assert str(refused.value) == (
        f"the id 'a' belongs to a run that is completed, and this start says id_reuse=\"{id_reuse}\"; choose another id, "
        'or say id_reuse="allow_duplicate"'
    )
    assert runs.count().wait() == 1


def test_a_policy_for_ended_runs_says_nothing_of_open_ones_and_the_other_way_round(runs: Verbs):
    first = start(runs, "wait_long", "x")
    attached = start(runs, "wait_long", "x", id_reuse="allow_duplicate")
    first.terminate().wait()

    with pytest.raises(RunTerminated):
        run(runs, "wait_long", "x", id_conflict="terminate_existing")

    assert attached.run_id == first.run_id


def test_a_handle_of_an_id_is_about_the_newest_run_and_one_of_a_start_about_its_own(runs: Verbs):
    first = start(runs, "say", "x")
    first.result().wait()
    second = start(runs, "say", "y", id_reuse="allow_duplicate")

    results = [handle.result().wait() for handle in (first, second, runs.handle("a"))]
    certain = runs.handle("a", run_id=first.run_id)

    assert results == ["x", "y", "y"]
    assert (certain.result().wait(), certain.describe().wait().run_id) == ("x", first.run_id)
    assert runs.handle("a").run_id is None


def test_a_run_id_that_the_id_does_not_have_is_not_found(runs: Verbs):
    start(runs, "say", "x")

    with pytest.raises(RunNotFound, match=f"there is no run 'a' with run_id {'0' * 32} in sqlite:"):
        runs.handle("a", run_id="0" * 32).describe().wait()


@pytest.mark.parametrize("policy", [{}, {"id_conflict": "fail"}, {"id_reuse": "allow_duplicate"}])
def test_the_same_request_made_twice_gets_the_same_run_whatever_the_policies(runs: Verbs, policy: dict[str, Any]):
    first = start(runs, "wait_long", "x", request_id="r-1")

    open_still = start(runs, "wait_long", "x", request_id="r-1", **policy)
    first.terminate().wait()
    closed = start(runs, "wait_long", "x", request_id="r-1", **policy)

    assert {first.run_id, open_still.run_id, closed.run_id} == {first.run_id}
    assert runs.count().wait() == 1


def test_a_request_finds_its_run_even_when_others_have_followed_it(runs: Verbs):
    first = start(runs, "say", "x", request_id="r-1")
    first.result().wait()
    start(runs, "say", "y", request_id="r-2", id_reuse="allow_duplicate").result().wait()

    again = start(runs, "say", "x", request_id="r-1", id_reuse="allow_duplicate")

    assert (again.run_id, again.result().wait()) == (first.run_id, "x")
    assert runs.count().wait() == 2


def test_other_requests_are_other_starts(runs: Verbs):
    run(runs, "say", "x", request_id="r-1")

    run(runs, "say", "x", request_id="r-2", id_reuse="allow_duplicate")

    assert runs.count().wait() == 2


async def test_of_many_starts_at_once_that_may_follow_an_ended_run_one_does_and_the_others_attach(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        await engine.run("say", ["x"], id="a")
        answers = [engine.start("wait_long", ["y"], id="a", id_reuse="allow_duplicate") for _ in range(10)]
        answers += [client.start("wait_long", ["y"], id="a", id_reuse="allow_duplicate") for _ in range(10)]

        handles = await asyncio.gather(*answers)

        assert len({handle.run_id for handle in handles}) == 1
        assert await engine.count() == 2


async def test_of_many_starts_at_once_that_end_the_open_run_the_last_one_stays(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        answers = [engine.start("wait_long", [str(n)], id="a", id_conflict="terminate_existing") for n in range(10)]
        answers += [client.start("wait_long", [str(n)], id="a", id_conflict="terminate_existing") for n in range(10)]

        handles = await asyncio.gather(*answers)

        assert len({handle.run_id for handle in handles}) == 20
        assert await engine.count(status="terminated") == 19
        (last,) = await engine.list(status="waiting")
        assert (await engine.handle("a").describe()).run_id == last.run_id


def test_a_run_is_ended_by_a_start_that_was_made_while_no_engine_ran(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, ALL) as engine:
        first = engine.start(wait_long("x"), id="a").wait()
    with Client(address) as client:
        second = client.start("say", ["y"], id="a", id_conflict="terminate_existing").wait()
        before = [(row.run_id, row.status) for row in client.list().wait()]
        newest = client.handle("a").describe().wait().run_id

    with Engine(address, ALL) as engine:
        assert engine.handle("a", run_id=second.run_id).result().wait() == "y"
        after = [(row.run_id, row.status) for row in engine.list().wait()]
        result = engine.handle("a").result().wait()

    assert before == [(second.run_id, "queued"), (first.run_id, "waiting")]
    assert newest == first.run_id
    assert after == [(second.run_id, "completed"), (first.run_id, "terminated")]
    assert result == "y"


def test_a_start_that_was_to_end_a_run_and_is_ended_before_leaves_that_run_alone():
    shelf = Shelf()
    with Engine(MemoryStore(shelf=shelf), ALL) as engine:
        first = engine.start(wait_long("x"), id="a").wait()
    with Client(MemoryStore(shelf=shelf)) as client:
        second = client.start("say", ["y"], id="a", id_conflict="terminate_existing").wait()
        second.terminate("changed my mind").wait()
    shelf.mail = dict(reversed(shelf.mail.items()))  # the start is read last

    with Engine(MemoryStore(shelf=shelf), ALL) as engine:
        with pytest.raises(RunTerminated, match="changed my mind"):
            engine.handle("a", run_id=second.run_id).result().wait()
        described = engine.handle("a", run_id=second.run_id).describe().wait()

        assert described.input == ["y"]
        assert engine.handle("a").describe().wait().run_id == first.run_id
        assert engine.handle("a").describe().wait().status == "waiting"


def test_bad_arguments_of_a_start_that_would_end_the_open_run_leave_that_run_alone(tmp_path: Path):
    with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        first = engine.start(wait_long("x"), id="a").wait()

        with pytest.raises(Exception, match="argument text: expected str, found 5"):
            client.start("say", [5], id="a", id_conflict="terminate_existing").wait()

        assert [(row.run_id, row.status) for row in engine.list().wait()] == [(first.run_id, "waiting")]


def test_bad_arguments_of_a_start_that_follows_an_ended_run_leave_that_run_the_newest(tmp_path: Path):
    with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        engine.run(say("x"), id="a").wait()

        with pytest.raises(Exception, match="argument text: expected str, found 5"):
            client.start("say", [5], id="a", id_reuse="allow_duplicate").wait()

        assert engine.handle("a").result().wait() == "x"
        assert engine.run(say("y"), id="a", id_reuse="allow_duplicate").wait() == "y"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown option": ({"id_reus": "allow_duplicate"}, "a start has no option 'id_reus'; did you mean id_reuse?"),
    "an unknown policy": (
        {"id_conflict": "terminate"},
        'id_conflict is one of "use_existing", "fail", "terminate_existing", or None, not \'terminate\'',
    ),
    "a policy of the other kind": ({"id_reuse": "fail"}, 'id_reuse is one of "allow_duplicate"'),
    "a contradiction": (
        {"id_conflict": "terminate_existing", "id_reuse": "reject_duplicate"},
        'id_conflict="terminate_existing" and id_reuse="reject_duplicate" contradict each other',
    ),
    "an empty request": ({"request_id": ""}, "request_id is a text of 1 to 200 printable characters, not ''"),
    "a request that is no text": ({"request_id": 7}, "request_id is a text of 1 to 200 printable characters, not 7"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("verb", ["start", "run"])
def test_options_that_make_no_sense_are_refused_before_anything_happens(what: str, verb: str):
    options, message = BAD[what]
    with Engine("memory://", ALL) as engine:
        ask: Callable[..., Any] = getattr(engine, verb)
        with pytest.raises(DefinitionError) as refused:
            ask(say("x"), **options).wait()

        assert message in str(refused.value)
        assert engine.count().wait() == 0


def test_a_run_id_is_thirty_two_hex_digits():
    with Engine("memory://", ALL) as engine, pytest.raises(DefinitionError, match="a run_id has 32 hex digits"):
        engine.handle("a", run_id="first")


@pytest.mark.parametrize("shared", [False, True], ids=["one owner", "several"])
def test_an_id_that_was_drawn_and_that_a_run_has_is_found_to_be_taken(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not looked up before: the store refuses it."""
    monkeypatch.setattr(verbs, "new_id", lambda: bytes(16))
    with Engine(MemoryStore(Shelf(shared=shared)), ALL) as engine:
        first = engine.start(wait_long("a")).wait()
        second = engine.start(wait_long("a")).wait()

        assert second.run_id == first.run_id
        with pytest.raises(RunExists):
            engine.start(wait_long("a"), id_conflict="fail").wait()
        assert [run.id for run in engine.list().wait()] == ["wait_long-0000000000000000"]
