"""`perdure builds` and `perdure move`: what is pinned to which build, and letting it go on."""

import json
from pathlib import Path

import pytest

from perdure import Engine, activity, patched, sleep, workflow
from tests.unit.cli.conftest import Perdure


@activity
async def step() -> None: ...


@workflow(versioning="pinned")
async def pinned(pause: float) -> None:
    await step()
    await sleep(pause)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, perdure: Perdure) -> Path:
    """A database with a build that has an open run, and one that has none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERDURE_DB", "builds.db")
    for build, pause in (("monday", 3600), ("tuesday", 0)):
        with Engine("sqlite:///builds.db", [pinned, step], build=build) as engine:
            engine.start(pinned(pause), id=build).wait()
            while engine.handle(build).describe().wait().status not in ("waiting", "completed"):
                pass
    return tmp_path


def test_builds_are_listed_with_their_open_runs_and_those_without_are_drained(folder: Path, perdure: Perdure):
    said = perdure("builds")
    rows = [line.split("\t") for line in said.out.splitlines()]
    found = json.loads(perdure("builds", "--json=build,open,pinned,runs,drained").out)

    assert said.code == 0
    assert rows[0] == ["BUILD", "OPEN", "PINNED", "RUNS", "LAST BEGAN", "STATE"]
    assert [row[0] for row in rows[1:]] == ["tuesday", "monday"]
    assert [row[-1] for row in rows[1:]] == ["drained", "open"]
    assert found[1] == {"build": "monday", "open": 1, "pinned": 1, "runs": 1, "drained": False}
    assert perdure("builds", "-q").out == "monday\n"


def test_the_engines_build_is_listed_whatever_has_begun_with_it(folder: Path, perdure: Perdure):
    for build, began in (("wednesday", "never"), ("tuesday", "")):
        with Engine("sqlite:///builds.db", [pinned, step], build=build):
            rows = {line.split("\t")[0]: line.split("\t")[1:] for line in perdure("builds").out.splitlines()}
            (found,) = [each for each in json.loads(perdure("builds", "--json").out) if each["build"] == build]

        assert rows[build][-1] == "an engine's"
        assert began in rows[build][3]
        assert (found["drained"], found["owner"], found["open"]) == (False, True, 0)
    assert rows["monday"][-1] == "open"


def test_doctor_tells_which_runs_the_engine_cannot_go_on_with(folder: Path, perdure: Perdure):
    assert "1 open run is pinned to build monday" in perdure("doctor").out
    with Engine("sqlite:///builds.db", [pinned, step], build="wednesday"):
        said = perdure("doctor")

    assert "! 1 open run is pinned to build monday, and the engine has wednesday" in said.out
    assert "perdure move RUN" in said.out


def test_doctor_tells_how_many_open_runs_have_not_passed_a_change(tmp_path: Path, perdure: Perdure):
    @workflow(name="order")
    async def before(pause: float) -> None:
        await sleep(pause)

    @workflow(name="order")
    async def changed(pause: float) -> None:
        patched("gift wrap")
        await sleep(pause)

    address = f"sqlite:///{tmp_path}/changes.db"
    for code, count in ((before, 3), (changed, 2)):
        with Engine(address, [code]) as engine:
            for n in range(count):
                engine.start(code(3600), id=f"{code.fn.__name__}-{n}").wait()
    said = perdure("doctor", "--db", address)

    assert (
        "change 'gift wrap' of order: 3 open runs have not passed it, or went the old way; 2 go the new way" in said.out
    )


def test_a_run_is_moved_and_moving_it_again_is_no_error(folder: Path, perdure: Perdure):
    with Engine("sqlite:///builds.db", [pinned, step], build="wednesday"):
        first, again = perdure("move", "monday"), perdure("move", "monday")
        done = perdure("move", "tuesday")

    assert (first.code, first.out) == (0, "monday\tdone\tmoved\n")
    assert (again.code, again.out) == (0, "monday\talready\tis pinned to build wednesday already\n")
    assert (done.code, done.out) == (0, "tuesday\talready\tis completed already\n")


def test_show_and_list_say_what_a_run_waits_for(folder: Path, perdure: Perdure):
    said = perdure("show", "monday")

    assert "pinned to build monday" in said.out
    assert json.loads(perdure("list", "--json=id,pinned", "monday").out) == [{"id": "monday", "pinned": "monday"}]
