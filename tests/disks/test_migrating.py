"""An old database on a disk that fails while it is migrated: it has the one schema or the other."""

import contextlib
import sqlite3
from pathlib import Path
from random import Random

import pytest

from perdure.stores.sqlite import migrations
from tests.disks import vfs
from tests.disks.disk import FATES, Fates, Platter
from tests.disks.machine import NAME, content_in, machine_in
from tests.engine.databases.record import HERE

pytestmark = pytest.mark.skipif(not vfs.is_possible(), reason="this Python hides its SQLite")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("old") / NAME
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((HERE / "schema-3.sql").read_text())
    return {NAME: path.read_bytes()}


def version_in(files: dict[str, bytes], folder: Path) -> int:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with contextlib.closing(sqlite3.connect(folder / NAME)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.parametrize("fate", FATES)
def test_wherever_the_power_fails_a_migration_is_done_or_not_begun(
    fate: Fates, old: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
):
    with machine_in(files=old) as machine:
        machine.new()
        steps = machine.disk.steps[:]
        made = machine.disk.seen_at(len(steps))
    whole = {content_in(old): 3, content_in(made): len(migrations.schema())}
    chance = Random(fate)
    platter = Platter(old)
    found: list[int] = []
    for step in steps:
        platter.do(step)
        left = platter.left(chance, fate)
        found.append(version_in(left, tmp_path_factory.mktemp("left")))
        assert whole[content_in(left)] == found[-1]

    assert {found[0], found[-1]} == {3, len(migrations.schema())}
