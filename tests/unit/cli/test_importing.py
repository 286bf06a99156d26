"""`perdure import`: exports back into a database."""

import json
from pathlib import Path

import pytest

from perdure import Engine, activity, sleep, workflow
from tests.unit.cli.conftest import Perdure


@activity
async def step() -> None: ...


@workflow
async def order(pause: float) -> str:
    await step()
    await sleep(pause)
    return "done"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, perdure: Perdure) -> Path:
    """Exports of a run that has ended and of one that sleeps, and an empty database."""
    monkeypatch.chdir(tmp_path)
    with Engine("sqlite:///from.db", [order, step]) as engine:
        engine.run(order(0), id="ended").wait()
        engine.start(order(3600), id="asleep").wait()
        while engine.handle("asleep").describe().wait().status != "waiting":
            pass
    perdure("export", "--all", "-q", "-o", "h/", "--db", "from.db")
    perdure("migrate", "--db", "to.db")
    return tmp_path


def test_a_folder_is_imported_and_again_without_any_change(folder: Path, perdure: Perdure):
    said = perdure("import", "h", "--store", "to.db")
    again = perdure("import", "h", "--store", "sqlite:///to.db", "--json=id,fate")

    assert said.code == 0
    assert said.out.splitlines() == ["✓ completed  ended  order  4 events", "⚑ blocked  asleep  order  4 events"]
    assert "2 of 2 runs imported" in said.err
    assert json.loads(again.out) == [{"id": "ended", "fate": "there"}, {"id": "asleep", "fate": "there"}]
    shown = perdure("show", "asleep", "--db", "to.db").out
    assert "where it was waiting" in shown
    assert "perdure retry asleep" in shown


def test_an_id_in_use_is_refused_with_a_way_out(folder: Path, perdure: Perdure):
    with Engine("sqlite:///to.db", [order, step]) as engine:
        engine.run(order(0), id="ended").wait()
    said = perdure("import", "h", "--store", "to.db")
    with_new = perdure("import", "h", "--store", "to.db", "--new-ids", "-q")

    assert said.code == 1
    assert "the id 'ended' belongs to another run" in said.err
    assert "--new-ids" in said.err
    assert with_new.code == 0
    assert [line.partition("~")[0] for line in with_new.out.splitlines()] == ["ended", "asleep"]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [(None, 4, "no such file"), ("{}", 1, "is no exported run"), ("{", 1, "is cut off"), ("", 1, "is empty")],
)
def test_what_is_no_export_is_refused_and_nothing_is_imported(
    folder: Path, perdure: Perdure, content: str | None, code: int, words: str
):
    if content is not None:
        (folder / "bad.json").write_text(content)
    said = perdure("import", "h", "bad.json", "--store", "to.db")

    assert said.code == code
    assert words in said.err
    assert perdure("list", "--db", "to.db", "-q").out == ""


def test_a_redacted_run_is_refused(folder: Path, perdure: Perdure):
    perdure("export", "ended", "--redact", "-o", "redacted.json", "--db", "from.db")
    said = perdure("import", "redacted.json", "--store", "to.db")

    assert said.code == 1
    assert "export it without --redact" in said.err
