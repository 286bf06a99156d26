"""Others who use the same file: a reader that does not end, somebody who keeps the write lock, somebody who copies all of it.

A database of PostgreSQL has somebody who keeps a lock on a table.

Run as `python -m tests.chaos.bystanders WHAT DATABASE SECONDS`; the exit code is 1 if a copy is not sound, and it says why.
"""

import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path


def hold_lock(path: str, seconds: float) -> int:
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    return 0


def read_long(path: str, seconds: float) -> int:
    """One snapshot from the beginning to the end: what it counts does not change."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        before = connection.execute("SELECT count(*) FROM history").fetchone()
        time.sleep(seconds)
        after = connection.execute("SELECT count(*) FROM history").fetchone()
    if before != after:
        print(f"a snapshot has changed: {before} rows of histories, then {after}")
    return int(before != after)


def back_up(path: str, seconds: float) -> int:
    """By SQLite's own means, as the guide says; the copy is opened and checked like any database."""
    from perdure import Client

    copy = Path(path).parent.parent / f"copy-{time.time_ns()}.db"
    try:
        with closing(sqlite3.connect(path, timeout=60)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        with Client(f"sqlite:///{copy}") as client:
            problems = client.store.admin.check()
    finally:
        for each in copy.parent.glob(f"{copy.name}*"):
            each.unlink()
    for problem in problems:
        print(f"a copy is not sound: {problem}")
    return int(bool(problems))


def hold_table(address: str, seconds: float) -> int:
    """As a migration by hand does, or a VACUUM FULL. It may be thrown out, like everybody."""
    import psycopg

    try:
        with psycopg.connect(address) as connection:
            connection.execute("LOCK TABLE perdure.runs IN ACCESS EXCLUSIVE MODE")
            time.sleep(seconds)
    except psycopg.OperationalError as error:
        print(f"the lock is gone: {error}")
    return 0


if __name__ == "__main__":
    deeds = {"hold lock": hold_lock, "read long": read_long, "back up": back_up, "hold table": hold_table}
    sys.exit(deeds[sys.argv[1]](sys.argv[2], float(sys.argv[3])))
