"""`perdure task`, on a database with an engine that asks people."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from perdure import Engine, task, workflow
from perdure.stores.human import HumanFilter
from tests.unit.cli.conftest import Perdure


@dataclass
class Decision:
    approved: bool
    note: str = ""


@workflow
async def loan() -> str:
    asked = task("Approve loan", form=Decision, assignees=["ann", "group:credit"], due=0.001, data={"amount": 5})
    outcome = await asked.with_actor()
    return f"{outcome.value.approved} {outcome.value.note} by {outcome.by}"


@workflow
async def parcel() -> None:
    await task("Ship it")


@pytest.fixture
def store() -> None:
    """The corpus is not wanted here."""


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    with Engine(address, [loan, parcel, survey]) as engine:
        engine.start(loan(), id="loan-17").wait()
        engine.start(parcel(), id="parcel-1").wait()
        while True:  # until it is recorded, which comes a moment after it is so
            rows = engine.store.views.human.find(HumanFilter())
            if len(rows) == 2 and any(row.overdue for row in rows):
                break
        yield engine


pytestmark = pytest.mark.usefixtures("engine")


def test_open_tasks_are_listed_the_oldest_first(perdure: Perdure) -> None:
    said = perdure("task", "list", "--time", "iso", "--utc")

    head, first, second = said.out.splitlines()
    assert head == "STATE\tTASK\tTITLE\tFOR\tHAS IT\tDUE\tAGE"
    assert first.split("\t")[:5] == ["open, overdue", "loan-17/0:1", "Approve loan", "ann, group:credit", ""]
    assert second.split("\t")[:6] == ["open", "parcel-1/0:1", "Ship it", "anybody", "", ""]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["--assignee", "ann"], ["loan-17/0:1"]),
        (["--assignee", "bob", "--assignee", "group:credit"], ["loan-17/0:1"]),
        (["--assignee", "bob"], []),
        (["--run", "parcel"], ["parcel-1/0:1"]),
        (["--overdue"], ["loan-17/0:1"]),
        (["--limit", "1"], ["loan-17/0:1"]),
    ],
)
def test_tasks_are_filtered(perdure: Perdure, filters: list[str], ids: list[str]) -> None:
    assert perdure("task", "list", "-q", *filters).out.split() == ids


def test_nobody_to_ask_is_said(perdure: Perdure) -> None:
    assert perdure("task", "list", "--assignee", "bob").err == "nobody is asked anything that fits\n"
    assert perdure("task", "list", "--limit", "1").err == "the oldest 1: --limit shows more\n"


def test_fields_are_selected(perdure: Perdure) -> None:
    said = perdure("task", "list", "--json=id,state,assignees", "--overdue")

    assert json.loads(said.out) == [{"id": "loan-17/0:1", "state": "open", "assignees": ["ann", "group:credit"]}]
    assert perdure("task", "list", "--json=idd").code == 2


def test_a_task_is_shown_with_its_form_and_what_to_type(perdure: Perdure) -> None:
    said = perdure("task", "show", "loan-17")

    assert said.out.splitlines()[0] == "open  Approve loan  loan-17/0:1"
    assert '  data          {"amount": 5}' in said.out
    assert "  --field approved      true or false  (required)\n  --field note          a text" in said.out
    assert said.err == "perdure task complete loan-17/0:1 --field approved=... --by NAME\n"


def test_a_task_is_claimed_released_and_completed(perdure: Perdure, engine: Engine) -> None:
    assert perdure("task", "claim", "loan-17", "--by", "ann") == (0, "✓ loan-17/0:1  claimed by ann\n", "")
    refused = perdure("task", "complete", "loan-17", "--field", "approved=true", "--by", "bob")
    assert (refused.code, refused.err.splitlines()[0].partition(",")[0]) == (
        1,
        "error: task 'Approve loan' is claimed by ann",
    )
    assert perdure("task", "release", "loan-17/0:1", "--by", "ann").out == "✓ loan-17/0:1  released by ann\n"
    said = perdure(
        "task", "complete", "loan-17", "--field", "approved=true", "--field", "note=5", "--by", "bob", "--group", "credit"
    )  # fmt: skip
    assert said == (0, "✓ loan-17/0:1  completed by bob\n", "")
    assert engine.handle("loan-17").result().wait() == "True 5 by bob"


def test_what_has_become_of_it_is_told_as_json(perdure: Perdure) -> None:
    said = perdure("task", "complete", "loan-17", "--json-value", '{"approved": false}', "--by", "ann",
                   "--json=state,completed_by,answer")  # fmt: skip

    assert json.loads(said.out) == {"state": "completed", "completed_by": "ann", "answer": {"approved": False}}
    shown = perdure("task", "show", "loan-17/0:1")
    assert shown.out.startswith("completed  Approve loan  loan-17/0:1\n")
    assert "  completed by  ann\n" in shown.out


def test_a_misfit_is_told_field_by_field_with_the_form(perdure: Perdure) -> None:
    said = perdure("task", "complete", "loan-17", "--field", "aproved=true", "--field", "approved=7", "--by", "ann")

    assert said == (
        2,
        "",
        "error: the answer to task 'Approve loan' does not fit its form\n"
        "  there is no field aproved; did you mean approved?\n"
        "  field approved: expected true or false, found 7 (int)\n"
        "  the form:\n"
        "    --field approved      true or false  (required)\n"
        "    --field note          a text\n"
        "  hint: perdure task complete loan-17/0:1 --field approved=... --by NAME\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["lst"], 2, "did you mean  perdure task list"),
        (["show", "loan-18"], 4, "there is no run 'loan-18' that could have a human task"),
        (["show", "loan-17/0:9"], 4, "has no human task '0:9'; open: loan-17/0:1 (Approve loan)"),
        (["claim", "loan-17", "--by", " "], 2, "by is a name of 1 to 200"),
        (["complete", "parcel-1", "--field", "a=1"], 2, "task 'Ship it' takes no --field: it asks for nothing"),
        (["complete", "loan-17", "--json-value", "{"], 2, "--json-value is not JSON"),
        (["complete", "loan-17", "--json-value", "1", "--field", "a=1"], 2, "two ways to give the answer"),
        (["complete", "loan-17", "--field", "approved"], 2, "--field 'approved' is not name=value"),
    ],
)
def test_what_makes_no_sense_is_told_with_a_way_out(
    perdure: Perdure, arguments: list[str], code: int, message: str
) -> None:
    said = perdure("task", *arguments)

    assert said.code == code
    assert message in said.err


def test_whoever_is_refused_is_told_what_to_type(perdure: Perdure) -> None:
    foreign = perdure("task", "claim", "loan-17", "--by", "bob")
    perdure("task", "claim", "loan-17", "--by", "ann")
    taken = perdure("task", "complete", "loan-17", "--field", "approved=true", "--by", "cy")

    assert foreign.err == (
        "error: task 'Approve loan' is for ann or group:credit, and not for bob\n"
        "  hint: --group credit  for a member of that group, or  --force\n"
    )
    assert taken.err.splitlines()[1] == "  hint: --force  passes over that"


def test_a_task_named_by_its_run_is_told_to_be_closed_and_by_whom(perdure: Perdure) -> None:
    perdure("task", "complete", "loan-17", "--field", "approved=true", "--by", "bob", "--force")

    shown = perdure("task", "show", "loan-17")
    again = perdure("task", "complete", "loan-17", "--field", "approved=true", "--by", "ann")

    assert shown.out.startswith("completed  Approve loan  loan-17/0:1\n")
    assert "  completed by  bob (by force)\n" in shown.out
    assert again.code == 1
    assert "task loan-17/0:1 (Approve loan) is closed: bob has completed it" in again.err


@workflow
async def survey() -> list[object]:
    return [
        await task("How many?", form=int),
        await task("Fine?", form=bool),
        await task("Whence?", form=Origin),
    ]


@dataclass
class Origin:
    city: str = "Paris"
    size: int = 7


def test_what_to_type_fits_the_form(perdure: Perdure, engine: Engine) -> None:
    assert "answer        nothing but that it is done" in perdure("task", "show", "parcel-1").out
    assert perdure("task", "show", "parcel-1").err == "perdure task complete parcel-1/0:1 --by NAME\n"
    engine.start(survey(), id="survey").wait()
    told = []
    for n, answer in enumerate(("3", "true", "{}"), start=1):
        while not engine.tasks.list(run="survey").wait():
            pass
        told.append(perdure("task", "show", "survey"))
        wrong = perdure("task", "complete", "survey", "--json-value", "many", "--by", "ann")
        assert wrong.code == 2
        assert f"hint: perdure task complete survey/0:{n} --" in wrong.err
        assert perdure("task", "complete", "survey", "--json-value", answer, "--by", "ann").code == 0

    assert [said.err.partition("survey/")[2] for said in told] == [
        "0:1 --json-value 3 --by NAME\n",
        "0:2 --json-value true --by NAME\n",
        "0:3 --field city=... --by NAME\n",
    ]
    assert '--field city          a text  ("Paris" if it is left out)' in told[2].out
    assert "--field size          a whole number  (7 if it is left out)" in told[2].out


def test_a_task_without_a_form_needs_nothing_but_a_name(perdure: Perdure, engine: Engine, monkeypatch) -> None:
    monkeypatch.setenv("LOGNAME", "cy")

    assert perdure("task", "complete", "parcel-1").out == "✓ parcel-1/0:1  completed by cy\n"
    assert engine.handle("parcel-1").result().wait() is None


def test_a_run_shows_whom_it_waits_for_and_who_has_done_it(perdure: Perdure) -> None:
    before = perdure("show", "loan-17").out
    perdure("task", "complete", "loan-17", "--field", "approved=true", "--by", "ann")
    after = perdure("show", "loan-17").out

    assert "◔ Approve loan (ann, group:credit)" in before
    assert "waits for somebody, overdue" in before
    assert "people are asked: Approve loan  → perdure task show loan-17/0:1" in before
    assert "✓ Approve loan (ann)" in after
    assert "TaskCompleted       0:1 ann" in perdure("show", "loan-17", "--events").out


def test_a_list_of_runs_says_what_people_are_asked(perdure: Perdure) -> None:
    assert 'task "Approve loan" (ann, group:credit)' in perdure("list").out
