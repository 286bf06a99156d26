"""A commit whose connection was lost while the server had it still in hand: a fault that tests ask for."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from perdure.stores.postgres.place import Place

_WAITED_FOR = "SELECT 1 FROM pg_stat_activity WHERE %b = ANY (pg_blocking_pids(pid))"
_PAUSE_SECONDS = 0.002
_MOST_SECONDS = 0.5


def leave_open(place: Place, sql: str, values: Sequence[Any], applies: bool) -> None:
    """Run it in a transaction that ends, as `applies` says, when somebody has to wait for it, or after a while: there are calls that
    would rather be made again than wait."""
    connection = place.connect()
    connection.autocommit = False
    connection.execute(sql.encode(), values)
    threading.Thread(target=_end, args=(place, connection, applies), daemon=True).start()


def _end(place: Place, connection: psycopg.Connection[Any], applies: bool) -> None:
    pid = connection.info.backend_pid
    with connection, place.connect() as other:
        end = time.monotonic() + _MOST_SECONDS
        while not other.execute(_WAITED_FOR, (pid,)).fetchone() and time.monotonic() < end:
            time.sleep(_PAUSE_SECONDS)
        if not applies:
            connection.rollback()
