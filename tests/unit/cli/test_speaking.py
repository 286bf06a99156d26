"""`perdure signal`, `query` and `update` where no engine is: what is told then, and completion of names."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from perdure import channel, workflow
from perdure.client.known import heard_by
from perdure.engine import Engine
from perdure.stores.base import DefinitionRow, Store
from perdure.stores.open import open_store
from tests.unit.cli import corpus
from tests.unit.cli.conftest import Perdure

replies = channel("reply", str)


@workflow
class Loan:
    @workflow.run
    async def run(self, amount: int) -> None:
        await replies.receive()

    @workflow.signal
    def note(self, text: str) -> None: ...

    @workflow.query
    def state(self) -> str:
        return ""

    @workflow.update
    def raise_by(self, more: int, why: str = "") -> int:
        return more


@workflow(name="Loan.note")
class Confusing:
    @workflow.run
    async def run(self) -> None: ...

    @workflow.signal(dynamic=True)
    def other(self, name: str, *values: Any) -> None: ...


@workflow(name="Loan.note.")
class MoreConfusing:
    @workflow.run
    async def run(self) -> None: ...

    @workflow.signal(name="x")
    def it(self) -> None: ...


def told_by_an_engine(folder: Path) -> list[DefinitionRow]:
    with Engine(f"sqlite:///{folder / 'other.db'}", [Loan, Confusing, MoreConfusing]):
        store = open_store(f"sqlite:///{folder / 'other.db'}")
        end = time.monotonic() + 300
        while not (rows := store.views.definitions()) and time.monotonic() < end:
            time.sleep(0.01)
        store.admin.close()
    return rows


@pytest.fixture
def left(tmp_path: Path, store: Store) -> None:
    """A run that waits; an engine has told what it knows, and has gone."""
    corpus.talking().write(store)
    store.admin.publish(told_by_an_engine(tmp_path))
    store.admin.close()


def test_an_engine_publishes_what_its_workflows_hear(tmp_path: Path) -> None:
    rows = told_by_an_engine(tmp_path)

    loan, confusing, more = (heard_by(rows, name) for name in ("Loan", "Loan.note", "Loan.note."))
    assert loan is not None and confusing is not None and more is not None
    assert (loan.names("signal"), loan.names("query"), loan.names("update")) == (
        ["note", "reply"],
        ["state"],
        ["raise_by"],
    )
    assert loan.by_name["update", "raise_by"]["names"] == ["more", "why"]
    assert (confusing.names("signal"), confusing.all_names("signal"), loan.all_names("signal")) == ([], True, False)
    assert more.names("signal") == ["x"]
    assert heard_by(rows, "Other") is None


def test_a_signal_without_an_engine_waits_in_the_mail_and_says_so(perdure: Perdure, left: None) -> None:
    said = perdure("signal", "loan-7", "note", "hello")

    assert said == (0, "✓ loan-7  note: in the mail; the run hears it when an engine starts\n", "")
    newest = json.loads(perdure("show", "loan-7", "--json=messages").out)["messages"][-1]
    assert (newest["name"], newest["input"], newest["state"]) == ("note", ["hello"], "in the mail")


def test_a_signal_as_json(perdure: Perdure, left: None) -> None:
    said = perdure("signal", "loan-7", "note", "hello", "--request-id", "r-1", "--json")

    assert json.loads(said.out) == {"id": "loan-7", "name": "note", "request_id": "r-1", "state": "in the mail"}
    assert perdure("signal", "loan-7", "note", "hello", "--json=state").out == '{"state": "in the mail"}\n'
    assert perdure("signal", "loan-7", "note", "hello", "-q") == (0, "", "")


def test_an_unknown_signal_without_an_engine_is_sent_with_a_warning(perdure: Perdure, left: None) -> None:
    said = perdure("signal", "loan-7", "not", "hello")

    assert said.code == 0
    assert said.err == "workflow Loan hears no signal 'not'; it hears: note, reply\n"


@pytest.mark.parametrize("kind", ["query", "update"])
def test_an_unknown_name_is_told_with_those_there_are(perdure: Perdure, left: None, kind: str) -> None:
    said = perdure(kind, "loan-7", "note")

    names = {"query": "state", "update": "raise_by"}[kind]
    assert (said.code, said.out) == (4, "")
    assert said.err == (
        f"error: workflow Loan hears no {kind} 'note'\n"
        f"  it hears: {names}\n"
        "  'note' is a name of another kind: signal\n"
        "  hint: perdure signal loan-7 note\n"
    )


def test_a_name_that_is_nearly_right_is_guessed(perdure: Perdure, left: None) -> None:
    assert perdure("query", "loan-7", "stat").err.endswith("  hint: did you mean  perdure query loan-7 state\n")


@pytest.mark.parametrize("words", [("query", "loan-7", "state"), ("update", "loan-7", "raise_by", "5")])
def test_what_needs_an_engine_says_that_there_is_none(perdure: Perdure, left: None, words: tuple[str, ...]) -> None:
    said = perdure(*words)

    assert said.code == 5
    assert "no engine owns" in said.err


@pytest.mark.parametrize(
    ("args", "err"),
    [
        (("raise_by",), "error: update raise_by: expected more, why; missing: more\n"),
        (("raise_by", "1", "a", "b"), "expected at most 2 arguments (more, why), found 3"),
        (("raise_by", "mor=1"), "did you mean  more=..."),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent(
    perdure: Perdure, left: None, args: tuple[str, ...], err: str
) -> None:
    said = perdure("update", "loan-7", *args)

    assert said.code == 2
    assert err in said.err


@pytest.mark.parametrize("kind", ["signal", "query", "update"])
def test_no_such_run(perdure: Perdure, left: None, kind: str) -> None:
    assert perdure(kind, "loan-9", "x").code == 4


def test_a_run_that_waits_says_for_which_messages(perdure: Perdure, left: None) -> None:
    shown = perdure("show", "loan-7").out

    assert "\nwaits for a message: note, reply  → perdure signal loan-7 NAME\n" in shown


def test_names_are_completed_from_what_the_run_hears(
    perdure: Perdure, left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completed(words: str) -> list[str]:
        monkeypatch.setenv("_PERDURE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        return perdure().out.splitlines()

    assert completed("perdure signal loan-7 ") == ["plain,note", "plain,reply"]
    assert completed("perdure update loan-7 ra") == ["plain,raise_by"]
    assert completed("perdure query nobody ") == [""]
