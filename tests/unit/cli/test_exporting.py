"""`perdure export`: one run or many, into a file, a folder or a pipe."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure import Client, Engine, activity, stream, workflow
from perdure.client.export import read_export
from perdure.client.export_files import file_name
from tests.unit.cli.conftest import Perdure

FAILED = "etl-2026-11-22"


def test_one_run_is_a_document_on_standard_output(perdure: Perdure) -> None:
    said = perdure("export", FAILED)

    assert (said.code, said.err) == (0, "")
    assert read_export(said.out.encode()).id == FAILED
    assert said.out.count("\n") > 10


def test_several_are_a_document_per_line(perdure: Perdure) -> None:
    said = perdure("export", "--state", "closed")

    ids = [read_export(line.encode()).id for line in said.out.splitlines()]
    assert ids == perdure("list", "-q", "--state", "closed").out.splitlines()


def test_ids_are_read_from_a_pipe(perdure: Perdure) -> None:
    said = perdure("export", "-", stdin=f"{FAILED}\norder-48390\tprocess_order\n")

    assert [json.loads(line)["run"]["id"] for line in said.out.splitlines()] == [FAILED, "order-48390"]


def test_a_file_is_written_whole(perdure: Perdure, tmp_path: Path) -> None:
    target = tmp_path / "run.json"
    target.write_text("what was there before")

    said = perdure("export", "etl", "-o", str(target))

    assert said.code == 0
    assert said.out == f"{target}\n"
    assert said.err.startswith(f"{target}  1 run, ") and said.err.endswith(" KB\n")
    assert read_export(target.read_bytes()).id == FAILED
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_gets_a_file_for_each_run(perdure: Perdure, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "failures"

    said = perdure("export", "--state", "failed,cancelled", "-o", f"{folder}/")

    assert said.code == 0
    assert sorted(said.out.splitlines()) == sorted(str(path) for path in folder.iterdir())
    assert {read_export(path.read_bytes()).id for path in folder.iterdir()} == {FAILED, "order-48111"}


def test_several_runs_into_a_file_are_a_document_per_line(perdure: Perdure, tmp_path: Path) -> None:
    perdure("export", "--all", "-o", str(tmp_path / "all.ndjson"))

    lines = (tmp_path / "all.ndjson").read_bytes().splitlines()
    assert len(lines) == 12
    assert len({read_export(line).id for line in lines}) == 12


def test_quiet_says_nothing(perdure: Perdure, tmp_path: Path) -> None:
    assert perdure("export", FAILED, "-q", "-o", str(tmp_path / "a.json")) == (0, "", "")


def test_a_terminal_is_told_what_was_written(perdure: Perdure, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    said = perdure("export", "--state", "closed", "-o", f"{tmp_path}/h/", "--color", "never")

    assert said.out.startswith(f"✓ {tmp_path}/h/  5 runs, ")
    assert said.err == ""


def test_what_is_redacted_says_so_itself(perdure: Perdure) -> None:
    said = perdure("export", "order-48390", "--redact")

    assert json.loads(said.out)["redacted"] is True
    assert "acct-7" not in said.out


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ([], 2, "which runs?"),
        ([FAILED, "--state", "failed"], 2, "runs are named, and a filter is given"),
        (["--state", "faild"], 2, "there is no state 'faild'"),
        (["no-such-run"], 4, "there is no run 'no-such-run'"),
        (["--workflow", "proces_order"], 4, "no run of a workflow 'proces_order'"),
        ([FAILED, "--run-id", "ffffffff"], 4, f"no run of '{FAILED}' has a run_id that begins with 'ffffffff'"),
        (["--all", "--run-id", "ff"], 2, "--run-id is about one id"),
        ([FAILED, "--format", "temporal"], 2, "invalid value for '--format': 'temporal' is not 'perdure'"),
    ],
)
def test_what_makes_no_sense_is_refused(perdure: Perdure, arguments, code, error) -> None:
    said = perdure("export", *arguments)

    assert (said.code, said.out) == (code, "")
    assert said.err.splitlines()[0] == f"error: {error}"


def test_a_filter_that_keeps_nothing_writes_nothing(perdure: Perdure, tmp_path: Path) -> None:
    said = perdure("export", "--state", "quarantined", "-o", str(tmp_path / "none.json"))

    assert said == (0, "", "no run fits, nothing was written\n")
    assert not (tmp_path / "none.json").exists()


def test_a_folder_that_is_not_there_is_named(perdure: Perdure, tmp_path: Path) -> None:
    said = perdure("export", FAILED, "-o", str(tmp_path / "no" / "run.json"))

    assert said.code == 1
    assert "run.json cannot be written\n  No such file or directory\n" in said.err
    assert f"hint: make the folder first:  mkdir -p {tmp_path}/no" in said.err


def test_a_file_in_the_way_of_a_folder_is_named(perdure: Perdure, tmp_path: Path) -> None:
    (tmp_path / "h").write_text("")

    said = perdure("export", FAILED, "-o", f"{tmp_path}/h/")

    assert said.code == 1
    assert "cannot be written" in said.err and "Traceback" not in said.err


def test_a_device_is_written_to(perdure: Perdure) -> None:
    assert perdure("export", FAILED, "-o", os.devnull).code == 0


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("order-1", "order-1.json"),
        ("order 1+@x", "order 1+@x.json"),
        ("a/b", "a%2Fb.json"),
        ("../etc/passwd", "%2E.%2Fetc%2Fpasswd.json"),
        (".hidden", "%2Ehidden.json"),
        ("Größe", "Gr%C3%B6%C3%9Fe.json"),
        ("a\\b:c*", "a%5Cb%3Ac%2A.json"),
    ],
)
def test_any_id_makes_a_safe_name(id: str, name: str) -> None:
    assert file_name(id) == name


def test_long_ids_make_names_that_differ_and_fit() -> None:
    names = {file_name("ö" * 199 + end) for end in "ab"}

    assert len(names) == 2
    assert all(len(name.encode()) < 255 for name in names)


def test_an_exported_run_is_shown_like_one_of_the_database(perdure: Perdure, tmp_path: Path) -> None:
    perdure("export", FAILED, "-o", str(tmp_path / "run.json"))

    for how in ([], ["--events"], ["--logs"], ["--json"], ["--events", "--json"]):
        assert perdure("show", str(tmp_path / "run.json"), *how) == perdure("show", FAILED, *how)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_text(""), "is empty"),
        (lambda path: path.write_text('{"name": "left-pad"}'), "is no exported run"),
    ],
)
def test_a_file_that_cannot_be_shown_says_why(perdure: Perdure, tmp_path: Path, make, error) -> None:
    make(tmp_path / "x.json")

    said = perdure("show", str(tmp_path / "x.json"))

    assert said.code in (1, 4)
    assert error in said.err


def test_a_file_of_several_runs_is_not_shown(perdure: Perdure, tmp_path: Path) -> None:
    perdure("export", "--all", "-o", str(tmp_path / "all.ndjson"))

    assert "holds 12 runs, and one is shown" in perdure("show", str(tmp_path / "all.ndjson")).err
    assert "a file does not go on" in perdure("show", str(tmp_path / "all.ndjson"), "--follow").err


@activity
def pour(chunks: int, size: int) -> None:
    for _ in range(chunks):
        stream("water").write("x" * size)


@workflow
async def tap(chunks: int, size: int) -> None:
    stream("log").write("on")
    await pour(chunks, size)


def leaky(path: Path, chunks: int = 3, size: int = 10, runs: int = 1) -> None:
    with Engine(f"sqlite:///{path}", [tap, pour]) as engine:
        for n in range(runs):
            engine.run(tap(chunks, size), id=f"tap-{n}").wait()


def shown(path: Path) -> list[tuple[str, str, int, int]]:
    """Of each stream how many chunks it has, and how long their texts are."""
    with Client(f"sqlite:///{path}") as client:
        found = []
        for row in sorted(client.list().wait(), key=lambda row: row.id):
            handle = client.handle(row.id)
            for info in handle.streams().wait():
                texts = [chunk.value for chunk in handle.stream(info.name)]
                found.append((row.id, info.name, len(texts), sum(map(len, texts))))
        return found


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("way", ["file", "pipe", "folder", "reformatted"])
def test_streams_are_exported_and_imported(perdure: Perdure, tmp_path: Path, runs: int, way: str) -> None:
    source, target, file = tmp_path / "from.db", tmp_path / "to.db", tmp_path / "runs.json"
    leaky(source, runs=runs)
    perdure("migrate", "--db", str(target))

    if way == "folder":
        perdure("export", "--all", "-o", f"{tmp_path}/h/", "--db", str(source))
        said = perdure("import", f"{tmp_path}/h", "--db", str(target))
    elif way == "pipe":
        document = perdure("export", "--all", "--db", str(source)).out
        said = perdure("import", "-", "--db", str(target), stdin=document)
    else:
        perdure("export", "--all", "-o", str(file), "--db", str(source))
        if way == "reformatted":
            text = file.read_text()
            whole = [json.loads(text)] if runs == 1 else [json.loads(line) for line in text.splitlines()]
            file.write_text("\n".join(json.dumps(each, indent=4 if runs == 1 else None) for each in whole))
        said = perdure("import", str(file), "--db", str(target))

    assert (said.code, said.err.splitlines()[-1]) == (0, f"{runs} of {runs} runs imported")
    assert len(shown(source)) == 2 * runs
    assert shown(target) == shown(source)


def test_streams_may_be_left_out_and_then_the_import_says_what_is_missing(perdure: Perdure, tmp_path: Path) -> None:
    leaky(tmp_path / "from.db")
    perdure("migrate", "--db", str(tmp_path / "to.db"))
    document = perdure("export", "--all", "--no-streams", "--db", str(tmp_path / "from.db")).out

    said = perdure("import", "-", "--db", str(tmp_path / "to.db"), stdin=document)

    assert json.loads(document)["chunks"] == []
    assert said.code == 1
    assert "the stream 'log' should hold 1 chunks, and holds 0" in said.err
    assert "made without streams" in said.err
    assert "nothing was imported" in said.err


def test_a_redacted_export_has_nothing_of_what_was_written_to_streams(perdure: Perdure, tmp_path: Path) -> None:
    leaky(tmp_path / "from.db", size=40)

    document = json.loads(perdure("export", "tap-0", "--redact", "--db", str(tmp_path / "from.db")).out)

    assert [each["chunks"] for each in document["streams"]] == [1, 3]
    assert document["chunks"] == []
    assert "xxxx" not in json.dumps(document)


@pytest.mark.parametrize("broken", ["cut", "swapped", "other"])
def test_a_damaged_file_with_streams_is_refused_as_a_whole(perdure: Perdure, tmp_path: Path, broken: str) -> None:
    leaky(tmp_path / "from.db", chunks=3, size=300_000, runs=2)
    perdure("migrate", "--db", str(tmp_path / "to.db"))
    lines = perdure("export", "--all", "--db", str(tmp_path / "from.db")).out.splitlines()
    assert [json.loads(line)["format"].partition(".")[2] for line in lines] == ["run", *["chunks"] * 4] * 2
    lines = {
        "cut": lines[:-1],
        "swapped": [*lines[:2], lines[3], lines[2], *lines[4:]],
        "other": [lines[0], *lines[6:], lines[5], *lines[1:5]],
    }[broken]

    said = perdure("import", "-", "--db", str(tmp_path / "to.db"), stdin="\n".join(lines))

    assert said.code == 1
    words = {"cut": "should hold", "swapped": "out of order", "other": "is followed by chunks of another run"}[broken]
    assert words in said.err
    assert shown(tmp_path / "to.db") == []


MEASURE = """
import resource, sys
from perdure.cli.main import main
try:
    main()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


@pytest.mark.parametrize("runs", [1, 2], ids=["a document", "lines"])
def test_memory_does_not_grow_with_what_is_in_streams(tmp_path: Path, runs: int) -> None:
    peaks = []
    for megabytes in (1, 60):
        source, target, file = (tmp_path / f"{name}-{megabytes}" for name in ("from.db", "to.db", "run.json"))
        leaky(source, chunks=megabytes, size=1_000_000, runs=runs)
        with Engine(f"sqlite:///{target}", []):
            pass
        for words in (
            ["export", "--all", "-o", str(file), "--db", str(source)],
            ["import", str(file), "--db", str(target)],
        ):
            done = subprocess.run([sys.executable, "-c", MEASURE, *words], capture_output=True, text=True, check=True)
            peaks.append(int(done.stderr.split("peak ")[1]))
        assert file.stat().st_size > megabytes * 1_000_000 * runs
        assert shown(target) == shown(source)

    assert max(peaks[2] - peaks[0], peaks[3] - peaks[1]) < 30, peaks
