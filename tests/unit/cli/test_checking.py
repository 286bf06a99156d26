"""`perdure check`: the question before a deploy."""

import contextlib
import importlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Client, Engine
from tests.unit.cli import orders
from tests.unit.cli.conftest import Perdure
from tests.unit.cli.test_replaying import CODE

FITS = 'paid = await charge(amount); await mail("ada"); return paid'
SWAPPED = 'await mail("ada"); return await charge(amount)'
GUARDED = 'patched("greet") and await mail("ada"); return await charge(amount)'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder: in its database two closed runs and, with `queue`, open ones; modules of good and changed code."""
    address = f"sqlite:///{tmp_path}/check.db"
    with Engine(address, [orders]) as engine:
        for n in (1, 2):
            engine.run(orders.order(n), id=f"order-{n}").wait()
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, str(tmp_path))
    for name, body in {"check_good": FITS, "check_swapped": SWAPPED, "check_guarded": GUARDED}.items():
        (tmp_path / f"{name}.py").write_text(CODE.format(body=body).replace("workflow\n", "patched, workflow\n", 1))
    (tmp_path / "check_wordy.py").write_text(
        CODE.format(body="return 1").replace("order(amount: int)", "order(amount: str)")
    )
    (tmp_path / "check_empty.py").write_text("")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("check_")]:
        del sys.modules[name]
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


def queue(number: int) -> None:
    """Open runs that nobody has taken."""
    with Client("sqlite:///check.db") as client:
        for n in range(number):
            client.start("order", [n], id=f"queued-{n}").wait()


def test_code_that_fits_is_told_in_a_line(folder: Path, perdure: Perdure):
    queue(2)
    said = perdure("check", "check_good", "--against", "check.db")

    assert said.code == 0
    assert said.out.startswith("✓ 2 open runs go on with this code, 2 closed runs looked at; 12 events, ")


def test_closed_runs_that_do_not_fit_are_told_with_line_and_hint_and_are_no_failure(folder: Path, perdure: Perdure):
    said = perdure("check", "check_swapped", "--against", "sqlite:///check.db")

    assert said.code == 0
    assert said.out.splitlines()[:6] == [
        "! 2 closed runs of order diverge",
        "    order-2, order-1; order-2 after event 1",
        "    history:  activity charge [0:1]    code:  activity mail [0:1]",
        "    at check_swapped.py:12  (the history has mail later, as event 4: did the order of the steps change?)",
        '  hint: keep the old way for old runs:  if patched("name-of-the-change"): ... else: ...',
        said.out.splitlines()[5],
    ]
    assert perdure("check", "check_swapped", "--against", "check.db", "--closed", "0").out.startswith(
        "✓ 0 open runs go on"
    )


def test_open_runs_that_would_not_go_on_are_a_failure(folder: Path, perdure: Perdure):
    queue(7)
    said = perdure("check", "check_wordy", "--against", "check.db", "--closed", "0")
    quiet = perdure("check", "check_wordy", "--against", "check.db", "-q")

    assert said.code == quiet.code == 6
    assert said.out.splitlines()[0] == "✗ 7 open runs of order have a value that can no longer be read"
    assert said.out.splitlines()[1] == "    queued-6, queued-5, queued-4 and 4 more"
    assert "the input of workflow order can no longer be read" in said.out
    assert said.out.splitlines()[-1].startswith("✗ 7 of 7 open runs would not go on with this code; 0 events, ")
    assert quiet.out.splitlines() == [f"queued-{n}" for n in (6, 5, 4, 3, 2)]


def test_json_has_findings_and_changes(folder: Path, perdure: Perdure):
    queue(1)
    report = json.loads(perdure("check", "check_wordy", "--against", "check.db", "--json").out)

    assert (report["open"], report["closed"], report["stuck"]) == (1, 2, 1)
    kinds = [(each["kind"], each["open"], each["runs"], each["workflow"]) for each in report["findings"]]
    assert kinds[0] == ("undecodable", True, 1, "order")
    assert report["patches"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["check"], 2, "MODULE"),
        (["check", "check_good", "--against", "nowhere.db"], 5, "does not exist"),
        (["check", "check_none", "--against", "check.db"], 4, "check_none"),
        (["check", "check_empty", "--against", "check.db"], 4, "has no workflow"),
        (["check", "check_goo", "--against", "check.db"], 4, "did you mean  check_good\n"),
        (["check", "check_good", "--against", " "], 2, "--against is empty"),
        (["check", "check_good", "--against", "nowhere.db"], 5, "chosen by --against"),
        (["check", "check_good", "--against", "check.db", "--codec", "check_good"], 2, "write  --codec shop.codecs"),
        (["check", "check_good", "--against", "check.db", "--codec", "check_good:z"], 4, "check_good has no 'z'"),
        (["check", "check_good", "--against", "check.db", "--codec", "check_good:charge"], 2, "a codec has a name"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    folder: Path, perdure: Perdure, arguments: list[str], code: int, words: str
):
    said = perdure(*arguments)

    assert said.code == code
    assert words in said.err


def test_one_run_is_told_as_one(folder: Path, perdure: Perdure):
    queue(1)

    said = perdure("check", "check_wordy", "--against", "check.db", "--closed", "0")

    assert said.out.splitlines()[0] == "✗ 1 open run of order has a value that can no longer be read"


RECORD = """
import dataclasses, zlib
from perdure import activity, workflow

class Zip:
    name = "zip"
    def encode(self, data): return zlib.compress(data)
    def decode(self, data): return zlib.decompress(data)

@dataclasses.dataclass
class Order:
    item: str{more}

@workflow
async def order(order: Order) -> str:
    return order.item
"""


def test_of_a_field_that_older_code_did_not_write_it_is_told_what_to_write(folder: Path, perdure: Perdure):
    (folder / "check_record.py").write_text(RECORD.replace("{more}", "\n    cents: int"))
    with Client("sqlite:///check.db") as client:
        client.start("order", [{"item": "lamp"}], id="queued").wait()

    said = perdure("check", "check_record", "--against", "check.db", "--closed", "0")

    assert said.code == 6
    assert "hint: give the new field a default:  cents: ... = ...;  or, if a field is called cents now" in said.out


def test_a_database_with_a_codec_is_checked_with_that_and_refused_without(folder: Path, perdure: Perdure):
    (folder / "check_coded.py").write_text(RECORD.replace("{more}", ""))
    module = importlib.import_module("check_coded")
    with Client("sqlite:///check.db", codec=module.Zip()) as client:
        client.start("order", [{"item": "lamp"}], id="queued").wait()

    said = perdure("check", "check_coded", "--against", "check.db", "--closed", "0", "--codec", "check_coded:Zip")
    without = perdure("check", "check_coded", "--against", "check.db", "--closed", "0")

    assert (said.code, without.code) == (0, 2)
    assert said.out.startswith("✓ 1 open run goes on with this code; ")
    assert "the database has values that a codec has written" in without.err
    assert "--codec MODULE:NAME" in without.err


def test_a_database_of_an_older_schema_is_left_as_it_is_and_a_copy_is_advised(folder: Path, perdure: Perdure):
    old = Path(__file__).parents[2] / "engine" / "databases" / "schema-3.sql"
    with contextlib.closing(sqlite3.connect("old.db")) as connection:
        connection.executescript(old.read_text())
    before = Path("old.db").read_bytes()

    said = perdure("check", "check_good", "--against", "old.db")

    assert said.code == 5
    assert "old.db has schema 3, and this version of Perdure needs" in said.err
    assert "hint: ask a copy:  sqlite3 orders.db '.backup copy.db';  perdure migrate --db copy.db" in said.err
    assert Path("old.db").read_bytes() == before


def test_what_the_code_prints_is_not_among_the_data(folder: Path, perdure: Perdure):
    quiet = RECORD.replace("{more}", "")
    (folder / "check_loud.py").write_text(quiet)
    with Engine("sqlite:///check.db", [importlib.import_module("check_loud")]) as engine:
        engine.run("order", [{"item": "lamp"}], id="loud").wait()
    del sys.modules["check_loud"]
    importlib.invalidate_caches()
    (folder / "check_loud.py").write_text(
        quiet.replace("    return o", "    print('run')\n    return o") + "print('seen')"
    )

    said = perdure("check", "check_loud", "--against", "check.db", "--json")
    replayed = perdure("replay", "loud", "-m", "check_loud", "--db", "check.db", "--json")

    assert json.loads(said.out)["closed"] == 3
    assert said.err == "seen\n"
    assert json.loads(replayed.out)[0]["verdict"] == "ok"
