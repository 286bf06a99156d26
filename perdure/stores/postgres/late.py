"""A commit whose connection was lost while the server had it still in hand: a fault that tests ask for."""

import threading
from collections.abc import Sequence
from typing import Any

import psycopg

_WAITED_FOR = "SELECT 1 FROM pg_stat_activity WHERE %b = ANY (pg_blocking_pids(pid))"


def leave_open(address: str, sql: str, values: Sequence[Any], applies: bool) -> None:
    """Run it in a transaction that ends, as `applies` says, when somebody has to wait for it."""
    connection = psycopg.connect(address, prepare_threshold=None)
    connection.execute(sql.encode(), values)
    threading.Thread(target=_end, args=(address, connection, applies), daemon=True).start()


def _end(address: str, connection: psycopg.Connection[Any], applies: bool) -> None:
    pid = connection.info.backend_pid
    with connection, psycopg.connect(address, autocommit=True) as other:
        while not other.execute(_WAITED_FOR, (pid,)).fetchone():
            pass
        if not applies:
            connection.rollback()
