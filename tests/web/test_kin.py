"""What keeps a run waiting far below it is said where one looks: on its page, and by the command line."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Engine, sleep, start_child, workflow
from perdure.cli.main import cli
from perdure.client.kin import stuck_below
from tests.web.conftest import Web

BELOW = {"top": ["leaf"], "middle": ["leaf"], "leaf": [], "other": []}


@workflow
async def has_a_bug() -> None:
    raise NameError("oops <b>")


@workflow
async def middle() -> None:
    await has_a_bug().with_options(id="leaf")


@workflow
async def top() -> None:
    await start_child(sleeps().with_options(id="other"))
    await middle().with_options(id="middle")


@workflow
async def sleeps() -> None:
    await sleep("1 day")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(f"sqlite:///{tmp_path}/runs.db", [has_a_bug, middle, top, sleeps]) as engine:
        engine.start(sleeps(), id="by itself").wait()
        engine.start(top(), id="top").wait()
        while not engine.list(status="blocked").wait():
            pass
        yield engine


def below(engine: Engine, id: str) -> list[str]:
    row = engine.store.views.row(id)
    assert row is not None
    return [each.id for each in stuck_below(engine.store.views, row)]


def test_a_run_is_told_of_children_that_are_stuck_and_the_first_of_a_family_of_all_descendants(engine: Engine) -> None:
    assert {id: below(engine, id) for id in BELOW} == BELOW
    assert below(engine, "by itself") == []

    engine.handle("top").terminate().wait()

    assert below(engine, "top") == []


def test_the_page_says_so_and_changes_when_it_is_mended(engine: Engine) -> None:
    web = Web(engine.store)
    said = {id: " ".join(re.sub(r"<[^>]*>", " ", web.get(f"/runs/{id}").text).split()) for id in ("top", "middle")}
    before = web.get("/live?run=top").json()["parts"]

    assert "A descendant is blocked leaf NameError: oops &lt;b&gt; $ perdure show leaf" in said["top"]
    assert "Its child is blocked leaf NameError: oops &lt;b&gt; $ perdure show leaf" in said["middle"]
    engine.handle("leaf").terminate().wait()
    while below(engine, "top"):
        pass
    assert web.get("/live?run=top").json()["parts"] != before


def test_the_command_line_says_so(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli(["show", "top", "--db", engine.store.address])

    assert left.value.code == 0
    assert "has_a_bug leaf is blocked: NameError: oops <b>  → perdure show leaf" in capsys.readouterr().out
