"""`perdure replay`: a determinism check for people and for CI."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from perdure import Engine
from perdure.cli.junit import document
from perdure.cli.replaying import FIELDS, Judged
from perdure.client.replaying import Verdict
from perdure.kernel.events import Block
from tests.unit.cli import orders
from tests.unit.cli.conftest import Perdure

CODE = """
from perdure import activity, workflow

@activity
async def charge(amount: int) -> int: ...

@activity
async def mail(to: str) -> None: ...

@workflow
async def order(amount: int) -> int:
    {body}
"""
LINE = 12
FITS = 'paid = await charge(amount); await mail("ada"); return paid'
SWAPPED = 'await mail("ada"); return await charge(amount)'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store, address: str, perdure: Perdure) -> Iterator[Path]:
    """A working folder with two runs in its database, their exports in h/, and modules of good and of changed code."""
    store.admin.close()
    with Engine(address, [orders]) as engine:
        for n in (1, 2):
            engine.run(orders.order(n), id=f"order-{n}").wait()
    monkeypatch.chdir(tmp_path)
    for name, body in {"replay_good": FITS, "replay_swapped": SWAPPED, "replay_buggy": "amount.nothing"}.items():
        (tmp_path / f"{name}.py").write_text(CODE.format(body=body))
    (tmp_path / "replay_empty.py").write_text("")
    perdure("export", "order-1", "order-2", "-q", "-o", "h/")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("replay_")]:
        del sys.modules[name]
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


def summary(out: str) -> str:
    """The last line, without the time."""
    return out.splitlines()[-1].rpartition(", ")[0]


@pytest.mark.parametrize(
    "sources",
    [["order-1", "order-2"], ["h/order-1.json", "h/order-2.json"], ["h"], ["h/"], ["h/order-1.json", "order-2"],
     ["--workflow", "order"]],
)  # fmt: skip
def test_code_that_does_what_the_histories_have_is_good(perdure: Perdure, folder: Path, sources) -> None:
    said = perdure("replay", *sources, "--module", "replay_good")

    assert (said.code, said.err) == (0, "")
    assert summary(said.out) == "✓ 2 histories replayed, 12 events"


def test_code_that_does_otherwise_is_told_with_its_line_and_what_to_do(perdure: Perdure, folder: Path) -> None:
    said = perdure("replay", "h", "-m", "replay_swapped")

    assert said.code == 6
    assert said.out.splitlines()[:4] == [
        "✗ h/order-1.json diverges after event 1",
        "    history:  activity charge [0:1]    code:  activity mail [0:1]",
        f"    at replay_swapped.py:{LINE}  (the history has mail later, as event 4: did the order of the steps change?)",
        '  hint: keep the old way for old runs:  if patched("name-of-the-change"): ... else: ...',
    ]
    assert summary(said.out) == "✗ 2 of 2 histories failed, 12 events"


def test_a_module_may_be_a_file_and_there_may_be_several(perdure: Perdure, folder: Path) -> None:
    (folder / "replay_part.py").write_text("from replay_good import charge, mail\n")

    assert perdure("replay", "h", "-m", "./replay_good.py", "-m", "replay_part").code == 0


def test_a_pipe_brings_ids_or_exported_runs(perdure: Perdure, folder: Path) -> None:
    runs = perdure("export", "order-1", "order-2").out

    by_id = perdure("replay", "-", "-m", "replay_good", stdin="order-1\torder\norder-2\n")
    whole = perdure("replay", "-", "-m", "replay_good", stdin=runs)
    bad = perdure("replay", "-", "-q", "-m", "replay_swapped", stdin=runs)

    assert summary(by_id.out) == summary(whole.out) == "✓ 2 histories replayed, 12 events"
    assert bad.code == 6
    assert bad.out == "standard input:1\nstandard input:2\n"


def test_a_history_among_many_in_a_file_is_named_by_its_id_too(perdure: Perdure, folder: Path) -> None:
    perdure("export", "order-1", "order-2", "-o", "all.ndjson")

    said = perdure("replay", "all.ndjson", "-m", "replay_swapped")

    assert said.out.startswith("✗ all.ndjson:1 (order-1) diverges after event 1\n")


def test_json_has_a_record_for_each_history(perdure: Perdure, folder: Path) -> None:
    said = perdure("replay", "order-1", "h/order-2.json", "-m", "replay_swapped", "--json")

    file, run = json.loads(said.out)
    assert said.code == 6
    assert tuple(run) == FIELDS
    assert (file["name"], run["name"], run["verdict"], run["after"]) == ("h/order-2.json", "order-1", "divergence", 1)
    assert (run["recorded"], run["produced"]) == ("activity charge [0:1]", "activity mail [0:1]")
    assert run["source"] == f"{folder}/replay_swapped.py:{LINE}"


def test_a_bug_is_told_as_one(perdure: Perdure, folder: Path) -> None:
    said = perdure("replay", "order-1", "-m", "replay_buggy")

    assert said.code == 6
    assert said.out.startswith(
        "✗ order-1 meets a bug after event 1\n    AttributeError: 'int' object has no attribute 'nothing'\n"
    )


def test_a_workflow_that_is_not_here_has_an_exit_code_of_its_own(perdure: Perdure, folder: Path) -> None:
    said = perdure("replay", "order-1", "order-48390", "-m", "replay_good")

    assert said.code == 4
    assert "✗ order-48390 is of a workflow that is not here\n    'process_order' was not given; there are: order\n" in (
        said.out
    )
    assert summary(said.out) == "✗ 1 of 2 histories failed, 17 events"


def test_what_cannot_be_read_does_not_hide_what_diverges(perdure: Perdure, folder: Path) -> None:
    (folder / "h" / "bad.json").write_text("{")
    unreadable = perdure("replay", "h", "-m", "replay_good")
    both = perdure("replay", "h", "-m", "replay_swapped")

    assert (unreadable.code, both.code) == (1, 6)
    assert "✗ h/bad.json cannot be replayed\n    is cut off after 1 bytes: it is no whole JSON document\n" in (
        unreadable.out
    )


def test_a_redacted_run_is_refused_with_what_to_do(perdure: Perdure, folder: Path) -> None:
    perdure("export", "order-1", "--redact", "-o", "redacted.json")

    said = perdure("replay", "redacted.json", "-m", "replay_good")

    assert said.code == 1
    assert "its values are redacted" in said.out and "hint: export it without --redact" in said.out


def test_junit_is_written_beside_the_report(perdure: Perdure, folder: Path) -> None:
    (folder / "h" / "bad.json").write_text("{")
    perdure("replay", "h", "-m", "replay_swapped", "--junit", "report.xml")

    suite = ElementTree.parse(folder / "report.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "2", "1")
    error, first, _ = suite
    assert (error.get("name"), error[0].tag) == ("h/bad.json", "error")
    assert (first.get("classname"), first[0].get("type")) == ("order", "divergence")
    assert "history:  activity charge [0:1]" in str(first[0].text)


def test_junit_holds_no_character_that_xml_forbids() -> None:
    block = Block("bug", "", "a\x00b\x1b[31m & <c> \ud800")

    text = document("replay", [Judged(Verdict("na\x07me", block=block), 0.1)])

    assert "a\ufffdb\ufffd[31m & <c> \ufffd" in str(ElementTree.fromstring(text)[0][0].text)


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["order-1"], 2, "missing option '-m' / '--module'"),
        (["-m", "replay_good"], 2, "which runs?"),
        (["order-1", "--state", "failed", "-m", "replay_good"], 2, "runs are named, and a filter is given"),
        (["order-1", "-m", "replay_none"], 4, "there is no module 'replay_none'"),
        (["order-1", "-m", "replay_empty"], 4, "replay_empty has no workflow"),
        (["nowhere", "-m", "replay_good"], 4, "there is no run 'nowhere'"),
        (["nowhere.json", "-m", "replay_good"], 4,
         "nowhere.json: there is no such file; export a run with: perdure export RUN -o nowhere.json"),
        (["empty/", "-m", "replay_good"], 4, "empty: there are no exported runs in this folder (files that end with "
                                             ".json, .jsonl, .ndjson)"),
        (["h", "-m", "replay_good", "--junit", "no/x.xml"], 2, "--junit no/x.xml cannot be written"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(perdure: Perdure, folder: Path, arguments, code, error) -> None:
    (folder / "empty").mkdir()

    said = perdure("replay", *arguments)

    assert said.code == code
    assert said.err.splitlines()[0] == f"error: {error}"


def test_files_need_no_database(perdure: Perdure, folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("PERDURE_DB", "sqlite:///none.db")

    assert perdure("replay", "h", "-m", "replay_good").code == 0


def test_a_filter_that_keeps_nothing_says_so(perdure: Perdure, folder: Path) -> None:
    said = perdure("replay", "--state", "quarantined", "-m", "replay_good")

    assert said == (0, "", "no run fits, nothing was replayed\n")


def test_names_cannot_move_the_cursor(perdure: Perdure, folder: Path) -> None:
    (folder / "h" / "a\x1b[2Jb.json").write_text("{")

    assert "\x1b" not in perdure("replay", "h", "-m", "replay_good").out


def test_a_run_whose_values_are_encoded_is_replayed_with_the_codec(perdure: Perdure, folder: Path) -> None:
    code = CODE.format(body="return amount") + ENCODED
    (folder / "replay_coded.py").write_text(code)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("replay_coded")
    with Engine("sqlite:///coded.db", [module.order], codec=module.Zip()) as engine:
        engine.run(module.order(3), id="coded").wait()

    said = perdure("replay", "coded", "-m", "replay_coded", "--db", "coded.db", "--codec", "replay_coded:Zip")
    without = perdure("replay", "coded", "-m", "replay_coded", "--db", "coded.db")

    assert (said.code, without.code) == (0, 6)
    assert "--codec MODULE:NAME" in without.err


ENCODED = """

class Zip:
    name = "zip"
    def encode(self, data): return data[::-1]
    def decode(self, data): return data[::-1]
"""
