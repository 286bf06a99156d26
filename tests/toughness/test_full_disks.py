"""No room is left where the server writes: engines wait, say so, and go on when there is some."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from perdure.stores.postgres.migrating import migrate
from tests.postgres.server import Missing, Server
from tests.toughness.load import Load, engines

DATABASE = "tough"


@pytest.fixture
def place() -> Iterator[Path]:
    """A small disk."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk to fill it")
    with tempfile.TemporaryDirectory(prefix="perdure-small-") as folder:
        Path(folder).chmod(0o755)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256m,mode=0777", "tmpfs", folder], capture_output=True, text=True
        )
        if mounted.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """There is not a byte of room within the block."""
    ballast = place / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        yield
    finally:
        ballast.unlink()


@contextmanager
def started(settings: Mapping[str, str] | None = None, place: Path | None = None) -> Iterator[Server]:
    try:
        made = Server(settings, place)
    except Missing as missing:
        pytest.skip(str(missing))
    with made as server:
        yield server


def test_tables_that_cannot_grow_are_waited_for(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with started() as server:
        tables = place / "tables"
        tables.mkdir()
        os.chown(tables, server.folder.stat().st_uid, -1)
        server.ask(f"CREATE TABLESPACE small LOCATION '{tables}'")
        server.ask(f"CREATE DATABASE {DATABASE} TABLESPACE small")
        migrate(server.address(DATABASE))
        with engines(server.address(DATABASE)) as both, ThreadPoolExecutor() as starter:
            with filled(place):
                load = starter.submit(Load, both, "tables")
                while "no room left to write" not in caplog.text:
                    server.ask("SELECT pg_sleep(0.05)")
                assert not load.done()

            load.result().demand_exact()
            assert all(engine.owns for engine in both)


def test_a_server_that_ends_as_its_log_cannot_grow_is_waited_for(place: Path) -> None:
    settings = {"max_wal_size": "32MB", "min_wal_size": "32MB"}
    with started(settings, place) as server:
        server.ask(f"CREATE DATABASE {DATABASE}")
        migrate(server.address(DATABASE))
        with engines(server.address(DATABASE)) as both, ThreadPoolExecutor() as starter:
            before = Load(both, "before")
            with filled(place):
                with pytest.raises(psycopg.OperationalError):
                    while True:
                        server.ask("SELECT pg_logical_emit_message(true, 'ballast', 'x')")
                        server.ask("SELECT pg_switch_wal()")
                server.stop(signal.SIGQUIT)
                after = starter.submit(Load, both, "after")
            server.start()

            before.demand_exact()
            after.result().demand_exact()
            assert all(engine.owns for engine in both)
