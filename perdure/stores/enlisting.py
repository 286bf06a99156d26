"""The part of a store that writes within somebody else's transaction: what was started there is there exactly if it commits; and
lends connections for transactions of activities (`lending.py`).

A store cannot call a connection that it has not opened, and some of those can only be called on their event loop. So each
method is a conversation (`Talk`): it yields statements, is sent their rows, and returns what came of it. Whoever holds the
connection runs them, in its own way (`client/connections.py`).
"""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from perdure.kernel.messages import Mail, Start
from perdure.kernel.project import RunRow
from perdure.stores.lending import Lender

T = TypeVar("T")


class Statement(NamedTuple):
    """SQL with a `?` for each of the values, which are texts, whole numbers, floats, bytes or None."""

    sql: str
    values: tuple[Any, ...] = ()


Talk: TypeAlias = Generator[Statement, list[tuple[Any, ...]], T]


def carried(talk: Talk[T], ask: Callable[[Statement], list[tuple[Any, ...]]]) -> T:
    """What a conversation comes to, with somebody who runs its statements at once."""
    found: list[tuple[Any, ...]] | None = None
    try:
        while True:
            found = ask(next(talk) if found is None else talk.send(found))
    except StopIteration as end:
        return end.value
    finally:
        talk.close()


class Enlisted(msgspec.Struct):
    """What became of a start: the `row` that has the id now; or None, as its workflow is none of those that are `known` here."""

    row: RunRow | None
    known: list[str] = []


class Begin(msgspec.Struct):
    """What a run was started with, encoded: its first events, or else the Start that nobody has read yet."""

    events: bytes | None = None
    start: bytes | None = None


class Enlisting(Protocol):
    """`product` is whose database it is: "PostgreSQL" or "SQLite"."""

    @property
    def product(self) -> str: ...

    def prepare(self) -> None:
        """Find out what tells this database from others, before anything else is asked. May block."""
        ...

    def submit(self, row: RunRow, start: Start) -> Talk[Enlisted]:
        """What `Post.submit` does; nobody waits for an answer.

        Raises: errors.ConnectionUnfit: the connection leads to another database.
        """
        ...

    def send(self, key: int, message: Mail) -> Talk[None]: ...

    def begin(self, key: int) -> Talk[Begin]:
        """Of a run that the transaction may have begun itself."""
        ...

    def blob(self, run: int, digest: bytes) -> Talk[bytes]: ...

    def lender(self, member: int) -> Lender:
        """A new one, of connections for attempts of transactional activities that this worker makes."""
        ...
