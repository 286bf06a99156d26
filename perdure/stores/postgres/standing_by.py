"""What a migration waits for, told to whoever waits: it may be something that never ends by itself."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

Tell = Callable[[str], object]

TELL_SECONDS = (2.0, 60.0)
"""After so long it is told, and after so long again."""

_BUILDS = """
SELECT p.pid, c.relname, extract(epoch FROM now() - a.query_start)::bigint, p.current_locker_pid
FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_activity a ON a.pid = p.pid
WHERE p.datname = current_database() AND n.nspname = 'perdure' ORDER BY a.query_start LIMIT 1
"""
_MIGRATES = """
SELECT l.pid, a.application_name, extract(epoch FROM now() - a.xact_start)::bigint
FROM pg_locks l JOIN pg_database d ON d.oid = l.database LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = %s AND d.datname = current_database() LIMIT 1
"""


def to_the_log(shown: str) -> Tell:
    """What an engine does that finds an older schema when it starts."""
    return lambda said: logging.getLogger("perdure").warning("%s: %s", shown, said)


class Waits:
    """Of one wait. Used by one thread."""

    def __init__(self, tell: Tell, what: Callable[["psycopg.Connection[Any]"], str]) -> None:
        self._tell = tell
        self._what = what
        self._at = time.monotonic() + TELL_SECONDS[0]

    def go_on(self, connection: "psycopg.Connection[Any]") -> None:
        """It waits still."""
        if time.monotonic() >= self._at:
            self._at = time.monotonic() + TELL_SECONDS[1]
            self._tell(self._what(connection))


def for_a_build(connection: "psycopg.Connection[Any]") -> str:
    found: Sequence[Any] | None = connection.execute(_BUILDS).fetchone()
    if found is None:
        return "waits for an index that is being built"
    pid, table, seconds, locker = found
    until = f", and waits for the transaction of backend {locker}" if locker else ""
    return (
        f"waits for backend {pid}, which has been building an index on perdure.{table} {_for(seconds)}{until}: of a migration that "
        f"was broken off, perhaps, which the server ends all the same. To have it built anew: SELECT pg_terminate_backend({pid})"
    )


def for_a_migration(lock: int) -> Callable[["psycopg.Connection[Any]"], str]:
    def told(connection: "psycopg.Connection[Any]") -> str:
        found: Sequence[Any] | None = connection.execute(_MIGRATES, (lock,)).fetchone()
        if found is None:
            return "waits for somebody else who brings the schema up to date"
        pid, name, seconds = found
        return (
            f"waits for backend {pid} ({name or 'without a name'}), which has been bringing the schema up to date {_for(seconds)}. "
            f"If nobody does that any more: SELECT pg_terminate_backend({pid})"
        )

    return told


def _for(seconds: int | None) -> str:
    """What another role does is not told to everybody."""
    return "for a time" if seconds is None else f"for {seconds} s"
