"""A client: the runs of a database, from any process, without workflow code."""

from types import TracebackType
from typing import Self

from perdure.client.door import DatabaseDoor, checked_address
from perdure.client.patience import PATIENCE_SECONDS
from perdure.client.verbs import Verbs
from perdure.durations import duration_ns
from perdure.options import Duration
from perdure.payload import Coder, PayloadCodec
from perdure.stores.base import Store
from perdure.stores.open import open_store


class Client(Verbs):
    """Starts, reads and steers runs through their database; an engine, here or elsewhere, moves them.

    Args:
        store: the address of a database, such as "sqlite:///orders.db", or a store that is open, and is not closed
            with the client.
        create: make the database if there is none, for runs that wait for the first engine. Without it a misspelled
            address is an error.
        codec: what makes other bytes of arguments and results, and back; the one the engine has.
        patience: how long a start, a signal, a query or another call waits for a server of PostgreSQL that does not answer, before it
            raises `StoreUnreachable` (a duration). Who waits for a result, or the answer to an update, waits without end.

    Raises:
        errors.DefinitionError: it is no address, or no codec.
        errors.StoreNotFound: there is no such database.
        errors.SchemaTooOld: an older version has written it; a client changes no schema.
        errors.StoreError: it cannot be opened.
    """

    def __init__(
        self,
        store: str | Store,
        *,
        create: bool = False,
        codec: PayloadCodec | None = None,
        patience: Duration = PATIENCE_SECONDS,
    ) -> None:
        store, coder, seconds = checked_address(store), Coder(codec), duration_ns(patience) / 1e9
        opened = open_store(store, create=create, migrate=False) if isinstance(store, str) else store
        self._database = self._door = DatabaseDoor(opened, isinstance(store, str), coder, patience_seconds=seconds)

    def close(self) -> None:
        """Let go of the database. May be called twice."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<client of {self._door.store.address}>"
