"""`perdure doctor`: what it finds, and what it advises."""

import json
from pathlib import Path

from perdure.stores.sqlite import migrations
from tests.unit.cli.conftest import Perdure, Said


def findings(out: str) -> dict[str, tuple[str, str]]:
    return {finding["check"]: (finding["level"], finding["remedy"]) for finding in json.loads(out)}


def test_a_database_with_its_engine_is_sound(perdure: Perdure) -> None:
    said = perdure("doctor", "--json")

    found = findings(said.out)
    assert said.code == 0
    assert [found[check][0] for check in ("versions", "journal", "file", "check", "engine")] == ["ok"] * 5


def test_runs_that_wait_for_a_person_are_pointed_at(perdure: Perdure) -> None:
    found = findings(perdure("doctor", "--json").out)

    assert found["blocked"] == ("warning", "perdure list --state blocked")
    assert found["held"] == ("warning", "perdure list --state held")


def to_look_at(said: Said) -> int:
    """How many findings are no more than that; a disk that is no disk, where the tests keep their files, is one."""
    return sum(line.startswith("! ") for line in said.out.splitlines())


def test_open_runs_without_an_engine_are_pointed_at(perdure: Perdure, unowned) -> None:
    said = perdure("doctor")

    assert "! no engine holds it, and 7 runs are open   → start your program\n" in said.out
    assert said.err == f"0 broken, {to_look_at(said)} to look at\n"
    assert to_look_at(said) >= 3


def test_a_database_that_is_not_there_is_broken(perdure: Perdure, tmp_path: Path) -> None:
    said = perdure("doctor", "--db", str(tmp_path / "none.db"))

    assert said.code == 1
    assert "does not exist (chosen by --db)" in said.out


def test_a_file_that_is_no_database_is_said_once(perdure: Perdure, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("buy milk")

    said = perdure("doctor", "--db", str(tmp_path / "notes.db"))

    assert said.code == 1
    assert said.out.count("✗") == 1
    assert said.err == f"1 broken, {to_look_at(said)} to look at\n"


def test_a_clock_behind_what_is_recorded_is_broken(perdure: Perdure, store) -> None:
    from tests.unit.cli import corpus

    late = corpus.Story(100, "from-the-future", "process_order", -4_000_000_000.0)
    late.write(store)

    assert findings(perdure("doctor", "--json").out)["clock"][0] == "broken"


def test_the_probe_of_the_disk_leaves_nothing_behind(perdure: Perdure, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    perdure("doctor")

    assert {path.name for path in tmp_path.iterdir()} <= before | {"runs.db-wal", "runs.db-shm"}


def test_an_old_schema_is_pointed_at_and_is_no_damage(perdure: Perdure, unowned, monkeypatch) -> None:
    known = migrations.schema()
    newer = [*known, migrations.Migration(len(known) + 1, "next", "CREATE TABLE extra (a);\n")]
    monkeypatch.setattr(migrations, "schema", lambda: newer)

    said = perdure("doctor", "--json")

    assert said.code == 0
    assert findings(said.out)["schema"] == (
        "warning",
        "perdure migrate  brings it up to date, and so does an engine",
    )
