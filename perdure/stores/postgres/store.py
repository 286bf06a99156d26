"""A store in a PostgreSQL database, put together from its parts."""

from perdure.stores.base import Faults
from perdure.stores.postgres.admin import PostgresAdmin
from perdure.stores.postgres.journal import PostgresJournal
from perdure.stores.postgres.lines import Line, Lines
from perdure.stores.postgres.membership import PostgresMembership
from perdure.stores.postgres.messages import PostgresMessages
from perdure.stores.postgres.post import PostgresPost
from perdure.stores.postgres.streams import PostgresStreams
from perdure.stores.postgres.tasks import PostgresTasks
from perdure.stores.postgres.views import PostgresViews
from perdure.stores.postgres.work import PostgresWork


class PostgresStore:
    """Its schema is there already: see `schema.migrate`."""

    def __init__(self, address: str, faults: Faults | None = None) -> None:
        self.address = address
        place = address.rpartition("@")[2]  # names no password
        line, lines = Line(address), Lines(address)
        self.journal = PostgresJournal(place, line, faults)
        self.membership = PostgresMembership(place, line, self.journal)
        self.work = PostgresWork(place, line, self.journal)
        self.post = PostgresPost(place, lines)
        self.tasks = PostgresTasks(place, lines)
        self.streams = PostgresStreams(place, lines, self.journal)
        self.messages = PostgresMessages(place, lines)
        self.views = PostgresViews(place, lines)
        self.admin = PostgresAdmin(place, line, lines, self.journal)
