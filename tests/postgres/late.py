"""A commit whose connection is lost while the server has it still in hand."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from perdure.stores import base
from perdure.stores.faults import Fault, Moment
from perdure.stores.postgres.asking import Asker
from perdure.stores.postgres.lines import Line
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.store import PostgresStore

_WAITED_FOR = "SELECT 1 FROM pg_stat_activity WHERE %b = ANY (pg_blocking_pids(pid))"
_PAUSE_SECONDS = 0.002
_MOST_SECONDS = 0.5


def open_with(address: str, faults: base.Faults) -> PostgresStore:
    """A store that has the faults of all stores, and those named "in-doubt-late-...", too."""
    late: list[Fault] = []

    def asked(moment: Moment, batch: base.Batch) -> Fault | None:
        fault = faults(moment, batch)
        if moment == "before" and fault is not None and fault.startswith("in-doubt-late-"):
            late.append(fault)
            return None
        return fault

    return PostgresStore(address, asked, line_to=lambda place, patience: LateLine(place, patience, late))


class LateLine(Line):
    """It is lost with the next commit when `late` says so."""

    def __init__(self, place: Place, patience: float, late: list[Fault]) -> None:
        super().__init__(place, patience)
        self._late = late

    def ask(self, sql: str, values: Sequence[Any] = (), opened: int = 0) -> list[tuple[Any, ...]]:
        if self._late and sql.startswith("SELECT perdure.commit"):
            _leave_open(self.place, sql, values, self._late.pop() == "in-doubt-late-applied")
            self.close()
            raise psycopg.OperationalError("the connection was lost, as a test has asked for")
        return super().ask(sql, values, opened)


def _leave_open(place: Place, sql: str, values: Sequence[Any], applies: bool) -> None:
    """Run it in a transaction that ends, as `applies` says, when somebody has to wait for it, or after a while: there are calls that
    would rather be made again than wait."""
    connection = place.connect()
    connection.autocommit = False
    connection.execute(b"SELECT 1")
    Asker(connection).ask(sql, values)
    threading.Thread(target=_end, args=(place, connection, applies), daemon=True).start()


def _end(place: Place, connection: psycopg.Connection[Any], applies: bool) -> None:
    pid = connection.info.backend_pid
    with connection, place.connect() as other:
        end = time.monotonic() + _MOST_SECONDS
        while not other.execute(_WAITED_FOR, (pid,)).fetchone() and time.monotonic() < end:
            time.sleep(_PAUSE_SECONDS)
        if not applies:
            connection.rollback()
