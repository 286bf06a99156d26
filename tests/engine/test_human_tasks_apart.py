"""Human tasks over restarts, in other processes, and in runs that take another turn than to answer."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, Engine, Retry, RunFailed, activity, continue_as_new, errors, task, workflow
from perdure.errors import AnswerMisfit, TaskClosed
from perdure.tasks import TaskNotice
from perdure.testing import TestEngine, crash_everywhere

MONDAY = datetime(2027, 3, 1, 9, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


@workflow
async def ask() -> str:
    outcome = await task("Answer", form=str).with_actor()
    return f"{outcome.by}: {outcome.value}"


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


EVERYBODY = """
import json, sys
from perdure import Client, errors
address, me, verb, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
said = {}
with Client(address) as client:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(count):
        try:
            if verb == "claim":
                client.tasks.claim(f"r{n}/0:1", by=me).wait()
            else:
                client.tasks.complete(f"r{n}/0:1", f"said by {me}", by=me).wait()
            said[n] = "done"
        except errors.PerdureError as error:
            said[n] = f"{error.code}: {error}"
print(json.dumps(said))
"""


def at_once(address: str, verb: str, count: int) -> list[dict[str, str]]:
    """What three processes are told that all do the same."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EVERYBODY, address, f"p{n}", verb, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for n in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [json.loads(process.communicate(timeout=600)[0]) for process in processes]
    assert {process.returncode for process in processes} == {0}
    return told


def test_of_processes_that_claim_or_answer_at_once_one_is_accepted_and_the_others_are_told_who_it_was(address: str):
    count = 12
    with Engine(address, [ask]) as engine:
        handles = [engine.start(ask(), id=f"r{n}").wait() for n in range(count)]
        while len(engine.tasks.list().wait()) < count:
            pass

        claimed = at_once(address, "claim", count)
        answered = at_once(address, "complete", count)

        for n, handle in enumerate(handles):
            claims, answers = [told[str(n)] for told in claimed], [told[str(n)] for told in answered]
            (winner,) = [f"p{who}" for who, said in enumerate(claims) if said == "done"]
            assert answers[int(winner[1])] == "done"
            assert all(said.startswith("task-claimed") and winner in said for said in claims if said != "done")
            others = [said for said in answers if said != "done"]
            assert all(said.startswith(("task-claimed", "task-closed")) and winner in said for said in others)
            assert handle.result().wait() == f"{winner}: said by {winner}"
            told = [event["type"] for event in handle.history().wait() if event["type"].startswith("Task")]
            assert told == ["TaskOpened", "TaskClaimed", "TaskCompleted"]


notices: list[tuple[str, int]] = []


@activity
async def tell(notice: TaskNotice) -> None:
    notices.append((notice.kind, notice.number))


@workflow
async def reminded() -> str:
    return await task("Answer", form=str, due="2 days", remind="1 day", timeout="60 days", notify=tell)


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    notices.clear()


def test_after_weeks_without_an_engine_people_are_told_once_that_it_is_overdue_and_once_reminded(address: str):
    with TestEngine([reminded, tell], store=address, start=MONDAY) as engine:
        engine.start(reminded(), id="r").wait()
        engine.sleep("1h").wait()
    with TestEngine([reminded, tell], store=address, start=MONDAY + timedelta(days=30, minutes=30)) as engine:
        engine.sleep("1m").wait()
        assert notices == [("opened", 0), ("reminder", 1), ("overdue", 0)]
        (asked,) = engine.tasks.list(overdue=True).wait()
        assert asked.next_reminder_at == asked.opened_at + timedelta(days=31)
        engine.sleep("2 days").wait()
        assert notices[3:] == [("reminder", 2), ("reminder", 3)]


def test_without_a_due_time_reminders_that_were_missed_come_to_one(address: str):
    @workflow
    async def nagged() -> str:
        return await task("Answer", form=str, remind="1h", notify=tell)

    with TestEngine([nagged, tell], store=address, start=MONDAY) as engine:
        engine.start(nagged(), id="r").wait()
        engine.sleep("1m").wait()
    with TestEngine([nagged, tell], store=address, start=MONDAY + timedelta(days=30, minutes=30)) as engine:
        engine.sleep("1m").wait()

        assert notices == [("opened", 0), ("reminder", 1)]


def test_a_task_whose_time_ran_out_while_no_engine_ran_is_closed_then_and_takes_no_answer_from_before_the_start(
    address: str,
):
    with TestEngine([reminded, tell], store=address, start=MONDAY) as engine:
        engine.start(reminded(), id="r").wait()
        engine.sleep("1h").wait()
    with TestEngine([reminded, tell], store=address, start=MONDAY + timedelta(days=61)) as engine:
        with pytest.raises(RunFailed, match="nobody has completed task 'Answer'"):
            engine.handle("r").result().wait()
        assert engine.tasks.get("r/0:1").wait().state == "expired"
        with pytest.raises(TaskClosed, match="its time ran out"):
            engine.tasks.complete("r/0:1", "late", by="ann").wait()


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(f"{self.number} is odd")


@workflow
async def even() -> int:
    return (await task("An even number", form=Even)).number


def test_what_is_refused_after_an_engine_has_come_is_logged_as_nobody_waits_for_it(
    address: str, caplog: pytest.LogCaptureFixture
):
    with Engine(address, [even]) as engine:
        engine.start(even(), id="r").wait()
        while not engine.tasks.list().wait():
            pass
    with Client(address) as client:
        client.tasks.complete("r", {"number": 3}, by="ann").wait()
        client.tasks.complete("r", {"number": 4}, by="bob").wait()
        client.tasks.complete("r", {"number": 6}, by="cy").wait()
    with caplog.at_level(logging.WARNING, "perdure"), Engine(address, [even]) as engine:
        assert engine.handle("r").result().wait() == 4

    told = [record.getMessage() for record in caplog.records if "while no engine ran" in record.getMessage()]
    assert len(told) == 2
    assert "run 'r': what ann has done with a task" in told[0] and "3 is odd" in told[0]
    assert "what cy has done" in told[1] and "bob has completed it" in told[1]


@workflow
async def again(left: int) -> str:
    pending = asyncio.ensure_future(task("Answer", form=str, assignees=["ann"]))
    await asyncio.sleep(1)
    if left:
        continue_as_new(left - 1)
    return await pending


def test_a_run_that_goes_on_as_another_one_asks_anew_and_the_old_task_is_closed():
    with TestEngine([again]) as engine:
        handle = engine.start(again(1), id="r").wait()
        first = handle.run_id
        engine.sleep("5s").wait()

        (asked,) = engine.tasks.list().wait()
        assert asked.run_id != first
        with pytest.raises(TaskClosed, match="nobody waits for it any more"):
            engine.tasks.complete(asked.id, "for the first", by="ann", run_id=first).wait()
        assert engine.tasks.get(asked.id, run_id=first).wait().state == "cancelled"
        engine.tasks.complete("r", "yes", by="ann").wait()
        assert handle.result().wait() == "yes"


@workflow(retry=Retry(initial=60, max_attempts=2))
async def tried_again() -> str:
    answer = await task("Answer", form=str)
    if answer == "no":
        raise ConnectionError(answer)
    return answer


def test_a_run_that_is_tried_again_asks_anew_and_answers_of_the_first_do_not_count():
    with TestEngine([tried_again]) as engine:
        handle = engine.start(tried_again(), id="r").wait()
        engine.sleep("1s").wait()
        engine.tasks.complete("r", "no", by="ann", request_id="web-1").wait()
        engine.sleep("90s").wait()

        engine.tasks.complete("r", "yes", by="bob", request_id="web-1").wait()
        assert handle.result().wait() == "yes"


def test_times_are_instants_whatever_the_zone_of_who_asks(monkeypatch: pytest.MonkeyPatch, address: str):
    import time

    with TestEngine([reminded, tell], store=address, start=MONDAY) as engine:
        engine.start(reminded(), id="r").wait()
        engine.sleep("1m").wait()
        seen = []
        for zone in ("UTC", "America/St_Johns", "Pacific/Kiritimati"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            asked = engine.tasks.get("r").wait()
            seen.append((asked.due_at, asked.expires_at, asked.opened_at, asked.next_reminder_at))
    monkeypatch.delenv("TZ")
    time.tzset()

    assert len(set(seen)) == 1
    due = seen[0][0]
    assert due is not None and due.utcoffset() == timedelta()
    assert timedelta() <= due - MONDAY - timedelta(days=2) < timedelta(minutes=1)


@pytest.mark.parametrize("by", ["ann", "Änn Ödön", "<b>ann</b>", "ann@example.com", "7"])
def test_who_did_it_is_a_name_like_any(by: str):
    with TestEngine([ask]) as engine:
        handle = engine.start(ask(), id="r").wait()
        engine.sleep("1s").wait()
        engine.tasks.claim("r", by=by).wait()
        engine.tasks.complete("r", "x", by=by).wait()

        assert handle.result().wait() == f"{by}: x"


def test_an_answer_that_the_schema_takes_and_the_type_does_not_leaves_the_task_to_others():
    with TestEngine([even]) as engine:
        engine.start(even(), id="r").wait()
        engine.sleep("1s").wait()
        engine.tasks.claim("r", by="ann").wait()
        with pytest.raises(AnswerMisfit, match="3 is odd"):
            engine.tasks.complete("r", {"number": 3}, by="ann").wait()

        (asked,) = engine.tasks.list().wait()
        assert (asked.state, asked.claimed_by) == ("claimed", "ann")
        kinds: list[Any] = [event["type"] for event in engine.handle("r").history().wait()]
        assert "TaskCompleted" not in kinds
        with pytest.raises(errors.TaskClaimed):
            engine.tasks.complete("r", {"number": 4}, by="bob").wait()


@pytest.mark.parametrize("times", range(3))
def test_an_answer_that_was_left_before_its_time_ran_out_counts_though_no_engine_ran(address: str, times: int):
    with TestEngine([reminded, tell], store=address, start=MONDAY) as engine:
        engine.start(reminded(), id="r").wait()
        engine.sleep("1h").wait()
    with Client(address) as client:
        client.tasks.complete("r", "in time", by="ann").wait()
    with TestEngine([reminded, tell], store=address, start=MONDAY + timedelta(days=61)) as engine:
        assert engine.handle("r").result().wait() == "in time"


@workflow
async def nagging() -> str:
    asked = task("Answer", form=str, assignees=["ann"], due="36h", remind="1 day", notify=tell)
    outcome = await asked.with_actor()
    return f"{outcome.by}: {outcome.value}"


def test_wherever_the_engine_dies_each_reminder_is_recorded_once_and_people_are_told_at_least_once():
    async def decide(engine: Any, run: Any) -> None:
        """Begins anew after each crash."""
        await engine.sleep("2 days 1h")
        with contextlib.suppress(TaskClosed):  # it has answered in the life before
            await engine.tasks.claim(f"{run.id}/0:1", by="ann")
        await engine.tasks.complete(f"{run.id}/0:1", "yes", by="ann", request_id="form-1")
        await run.result()
        told = [(each["type"], each.get("kind", "")) for each in await run.history() if each["type"].startswith("Task")]
        assert told == [
            ("TaskOpened", ""),
            ("TaskReminded", "reminder"),
            ("TaskReminded", "overdue"),
            ("TaskReminded", "reminder"),
            ("TaskClaimed", ""),
            ("TaskCompleted", ""),
        ]

    report = crash_everywhere(
        nagging(),
        script=decide,
        definitions=[nagging, tell],
        state=lambda: sorted(set(notices)),
        reset=notices.clear,
        progress=False,
    ).wait()
    report.assert_ok()
    assert sorted(set(notices)) == [("opened", 0), ("overdue", 0), ("reminder", 1), ("reminder", 2)]


def test_a_claim_outlives_the_engine_and_is_nobody_elses_in_the_next(address: str):
    with Engine(address, [ask]) as engine:
        engine.start(ask(), id="r").wait()
        while not engine.tasks.list().wait():
            pass
        engine.tasks.claim("r", by="ann").wait()
    with Engine(address, [ask]) as engine:
        (asked,) = engine.tasks.list(assignee="ann").wait()
        assert asked.state == "claimed"
        with pytest.raises(errors.TaskClaimed):
            engine.tasks.complete("r", "x", by="bob").wait()
        engine.tasks.complete("r", "x", by="ann").wait()
        assert engine.handle("r").result().wait() == "ann: x"
