"""A server that archives its log, and others that are made of its backup."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres.server import Server


def archiving() -> Server:
    """Not started yet. The archive lies in its folder."""
    server = Server()
    archive = archive_of(server)
    archive.mkdir()
    owner = server.folder.stat()
    os.chown(archive, owner.st_uid, owner.st_gid)
    command = f"test ! -f {archive}/%f && cp %p {archive}/%f"
    server.settings.update({"archive_mode": "on", "archive_command": command})
    return server


def archive_of(server: Server) -> Path:
    return server.folder / "archive"


def backed_up(server: Server) -> Server:
    """A base backup of a server that runs; nothing is started."""
    backup = Server(of=server)
    (backup.data / "standby.signal").unlink()
    return backup


def archived(server: Server) -> None:
    """All that is written so far is in the archive."""
    [(segment,)] = server.ask("SELECT pg_walfile_name(pg_switch_wal())")
    while not (archive_of(server) / segment).exists():
        time.sleep(0.01)


@contextmanager
def restored(backup: Server, archive: Path, until: str) -> Iterator[Server]:
    """It runs, and takes writes: what its server had at that time."""
    (backup.data / "recovery.signal").touch()
    backup.settings.update({
        "primary_conninfo": "",
        "restore_command": f"cp {archive}/%f %p",
        "recovery_target_time": until,
        "recovery_target_action": "promote",
    })  # fmt: skip
    with backup as server:
        while server.ask("SELECT pg_is_in_recovery()") == [(True,)]:
            time.sleep(0.01)
        yield server
