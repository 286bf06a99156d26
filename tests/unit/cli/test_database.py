"""Which database a command works on."""

from pathlib import Path

import pytest

from perdure.cli.database import demand, find
from perdure.cli.options import Settings
from perdure.cli.problems import USAGE, Problem
from perdure.stores.open import open_store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERDURE_DB", raising=False)
    return tmp_path


def settings(db: str | None = None) -> Settings:
    settings = Settings()
    settings.db = db
    return settings


def test_without_a_word_about_it_it_is_perdure_db_here(folder: Path) -> None:
    assert find(settings()) == ("sqlite:///perdure.db", folder / "perdure.db", "default")


def test_the_option_counts_more_than_the_environment_and_that_more_than_a_file(folder: Path, monkeypatch) -> None:
    (folder / "perdure.toml").write_text('db = "sqlite:///file.db"')
    assert find(settings()).address == "sqlite:///file.db"

    monkeypatch.setenv("PERDURE_DB", "sqlite:///environment.db")
    assert find(settings()).address == "sqlite:///environment.db"
    assert find(settings("sqlite:///option.db")).address == "sqlite:///option.db"


def test_a_file_of_a_folder_above_names_a_path_from_its_own_place(folder: Path, monkeypatch) -> None:
    (folder / "pyproject.toml").write_text('[tool.perdure]\ndb = "sqlite:///data/orders.db"')
    (folder / "src" / "shop").mkdir(parents=True)
    monkeypatch.chdir(folder / "src" / "shop")

    assert find(settings()).path == folder / "data" / "orders.db"


def test_a_bare_path_is_a_file(folder: Path) -> None:
    assert find(settings("orders.db")).address == "sqlite:///orders.db"
    assert find(settings("/var/lib/orders.db")).path == Path("/var/lib/orders.db")


@pytest.mark.parametrize("address", ["mysql://localhost/x", "sqlite:///", "sqlite:///:memory:", "memory://"])
def test_what_is_no_file_is_refused(folder: Path, address) -> None:
    with pytest.raises(Problem) as raised:
        find(settings(address))

    assert raised.value.exit == USAGE
    assert "sqlite:///" in raised.value.hint


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "perdure.toml").write_text("db = ")

    with pytest.raises(Problem, match=r"perdure\.toml cannot be read"):
        find(settings())


def test_a_database_that_is_not_there_is_answered_with_those_that_are(folder: Path) -> None:
    open_store("sqlite:///orders.db").admin.close()
    (folder / "music.db").write_bytes(b"SQLite format 3\0" + bytes(100))

    with pytest.raises(Problem) as raised:
        demand(find(settings()))

    assert raised.value.facts[-1] == "databases there: orders.db"
    assert raised.value.hint == "name it with  --db orders.db  or PERDURE_DB"
