"""Connections of sqlite3 for transactional activities: to the file of the runs, where the application's tables lie, too.

SQLite has one writer: while an attempt has its transaction nobody else writes, not even the owner. So the transaction begins as
one that writes, and what was read in it stays true.
"""

import sqlite3
from typing import Any, NoReturn

from perdure import errors
from perdure.stores.base import Ending
from perdure.stores.sqlite.lines import roll_back
from perdure.stores.sqlite.opening import Place
from perdure.stores.sqlite.tasks import end_one
from perdure.stores.sqlite.trouble import told_to_people


def _ours(verb: str) -> NoReturn:
    raise errors.DefinitionError(
        f"{verb} is not for the function of a transactional activity: what it has written is committed together with its result, "
        "when it returns, and undone if it raises"
    )


class LentConnection(sqlite3.Connection):
    """Its transaction is ended by whoever has lent it."""

    def commit(self) -> None:
        _ours("commit()")

    def rollback(self) -> None:
        _ours("rollback()")

    def executescript(self, sql_script: Any, /) -> NoReturn:
        _ours("executescript(), which commits first,")

    def __enter__(self) -> NoReturn:
        _ours("with connection:, which commits at its end,")


class SqliteLender:
    lend_on_loop = None

    def __init__(self, place: Place) -> None:
        self._place = place

    def lend(self) -> "_Lent":
        with told_to_people(self._place.path):
            connection = self._place.writing(owns=False, factory=LentConnection)
            try:
                connection.execute("BEGIN IMMEDIATE")
            except BaseException:
                connection.close()
                raise
        return _Lent(connection)

    def close(self) -> None:
        """None is idle: they are quick to open."""


class _Lent:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def end(self, member: int, ending: Ending) -> bool:
        if not self.connection.in_transaction:
            raise errors.DefinitionError(
                "the function of a transactional activity has ended its transaction by itself (COMMIT or ROLLBACK), so that its "
                "result cannot be part of it; leave that to the engine"
            )
        self.connection.row_factory = None
        is_its_own = end_one(self.connection, member, ending)
        if is_its_own:
            self.connection.execute("COMMIT")
        self.undo()
        return is_its_own

    def break_off(self) -> None:
        """Not possible: what is rolled back in the hands of another thread it would go on with outside of any transaction."""

    def undo(self) -> None:
        try:
            if self.connection.in_transaction:
                roll_back(self.connection)
        finally:
            self.connection.close()
