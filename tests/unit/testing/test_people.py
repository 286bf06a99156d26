"""Stand-ins for people: who answers which task, with what, after how long."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import Worker, activity, sleep, task, workflow
from perdure.errors import AnswerMisfit, DefinitionError, TaskClaimed, TaskNotAssigned, WaitedTooLong
from perdure.tasks import TaskNotice
from perdure.testing import GivenAnswer, People, TaskDetails, TestEngine, answering, crash_everywhere

START = datetime(2027, 3, 1, 9, tzinfo=UTC)


@dataclass
class Decision:
    approved: bool
    limit: int = 0


told: list[str] = []


@activity
async def tell(notice: TaskNotice) -> None:
    told.append(notice.kind)


@workflow
async def loan(name: str, amount: int) -> str:
    outcome = await task(
        f"Approve the loan of {name}",
        form=Decision,
        assignees=["ann", "group:credit"],
        remind="1 day",
        notify=tell,
        data={"amount": amount},
    ).with_actor()
    return f"{outcome.value.approved} by {outcome.by}"


@workflow
async def in_time(hours: int) -> str:
    try:
        return await task("Answer", form=str, timeout=hours * 3600)
    except TimeoutError:
        return "silence"


@workflow
async def thrice() -> list[str]:
    return [await task("Say it", form=str, assignees=["group:choir"]) for _ in range(3)]


ALL: list[Any] = [loan, in_time, thrice, tell]


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    told.clear()


def test_an_answer_by_the_title_is_all_it_takes():
    with TestEngine(ALL, people={"Approve the loan of *": Decision(True)}) as engine:
        assert engine.run(loan("Ada", 5), id="l").wait() == "True by ann"
        assert engine.people.given[0].answer == Decision(True)


def test_who_answers_what_and_after_how_long_is_told_and_recorded():
    with TestEngine(ALL, start=START) as engine:
        engine.people.answer(
            "Approve the loan of Ada", {"approved": False}, by="bob", groups=["credit"], after="2 days 3h"
        )
        assert engine.run(loan("Ada", 5), id="l").wait() == "False by bob"

        (given,) = engine.people.given
        assert (given.id, given.title, given.by) == ("l/0:1", "Approve the loan of Ada", "bob")
        assert timedelta() <= given.at - START - timedelta(days=2, hours=3) < timedelta(minutes=1)
    assert isinstance(given, GivenAnswer)
    assert told == ["opened", "reminder", "reminder"]


def test_an_answer_may_depend_on_what_is_asked():
    def decide(asked: TaskDetails) -> Decision:
        return Decision(asked.data["amount"] < 100)

    with TestEngine(ALL, people={"Approve *": decide}) as engine:
        assert engine.run(loan("Ada", 5)).wait() == "True by ann"
        assert engine.run(loan("Bob", 500)).wait() == "False by ann"


@pytest.mark.parametrize(("after", "result"), [("59m", "yes"), ("61m", "silence")])
def test_who_takes_too_long_is_too_late(after: str, result: str):
    with TestEngine(ALL) as engine:
        engine.people.answer("Answer", "yes", after=after)

        assert engine.run(in_time(1)).wait() == result
        assert len(engine.people.given) == (result == "yes")


def test_rules_are_tried_in_their_order_and_used_up():
    with TestEngine(ALL) as engine:
        engine.people.answer("Say it", "one", times=1)
        engine.people.answer("Say *", "two", times=1, by="cy", groups=["choir"])
        engine.people.answer("*", "three")

        assert engine.run(thrice()).wait() == ["one", "two", "three"]
        assert [each.by for each in engine.people.given] == ["somebody", "cy", "somebody"]


def test_a_rule_may_be_for_some_runs_and_others_are_left_to_the_test():
    with TestEngine(ALL) as engine:
        engine.people.answer("Answer", "yes", run="a-*")
        waiting = engine.start(in_time(1), id="b-1").wait()

        assert engine.run(in_time(1), id="a-1").wait() == "yes"
        assert [each.id for each in engine.tasks.list().wait()] == ["b-1/0:1"]
        engine.tasks.complete("b-1", "by hand", by="ann").wait()
        assert waiting.result().wait() == "by hand"


def test_answers_come_in_the_order_of_their_times_among_timers():
    with TestEngine(ALL, start=START) as engine:
        engine.people.answer("Answer", "late", after="5h", run="late")
        engine.people.answer("Answer", "early", after="2h", run="early")
        for id in ("late", "early"):
            engine.start(in_time(100), id=id).wait()
        engine.sleep("3h").wait()
        assert [each.answer for each in engine.people.given] == ["early"]
        engine.sleep("3h").wait()

    assert [each.answer for each in engine.people.given] == ["early", "late"]


def test_nobody_answers_while_nobody_waits():
    with TestEngine(ALL, people={"*": "yes"}) as engine:
        handle = engine.start(in_time(1), id="a").wait()
        while not engine.tasks.list().wait():
            pass
        engine.tasks.claim("a", by="dora").wait()

        assert handle.result().wait() == "yes"
        assert engine.people.given[0].by == "dora"


def test_it_works_on_the_loop_of_a_test():
    async def five() -> list[str]:
        async with TestEngine(ALL, people={"*": "yes"}) as engine:
            return await asyncio.gather(*[engine.run(in_time(1), id=f"a-{n}") for n in range(5)])

    assert asyncio.run(five()) == ["yes"] * 5


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        ({"answer": {"approved": 7}}, AnswerMisfit, "field approved: expected true or false, found 7"),
        ({"answer": Decision(True), "by": "bob"}, TaskNotAssigned, "is for ann or group:credit, and not for bob"),
        ({"answer": lambda asked: 1 // 0}, ZeroDivisionError, "division"),
    ],
)
def test_an_answer_that_is_refused_is_raised_where_the_test_waits(rule: dict[str, Any], error: Any, words: str):
    with TestEngine(ALL) as engine:
        engine.people.answer("Approve *", **rule)

        with pytest.raises(error, match=words) as raised:
            engine.run(loan("Ada", 5), id="l").wait()

        assert raised.value.__notes__ == ["(engine.people answered task l/0:1 so, as told by the rule for 'Approve *')"]
        assert [each.state for each in engine.tasks.list().wait()] == ["open"]
        with pytest.raises(error):
            engine.people.answer("Approve *", **rule)
            engine.start(loan("Bob", 5), id="m").wait()
            engine.sleep("1h").wait()


def test_somebody_else_who_has_claimed_it_is_not_passed_over():
    with TestEngine(ALL) as engine:
        engine.people.answer("Answer", "yes", by="ann")
        engine.start(in_time(1), id="a").wait()
        while not engine.tasks.list().wait():
            pass
        engine.tasks.claim("a", by="dora").wait()

        with pytest.raises(TaskClaimed, match="is claimed by dora"):
            engine.handle("a").result().wait()


def test_a_test_that_would_wait_for_people_for_ever_is_told_what_to_do():
    with TestEngine(ALL, people={"Other": 1}) as engine:
        engine._clock._stuck_seconds = 0.2
        engine.start(thrice(), id="t").wait()

        with pytest.raises(WaitedTooLong, match=r"run 't' asks people: 'Say it' \(for group:choir\)\. Say who answers"):
            engine.handle("t").result().wait()


def test_who_acts_in_time_is_not_told_so():
    @workflow
    async def pausing() -> str:
        await sleep("1 day")
        return await task("Answer", form=str)

    with TestEngine([pausing]) as engine:
        engine._clock._stuck_seconds = 0.2
        engine.people.answer("Answer", "yes", after="30 days")

        assert engine.run(pausing()).wait() == "yes"


@activity(queue="far")
def far() -> str:
    time.sleep(2.2)
    return "done"


@workflow
async def elsewhere() -> str:
    asked = asyncio.ensure_future(task("Anything else?"))
    result = await far()
    asked.cancel()
    return result


def test_a_worker_that_takes_its_time_is_not_taken_for_nobody(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    with TestEngine([elsewhere, far], store=address, queues=[]) as engine, Worker(address, [far], queues=["far"]):
        engine._clock._stuck_seconds = 0.2

        assert engine.run(elsewhere()).wait() == "done"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"title": ""}, "a title is a text, or \\* for any, not ''"),
        ({"title": 7}, "a title is a text"),
        ({"title": "a", "by": " "}, "by is the name of somebody, not ' '"),
        ({"title": "a", "groups": "credit"}, "groups is a list of names, not 'credit'"),
        ({"title": "a", "groups": [7]}, "a group has a name, not 7"),
        ({"title": "a", "times": 0}, "times is a whole number from 1 on, or None, not 0"),
        ({"title": "a", "times": True}, "times is a whole number"),
        ({"title": "a", "run": None}, "run is the id of a run"),
        ({"title": "a", "after": -1}, "a duration is at least 0"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options: dict[str, Any], words: str):
    with TestEngine(ALL) as engine, pytest.raises(DefinitionError, match=words):
        engine.people.answer(**options)
    with pytest.raises(DefinitionError, match="people= are answers by the title"):
        TestEngine(ALL, people=["yes"])  # type: ignore[arg-type]


def test_titles_stand_for_themselves_but_for_the_star():
    with TestEngine(ALL) as engine:
        assert isinstance(engine.people, People)
        engine.people.answer("Answe.", "no", after=1)
        engine.people.answer("[A]nswer", "no")
        engine.people.answer("*swer", "yes")

        assert engine.run(in_time(1)).wait() == "yes"


def test_in_crash_tests_people_answer_what_is_asked_in_any_life():
    script = answering({"Say it": lambda asked: asked.id, "Approve *": Decision(True)}, every="30h")

    report = crash_everywhere(thrice(), script=script, definitions=ALL, progress=False).wait().assert_ok()
    loans = crash_everywhere(loan("Ada", 5), script=script, definitions=ALL, progress=False).wait().assert_ok()

    assert "'crash-test/0:1', 'crash-test/0:2', 'crash-test/0:3'" in str(report)
    assert "completed with 'True by ann', 1d6h by its own clock" in str(loans)


def test_whom_nobody_answers_is_waited_for_until_the_time_of_the_run_is_over():
    report = (
        crash_everywhere(in_time(5), script=answering({"Nothing": 1}), definitions=ALL, progress=False)
        .wait()
        .assert_ok()
    )

    assert "completed with 'silence', 5h by its own clock" in str(report)


@pytest.mark.parametrize(("answers", "every"), [(["yes"], "1h"), ({}, 0), ({}, "soon")])
def test_answering_makes_sense_or_is_refused(answers: Any, every: Any):
    with pytest.raises(DefinitionError):
        answering(answers, every=every)
