"""The command line called in this process, on the corpus of runs, at the corpus's own time."""

import io
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from perdure.cli.main import cli
from perdure.cli.options import Settings
from perdure.stores.base import Store
from perdure.stores.open import open_store
from tests.unit.cli import corpus


class Said(NamedTuple):
    """What a command left behind: its exit code and its two streams."""

    code: int
    out: str
    err: str


Perdure = Callable[..., Said]


def corpus_time() -> datetime:
    return datetime.fromtimestamp(corpus.NOW / 1e9, UTC)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    """The owner of a database that holds a run of each kind."""
    store = open_store(address)
    store.admin.try_own(corpus.MEMBER.host, corpus.MEMBER.pid, corpus.MEMBER.build, corpus.NOW)
    corpus.fill(store)
    yield store
    store.admin.close()


@pytest.fixture
def unowned(store: Store) -> None:
    """Nobody owns the database any more."""
    store.admin.close()


@pytest.fixture
def perdure(address: str, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Perdure:
    """Calls a command; neither stream is a terminal."""
    monkeypatch.setenv("PERDURE_DB", address)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments), obj=Settings(corpus_time))
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, said.out, said.err)

    return call
