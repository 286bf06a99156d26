"""A PostgreSQL server that is measured, on the disk where databases are made."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.figures import Setting
from tests.postgres.server import Missing, Server


@contextmanager
def measured_server(setting: Setting) -> Iterator[Server | None]:
    """None, and a line that says why, where there is none."""
    setting.folder.chmod(0o711)  # the server may have to run as another user
    try:
        made = Server(place=setting.pick(setting.folder, setting.folder, None))
    except Missing as missing:
        print(f"not measured: {missing}", file=sys.stderr)
        yield None
        return
    with made as server:
        yield server
