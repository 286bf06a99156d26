"""From an address to a store."""

import re
import threading
from typing import TYPE_CHECKING

from perdure import errors
from perdure.stores.addresses import shown
from perdure.stores.base import Faults, Store

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf

_shelves: "dict[str, Shelf]" = {}
_shelves_lock = threading.Lock()


def open_store(address: str, faults: Faults | None = None, *, create: bool = True, migrate: bool = True) -> Store:
    """The store behind an address; nothing is owned yet.

    `create` makes a database that is not there, `migrate` brings the schema of an old one up to date.

    - "sqlite:///orders.db" is a file relative to the working folder, "sqlite:////var/lib/orders.db" an absolute one.
    - "postgresql://user:password@host:5432/name" is a database of a server, which many processes and machines may share.
    - "memory://" is new and private; "memory://name" is the same store wherever this process opens that name.

    Raises:
        errors.StoreError: the address names no store, or the store cannot be opened.
    """
    scheme, separator, rest = address.partition("://")
    if separator and scheme == "memory":
        from perdure.stores.memory import MemoryStore  # and one in a file needs no oracle

        return MemoryStore(address, _shelf(rest), faults)
    if separator and scheme == "sqlite" and rest.startswith("/") and rest != "/":
        from perdure.stores.sqlite.store import SqliteStore  # a store in memory needs no sqlite3

        return SqliteStore(rest[1:], faults, create=create, migrate=migrate)
    if separator and scheme in ("postgresql", "postgres"):
        return _postgres(address, faults, create, migrate)
    raise errors.StoreUnreachable(_advice(address, scheme if separator else ""))


NO_DRIVER = "PostgreSQL needs a driver that is not installed here: pip install 'perdure[postgres]'"


def lacks_driver(error: ImportError) -> bool:
    """Whether it is psycopg that is missing, or the library that it needs, which it says without a name."""
    return error.name is None or error.name.startswith("psycopg")


def _postgres(address: str, faults: Faults | None, create: bool, migrate: bool) -> Store:
    try:
        from perdure.stores.postgres.store import PostgresStore  # costly to import, and an extra
    except ImportError as error:
        if not lacks_driver(error):
            raise
        raise errors.StoreUnreachable(NO_DRIVER) from error
    return PostgresStore(address, faults, create=create, migrate=migrate)  # pyright: ignore[reportReturnType]


def _shelf(name: str) -> "Shelf":
    from perdure.stores.memory import Shelf

    if not name:
        return Shelf()
    with _shelves_lock:
        return _shelves.setdefault(name, Shelf())


_PARTS = re.compile(r"\b(host|port|dbname|user)\s*=\s*'?([^\s']+)")


def _advice(address: str, scheme: str) -> str:
    parts = dict(_PARTS.findall(address)) if not scheme and "dbname" in address else {}
    if parts:
        user = f"{parts['user']}@" if "user" in parts else ""
        port = f":{parts['port']}" if "port" in parts else ""
        place = f"{user}{parts.get('host', '')}{port}/{parts.get('dbname', '')}"
        return f"{shown(address)!r} is how libpq takes its parameters; write them as postgresql://{place}"
    if not scheme and address.startswith("postgres"):
        return "an address of PostgreSQL begins with postgresql:// and this does not: postgresql://user@host:5432/name"
    address = shown(address)
    if scheme.startswith(("postgresql+", "postgres+")):
        return f"{address!r}: write postgresql://{address.partition('://')[2]}; the driver is psycopg anyway"
    if scheme == "sqlite":
        return (
            f"{address!r} names no file; write sqlite:///orders.db (three slashes, relative to the working folder) "
            "or sqlite:////var/lib/orders.db (four slashes, absolute)"
        )
    if not scheme:
        return f"{address!r} is not an address of a store; for a SQLite file write sqlite:///{address.lstrip('/')}"
    return f"{address!r}: there is no store named {scheme!r}; expected sqlite:///file.db, postgresql://host/name or memory://"
