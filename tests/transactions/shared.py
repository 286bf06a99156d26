"""A database that an application shares with its runs, of either product, as tests speak with it."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

from perdure.stores.base import Store


class Shared:
    """With a table `ledger` of the application. `mark` is where a value goes in its SQL; `address` names it to an engine."""

    def __init__(self, address: str, connect: Callable[[], Any], opened: Callable[[], Store], mark: str) -> None:
        self.address = address
        self.connect = connect
        self.opened = opened
        self.mark = mark
        with closing(connect()) as connection:
            connection.execute("CREATE TABLE ledger (number integer)")
            connection.commit()

    def insert(self, connection: Any, number: int) -> None:
        connection.execute(f"INSERT INTO ledger VALUES ({self.mark})", (number,))

    def ledger(self) -> list[int]:
        with closing(self.connect()) as connection:
            return [number for (number,) in connection.execute("SELECT number FROM ledger ORDER BY number").fetchall()]
