"""A store in a PostgreSQL database, put together from its parts."""

from collections.abc import Callable

from perdure.stores.base import Faults
from perdure.stores.postgres.admin import PostgresAdmin
from perdure.stores.postgres.enlisting import PostgresEnlisting
from perdure.stores.postgres.fence import Fence
from perdure.stores.postgres.hints import Listener
from perdure.stores.postgres.journal import PostgresJournal
from perdure.stores.postgres.lines import CALL_SECONDS, Line, Lines
from perdure.stores.postgres.membership import PostgresMembership
from perdure.stores.postgres.messages import PostgresMessages
from perdure.stores.postgres.migrating import bring
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.post import PostgresPost
from perdure.stores.postgres.schema import schema
from perdure.stores.postgres.streams import PostgresStreams
from perdure.stores.postgres.tasks import PostgresTasks
from perdure.stores.postgres.views import PostgresViews
from perdure.stores.postgres.work import PostgresWork


class PostgresStore:
    """Opened, its schema brought up to date if that is asked for, and nobody's yet. Several owners share it.

    `create` makes the schema in a database that has none, `migrate` brings an old one up to date; without them such a database is
    refused. Open are then: a connection of the owner's, one that listens, and a few that come and go.
    `patience`: how many seconds an owner, or a worker, waits for an answer at most. `line_to`
    makes the line of the owner.

    Raises:
        errors.StoreError: the server cannot be asked, or its database is not fit; nothing was changed.
    """

    def __init__(
        self,
        address: str,
        faults: Faults | None = None,
        *,
        create: bool = True,
        migrate: bool = True,
        patience: float = CALL_SECONDS,
        line_to: Callable[[Place, float], Line] = Line,
    ) -> None:
        where = Place(address)
        known = schema()
        bring(where, known, create=create, upgrade=migrate)
        knows = known[-1].number
        self.address = place = where.shown
        line, lines, listener = line_to(where, patience), Lines(where), Listener(where)
        fence = Fence(place, line)
        self.journal = PostgresJournal(place, line, fence, faults)
        self.membership = PostgresMembership(place, line, lines, fence, self.journal.spare)
        self.marking = None  # several owners
        self.work = PostgresWork(place, line, self.journal)
        self.post = PostgresPost(place, lines)
        self.tasks = PostgresTasks(place, knows, lines, listener, patience)
        self.streams = PostgresStreams(place, lines, self.journal)
        self.messages = PostgresMessages(place, lines)
        self.views = PostgresViews(place, lines)
        self.enlisting = PostgresEnlisting(where, lines)
        self.admin = PostgresAdmin(place, knows, line, lines, listener, fence)
