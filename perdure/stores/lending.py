"""Connections that a store lends to attempts of transactional activities: what such an attempt writes and that it has ended are
one transaction.

Nothing of ours is touched before the end. There the task goes, with the demands that any worker's ending meets, its result
comes as mail, and all of it is committed, in one message to the server: so a process that stops holds no lock of ours. If
the task is not there any more nothing is committed. Whoever does not know whether it was (a connection lost while
committing) says that the attempt has failed, like any other: that is refused if the task is gone.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from perdure.errors import DefinitionError

if TYPE_CHECKING:
    from perdure.stores.base import Ending


def ended_by_itself() -> DefinitionError:
    return DefinitionError(
        "the function of a transactional activity has ended its transaction by itself (COMMIT or ROLLBACK), or changed its application_name, "
        "so that its result cannot be part of it, nor all that it has written be undone; leave that to the engine. Savepoints are allowed"
    )


class Lent(Protocol):
    """A `connection`, in a transaction; used by one thread at a time."""

    @property
    def connection(self) -> Any: ...

    def end(self, member: int, ending: "Ending") -> bool:
        """Record the end and commit. False if the task is not with this member any more: then all was undone.

        Raises: whatever the database says, and errors.DefinitionError if there is no such transaction any more. It was not
            committed then, or the connection was lost.
        """
        ...

    def undo(self) -> bool:
        """Roll back. To be called once, if `end` was not, or has raised something. False if the function has ended the transaction
        itself, or wanted to: what it had written before may be there."""
        ...

    def break_off(self) -> None:
        """From another thread: nobody wants it any more, so let go of what it has locked, whatever is done on the connection now. It
        is lost to whoever uses it still, who calls `undo` all the same. May block."""
        ...


class LentOnLoop(Protocol):
    """The same of a connection that is used on an event loop."""

    @property
    def connection(self) -> Any: ...

    async def end(self, member: int, ending: "Ending") -> bool: ...

    async def undo(self) -> bool: ...

    def break_off(self) -> None: ...


class Lender(Protocol):
    """`lend_on_loop` is None if coroutines are lent the same connections as threads are."""

    def lend(self) -> Lent:
        """Connect, if there is no idle connection, and begin a transaction. Raises: errors.StoreError."""
        ...

    @property
    def lend_on_loop(self) -> Callable[[], Awaitable[LentOnLoop]] | None: ...

    def close(self) -> None:
        """Of connections that are idle; those that are lent are closed when they come back."""
        ...
