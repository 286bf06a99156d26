"""New databases, as copies: to copy one takes a fraction of the time that it takes to make one."""

import tempfile
from functools import cache
from pathlib import Path

from perdure.stores.sqlite.store import SqliteStore


def new_database(path: Path) -> str:
    """A database without runs at this path."""
    path.write_bytes(_empty())
    return str(path)


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        SqliteStore(str(path)).admin.close()
        return path.read_bytes()
