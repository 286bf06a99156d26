"""Human tasks: what workflows ask people, and what people do with it."""

import ast
import asyncio
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    Engine,
    PayloadCodec,
    Retry,
    RunBlocked,
    RunFailed,
    activity,
    errors,
    task,
    workflow,
)
from perdure.client.human_view import TaskSummary
from perdure.errors import (
    AnswerMisfit,
    DefinitionError,
    EngineNotRunning,
    RunNotFound,
    TaskClaimed,
    TaskClosed,
    TaskNotAssigned,
    TaskNotFound,
)
from perdure.tasks import TaskNotice
from perdure.testing import TestEngine


@dataclass
class Decision:
    approved: bool
    limit: float = 0.0
    note: str = ""


notices: list[tuple[str, int]] = []
OPTIONS: dict[str, Any] = {}


@activity(retry=Retry(initial=0.001, max_attempts=2))
async def tell_people(notice: TaskNotice) -> None:
    notices.append((notice.kind, notice.number))
    if OPTIONS.get("unreachable"):
        raise ConnectionError("nobody listens")


@activity
async def pay(amount: float) -> str:
    return f"paid {amount:g}"


@workflow
async def loan(amount: int) -> str:
    asked = task(
        "Approve loan",
        form=Decision,
        assignees=OPTIONS.get("assignees", ()),
        due=OPTIONS.get("due"),
        remind=OPTIONS.get("remind"),
        timeout=OPTIONS.get("timeout"),
        data={"amount": amount},
        notify=OPTIONS.get("notify"),
    )
    outcome = await asked.with_actor()
    decision = outcome.value
    return f"{await pay(decision.limit)} by {outcome.by}" if decision.approved else f"refused by {outcome.by}"


@workflow
async def in_time() -> str:
    try:
        async with asyncio.timeout(3600):
            return await task("Answer", form=str)
    except TimeoutError:
        return "nobody did"


@workflow
async def confirm() -> str:
    done = await task("Ship the parcel")
    return f"done: {done}"


@workflow
async def two() -> list[bool]:
    return list(await asyncio.gather(task("First", form=bool, assignees=["ann"]), task("Second", form=bool)))


ALL = [loan, in_time, confirm, two, tell_people, pay]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    notices.clear()
    OPTIONS.clear()


@pytest.fixture(params=["memory", "sqlite"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"


async def opened(engine: Engine, id: str = "loan-1", count: int = 1) -> list[TaskSummary]:
    """The tasks of a run, once they are there."""
    while True:
        found = await engine.tasks.list(run=id)
        if len(found) == count:
            return list(found)
        await asyncio.sleep(0.002)


async def test_a_person_is_asked_and_the_answer_is_what_the_workflow_awaited(address: str):
    OPTIONS["assignees"] = ["ann", "group:credit"]
    async with Engine(address, ALL) as engine:
        handle = await engine.start(loan(500), id="loan-1")
        (asked,) = await opened(engine)
        details = await engine.tasks.get(asked.id)
        await engine.tasks.claim("loan-1/0:1", by="ann")
        (claimed,) = await engine.tasks.list(assignee="ann")
        await engine.tasks.complete("loan-1/0:1", Decision(True, 500), by="ann")

        assert (asked.id, asked.title, asked.state, asked.assignees) == (
            "loan-1/0:1",
            "Approve loan",
            "open",
            ["ann", "group:credit"],
        )
        assert details.data == {"amount": 500}
        assert (claimed.state, claimed.claimed_by) == ("claimed", "ann")
        assert await handle.result() == "paid 500 by ann"
        assert await engine.tasks.list() == []


async def test_who_did_it_is_recorded_for_good(address: str):
    async with Engine(address, ALL) as engine:
        handle = await engine.start(loan(500), id="loan-1")
        await opened(engine)
        await engine.tasks.claim("loan-1", by="bob")
        await engine.tasks.release("loan-1", by="bob")
        await engine.tasks.complete("loan-1", {"approved": False}, by="ann")
        await handle.result()

        told = [(event["type"], event.get("by")) for event in await handle.history()]
        step = (await handle.describe()).steps[0]
        closed = await engine.tasks.get("loan-1/0:1")
    assert [each for each in told if each[0].startswith("Task")] == [
        ("TaskOpened", None),
        ("TaskClaimed", "bob"),
        ("TaskReleased", "bob"),
        ("TaskCompleted", "ann"),
    ]
    assert (step.kind, step.name, step.state) == ("human task", "Approve loan", "completed")
    assert step.task is not None
    assert step.task.completed_by == "ann"
    assert (step.input, step.result) == ({"amount": 500}, {"approved": False})
    assert (closed.state, closed.completed_by, closed.answer) == ("completed", "ann", {"approved": False})


async def test_what_nobody_may_do_is_refused_by_name_and_changes_nothing():
    OPTIONS["assignees"] = ["ann", "group:credit"]
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(loan(500), id="loan-1")
        await opened(engine)

        with pytest.raises(TaskNotAssigned, match="is for ann or group:credit, and not for bob"):
            await engine.tasks.claim("loan-1", by="bob")
        await engine.tasks.claim("loan-1", by="bob", groups=["credit"])
        with pytest.raises(TaskClaimed, match="is claimed by bob"):
            await engine.tasks.complete("loan-1", {"approved": True}, by="ann")
        with pytest.raises(TaskClaimed, match="ann cannot release it"):
            await engine.tasks.release("loan-1", by="ann")
        with pytest.raises(TaskNotFound, match=r"has no human task '0:7'; open: loan-1/0:1 \(Approve loan\)"):
            await engine.tasks.complete("loan-1/0:7", {"approved": True}, by="ann")
        with pytest.raises(TaskNotFound, match="there is no run 'loan-9'"):
            await engine.tasks.claim("loan-9/0:1", by="ann")
        with pytest.raises(RunNotFound):
            await engine.tasks.list(run="loan-9")

        kinds = [event["type"] for event in await handle.history()]
        assert kinds == ["RunStarted", "TaskOpened", "TaskClaimed"]
        await engine.tasks.complete("loan-1", {"approved": False}, by="ann", force=True)
        assert await handle.result() == "refused by ann"
        with pytest.raises(TaskClosed, match="ann has completed it"):
            await engine.tasks.complete("loan-1/0:1", {"approved": True}, by="bob")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"approved": "yes"}, "field approved: expected true or false, found 'yes'"),
        ({}, "field approved: expected true or false, found nothing"),
        ({"approved": True, "notes": ""}, "there is no field notes; did you mean note?"),
        (None, "expected an object with approved, limit, note, found None"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_and_leaves_no_event(answer: Any, wrong: str):
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(loan(500), id="loan-1")
        await opened(engine)

        with pytest.raises(AnswerMisfit) as refused:
            await engine.tasks.complete("loan-1", answer, by="ann")

        assert str(refused.value).startswith(f"the answer to task 'Approve loan' does not fit its form: {wrong}")
        assert refused.value.wrong
        assert [event["type"] for event in await handle.history()] == ["RunStarted", "TaskOpened"]


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(f"{self.number} is odd")


@workflow
async def even() -> int:
    return (await task("An even number", form=Even)).number


async def test_what_only_the_code_knows_is_checked_by_the_owner_before_it_is_accepted(address: str):
    async with Engine(address, [even]) as engine:
        handle = await engine.start(even(), id="loan-1")
        await opened(engine)

        with pytest.raises(AnswerMisfit, match="3 is odd"):
            await engine.tasks.complete("loan-1", {"number": 3}, by="ann")
        assert [event["type"] for event in await handle.history()] == ["RunStarted", "TaskOpened"]
        await engine.tasks.complete("loan-1", {"number": 4}, by="ann")
        assert await handle.result() == 4


async def test_it_is_checked_after_the_program_has_left_memory(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", [even], cached_runs=1) as engine:
        handles = [await engine.start(even(), id=f"loan-{n}") for n in range(4)]
        await opened(engine, "loan-0")
        await opened(engine, "loan-3")

        with pytest.raises(AnswerMisfit, match="3 is odd"):
            await engine.tasks.complete("loan-0", {"number": 3}, by="ann")
        await engine.tasks.complete("loan-0", {"number": 2}, by="ann")
        assert await handles[0].result() == 2


async def test_the_same_request_succeeds_though_it_was_heard_between_the_look_and_the_word(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    async with Engine(address, ALL) as engine:
        handle = await engine.start(loan(500), id="loan-1")
        await opened(engine)
        look, looks = engine.store.views.human.one, []

        def overtaken(run: int, step: str) -> Any:
            found = look(run, step)
            looks.append(step)
            if len(looks) == 1:
                engine.tasks.complete("loan-1/0:1", {"approved": False}, by="ann", request_id="web-17").wait()
            return found

        monkeypatch.setattr(engine.store.views.human, "one", overtaken)
        await engine.tasks.complete("loan-1/0:1", {"approved": False}, by="ann", request_id="web-17")

        await handle.result()
        assert len(looks) > 1


async def test_the_same_request_made_again_succeeds(address: str):
    async with Engine(address, ALL) as engine:
        handle = await engine.start(loan(500), id="loan-1")
        await opened(engine)
        both = [
            engine.tasks.complete("loan-1/0:1", {"approved": False}, by="ann", request_id="web-17") for _ in range(2)
        ]
        await asyncio.gather(*both)
        await handle.result()
        await engine.tasks.complete("loan-1/0:1", {"approved": False}, by="ann", request_id="web-17")

        history = await handle.history()
        assert [event["type"] for event in history].count("TaskCompleted") == 1
        with pytest.raises(TaskClosed):
            await engine.tasks.complete("loan-1/0:1", {"approved": False}, by="ann", request_id="web-18")


async def test_of_many_who_answer_at_the_same_time_one_is_accepted_and_the_others_are_told():
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(loan(500), id="loan-1")
        await opened(engine)

        told = await asyncio.gather(
            *[engine.tasks.complete("loan-1/0:1", {"approved": False}, by=f"p{n}") for n in range(8)],
            return_exceptions=True,
        )

        assert sorted(type(each).__name__ for each in told) == ["NoneType", *["TaskClosed"] * 7]
        winner = f"p{told.index(None)}"
        assert await handle.result() == f"refused by {winner}"
        assert all(f"{winner} has completed it" in str(each) for each in told if each is not None)


async def test_a_task_without_a_form_asks_for_nothing_but_that_it_is_done():
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(confirm(), id="loan-1")
        await opened(engine)

        with pytest.raises(AnswerMisfit, match="expected null, found True"):
            await engine.tasks.complete("loan-1", True, by="ann")
        await engine.tasks.complete("loan-1", by="ann")
        assert await handle.result() == "done: None"


async def test_a_run_with_several_tasks_asks_for_the_one_that_is_meant():
    async with Engine("memory://", ALL) as engine:
        handle = await engine.start(two(), id="loan-1")
        first, second = await opened(engine, count=2)

        with pytest.raises(TaskNotFound, match=r"has several open tasks; name one of: loan-1/0.1:1 \(First\)"):
            await engine.tasks.complete("loan-1", True, by="ann")
        assert (await engine.list())[0].note == 'task "First" (ann) +1'
        await engine.tasks.complete(second.id, False, by="ann")
        await engine.tasks.complete(first.id, True, by="ann")
        assert await handle.result() == [True, False]


def test_tasks_are_found_and_answered_without_a_loop_and_from_another_client(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, ALL) as engine, Client(address) as client:
        handle = engine.start(confirm(), id="loans/17:1").wait()
        while not client.tasks.list().wait():
            pass
        assert client.tasks.get("loans/17:1").wait().title == "Ship the parcel"
        client.tasks.complete("loans/17:1/0:1", by="ann").wait()

        assert handle.result().wait() == "done: None"


def test_an_answer_that_comes_while_no_engine_runs_is_checked_by_the_form_and_taken_later(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, ALL) as engine:
        engine.start(loan(5), id="loan-1").wait()
        while not engine.tasks.list().wait():
            pass
    with Client(address) as client:
        with pytest.raises(AnswerMisfit):
            client.tasks.complete("loan-1", {"approved": 1}, by="ann").wait()
        client.tasks.complete("loan-1", {"approved": False}, by="ann").wait()
    with Engine(address, ALL) as engine:
        assert engine.handle("loan-1").result().wait() == "refused by ann"


def test_people_are_told_when_it_opens_when_they_are_reminded_and_when_it_is_overdue():
    OPTIONS.update(due="2 days", remind="1 day", notify=tell_people)
    with TestEngine(ALL) as engine:
        handle = engine.start(loan(5), id="loan-1").wait()
        engine.sleep("3 days 1h").wait()
        (asked,) = engine.tasks.list(overdue=True).wait()
        engine.tasks.complete("loan-1", Decision(False), by="ann").wait()

        assert handle.result().wait() == "refused by ann"
    assert list(dict.fromkeys(notices)) == [("opened", 0), ("reminder", 1), ("overdue", 0), ("reminder", 2)]
    assert (asked.overdue, asked.reminders) == (True, 2)
    assert asked.next_reminder_at is not None


def test_reminders_without_anybody_to_tell_are_recorded_and_shown():
    OPTIONS.update(remind="1 day")
    with TestEngine(ALL) as engine:
        handle = engine.start(loan(5), id="loan-1").wait()
        engine.sleep("2 days 1h").wait()

        kinds = [event["type"] for event in handle.history().wait()]
        assert kinds == ["RunStarted", "TaskOpened", "TaskReminded", "TaskReminded"]
        assert engine.tasks.get("loan-1").wait().reminders == 2


def test_a_notice_that_reaches_nobody_is_no_failure_of_the_run():
    OPTIONS.update(notify=tell_people, unreachable=True)
    with TestEngine(ALL) as engine:
        handle = engine.start(loan(5), id="loan-1").wait()
        engine.sleep("1m").wait()
        engine.tasks.complete("loan-1", Decision(False), by="ann").wait()

        assert handle.result().wait() == "refused by ann"
        assert [step.state for step in handle.describe().wait().steps] == ["completed", "failed"]


def test_a_notify_that_is_wrong_blocks_the_run_and_says_so():
    OPTIONS.update(notify=lambda notice: 7)
    with (
        TestEngine(ALL) as engine,
        pytest.raises(
            RunBlocked, match="the notify of task 'Approve loan' gave 7 \\(int\\); it gives a call of an activity"
        ),
    ):
        engine.run(loan(5), id="loan-1").wait()


def test_a_notify_may_choose_whom_to_tell_of_what():
    OPTIONS.update(remind="1h", notify=lambda notice: tell_people(notice) if notice.kind == "reminder" else None)
    with TestEngine(ALL) as engine:
        engine.start(loan(5), id="loan-1").wait()
        engine.sleep("1h 1m").wait()

    assert set(notices) == {("reminder", 1)}


def test_what_is_not_told_when_the_answer_comes_is_not_told_any_more():
    OPTIONS.update(notify=lambda notice: tell_people(notice).with_options(queue="nobody's"))
    with TestEngine(ALL) as engine:
        handle = engine.start(loan(5), id="loan-1").wait()
        engine.sleep("1m").wait()
        engine.tasks.complete("loan-1", Decision(True), by="ann").wait()
        handle.result().wait()

        states = {step.name: step.state for step in handle.describe().wait().steps}
        assert states == {"Approve loan": "completed", "tell_people": "cancelled", "pay": "completed"}


def test_a_timeout_closes_the_task_and_the_workflow_sees_a_timeout_error():
    OPTIONS.update(timeout="2 days", remind="1 day")
    with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed, match="nobody has completed task 'Approve loan' within its timeout of 2d"):
            engine.run(loan(5), id="loan-1").wait()

        assert engine.tasks.list().wait() == []
        assert engine.tasks.get("loan-1/0:1").wait().state == "expired"
        with pytest.raises(TaskClosed, match="its time ran out"):
            engine.tasks.complete("loan-1/0:1", Decision(True), by="ann").wait()


def test_a_wait_that_is_limited_from_outside_withdraws_the_task():
    with TestEngine(ALL) as engine:
        assert engine.run(in_time(), id="loan-1").wait() == "nobody did"
        assert engine.tasks.list().wait() == []
        assert engine.tasks.get("loan-1/0:2").wait().state == "cancelled"


def test_no_task_is_open_of_a_run_that_was_ended():
    with TestEngine(ALL) as engine:
        handle = engine.start(loan(5), id="loan-1").wait()
        assert engine.tasks.list().wait()
        handle.terminate().wait()

        assert engine.tasks.list().wait() == []
        with pytest.raises(TaskClosed, match="nobody waits for it any more"):
            engine.tasks.claim("loan-1/0:1", by="ann").wait()


def test_a_cancelled_run_withdraws_its_task():
    with TestEngine(ALL) as engine:
        handle = engine.start(in_time(), id="loan-1").wait()
        handle.cancel().wait()
        with pytest.raises(errors.RunCancelled):
            handle.result().wait()

        assert "TaskWithdrawn" in [event["type"] for event in handle.history().wait()]
        assert engine.tasks.list().wait() == []


mended: list[bool] = []


@workflow
async def buggy() -> str:
    pending = asyncio.ensure_future(task("Answer", form=str))
    await asyncio.sleep(1)
    if not mended:
        raise NameError("a bug")
    return await pending


def test_a_blocked_run_keeps_answers_for_later_and_takes_no_claims():
    mended.clear()
    with TestEngine([buggy]) as engine:
        with pytest.raises(RunBlocked):
            engine.run(buggy(), id="loan-1").wait()
        with pytest.raises(RunBlocked, match=r"its tasks can be completed only; .*perdure retry loan-1"):
            engine.tasks.claim("loan-1", by="ann").wait()
        engine.tasks.complete("loan-1", "yes", by="ann").wait()
        mended.append(True)
        engine.handle("loan-1").retry().wait()

        assert engine.handle("loan-1").result().wait() == "yes"


class Backwards:
    name = "backwards"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


async def test_a_codec_sees_data_and_answers_and_nobody_else_does(tmp_path: Path):
    path = tmp_path / "runs.db"
    codec: PayloadCodec = Backwards()
    async with Engine(f"sqlite:///{path}", ALL, codec=codec) as engine:
        handle = await engine.start(loan(5), id="loan-1")
        await opened(engine)
        with Client(f"sqlite:///{path}", codec=codec) as client:
            assert (await client.tasks.get("loan-1")).data == {"amount": 5}
            await client.tasks.complete("loan-1", Decision(False, note="a secret" * 20_000), by="ann")
        assert await handle.result() == "refused by ann"
        assert (await engine.tasks.get("loan-1/0:1")).answer["note"].startswith("a secret")
    stored = path.read_bytes()
    assert b'{"amount":5}' not in stored
    assert b"a secret" not in stored


async def test_large_data_and_large_answers_are_kept_apart(address: str):
    async with Engine(address, ALL) as engine:
        handle = await engine.start(loan(5), id="loan-1")
        await opened(engine)
        with pytest.raises(AnswerMisfit):
            await engine.tasks.complete("loan-1", {"approved": 1, "note": "x" * 200_000}, by="ann")
        await engine.tasks.complete("loan-1", Decision(False, note="x" * 200_000), by="ann")
        await handle.result()

        assert len((await engine.tasks.get("loan-1/0:1")).answer["note"]) == 200_000


async def test_a_result_that_is_too_large_is_refused():
    async with Engine("memory://", ALL, payload_max_bytes=2_000) as engine:
        await engine.start(loan(5), id="loan-1")
        await opened(engine)

        with pytest.raises(errors.PayloadTooLarge, match=r"the answer: 3,0.. bytes are more than the limit of 2,000"):
            await engine.tasks.complete("loan-1", {"approved": True, "note": "x" * 3_000}, by="ann")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"title": ""}, "a title was expected, found ''"),
        ({"title": "x" * 201}, "a title has at most 200 printable characters"),
        ({"title": "a\nb"}, "printable characters in one line"),
        ({"title": 7}, "a title was expected, found 7"),
        ({"due": 0}, "task 'T': due must be longer than nothing, not 0"),
        ({"due": -1}, "task 'T': due: a duration is at least 0"),
        ({"remind": 0}, "task 'T': remind must be at least a second, not 0"),
        ({"remind": "10ms"}, "task 'T': remind must be at least a second, not '10ms'"),
        ({"timeout": 0}, "task 'T': timeout must be longer than nothing, not 0"),
        ({"timeout": "soon"}, "task 'T': timeout: 'soon' is not a duration"),
        ({"assignees": "ann"}, "task 'T': assignees are a list of names, as in"),
        ({"assignees": [""]}, "task 'T': an assignee is a name such as"),
        ({"assignees": [7]}, "task 'T': an assignee is a name such as .*, not 7"),
        ({"assignees": 7}, "task 'T': assignees are a list of names"),
        ({"assignees": [f"p{n}" for n in range(51)]}, "task 'T': 51 assignees, and at most 50 may be named"),
        ({"form": type(print)}, "task 'T': the form"),
        ({"data": object()}, "task 'T': the data: "),
        ({"data": "x" * 300_000}, "task 'T': its data has 300,002 bytes; at most 262,144 are shown"),
        ({"notify": 7}, "task 'T': notify is an activity or a function, not 7"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused_where_it_is_written(wrong: dict[str, Any], message: str):
    with pytest.raises(DefinitionError, match=message):
        task(**{"title": "T", **wrong})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tasks: tasks.claim("loan-1", by=""), "by is a name of 1 to 200"),
        (lambda tasks: tasks.complete("loan-1", by=None), "by is a name of 1 to 200"),
        (lambda tasks: tasks.complete("loan-1", by="a", groups="credit"), 'write: groups=\\["credit"\\]'),
        (lambda tasks: tasks.complete("loan-1", by="a", request_id=7), "request_id is a name"),
        (lambda tasks: tasks.get(7), "a task is named by a text"),
        (lambda tasks: tasks.get("loan-1", run_id="xyz"), "a run_id has 32 hex digits"),
        (lambda tasks: tasks.list(limit=0), "limit is a whole number from 1 on"),
        (lambda tasks: tasks.list(assignee=[7]), "assignee is a name"),
    ],
)
def test_verbs_refuse_what_makes_no_sense(call: Any, message: str):
    with TestEngine(ALL) as engine:
        engine.start(loan(5), id="loan-1").wait()

        with pytest.raises(DefinitionError, match=message):
            call(engine.tasks).wait()


def test_a_task_is_awaited_in_a_workflow_only():
    async def outside() -> None:
        await task("T")

    with pytest.raises(DefinitionError, match="was awaited where no workflow runs"):
        asyncio.run(outside())


def test_a_task_that_nobody_awaits_is_warned_of():
    with pytest.warns(RuntimeWarning, match=r"task\('T'\) was never awaited, so nobody was asked"):
        task("T")


def test_an_engine_that_is_closed_has_no_tasks():
    with TestEngine(ALL) as engine:
        tasks = engine.tasks
    with pytest.raises(EngineNotRunning):
        tasks.list().wait()


def test_a_redacted_export_tells_nobody_who_was_asked_what():
    OPTIONS["assignees"] = ["ann"]
    with TestEngine(ALL) as engine:
        handle = engine.start(loan(5), id="loan-1").wait()
        engine.tasks.claim("loan-1", by="ann").wait()
        engine.tasks.complete("loan-1", {"approved": False, "note": "poor"}, by="ann").wait()
        handle.result().wait()
        text = handle.export(redact=True).wait().to_json().decode()

    assert "ann" not in text
    assert "poor" not in text
    assert "Approve" not in text


def test_who_asks_nobody_imports_nothing_for_it():
    program = "import sys; from perdure import Client, Engine, workflow; print([m for m in sys.modules if 'human' in m and 'perdure' in m])"

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    known = {"perdure.kernel.human", "perdure.kernel.human_rows", "perdure.stores.human"}
    assert set(ast.literal_eval(shown.stdout)) <= known
