"""A store in one file, put together from its parts."""

from perdure.stores.base import Faults
from perdure.stores.sqlite.admin import SqliteAdmin
from perdure.stores.sqlite.enlisting import SqliteEnlisting
from perdure.stores.sqlite.journal import SqliteJournal
from perdure.stores.sqlite.lines import Line, Readers
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.marker import SqliteMarking
from perdure.stores.sqlite.messages import SqliteMessages
from perdure.stores.sqlite.migrations import Schema
from perdure.stores.sqlite.opening import Place
from perdure.stores.sqlite.post import SqlitePost
from perdure.stores.sqlite.streams import SqliteStreams
from perdure.stores.sqlite.tasks import SqliteTasks
from perdure.stores.sqlite.views import SqliteViews
from perdure.stores.sqlite.work import SqliteWork


class SqliteStore:
    """Opened, its schema brought up to date if that is asked for, and owned by nobody new.

    Beside `x.db` and SQLite's own `x.db-wal` and `x.db-shm` there are `x.db-owner`, which the owner locks, and
    `x.db-turn`, which names the run in its turn; and `x.db-worker-7`, which worker 7 locks. All may be deleted while no
    engine and no worker runs.
    `max_pages` bounds the file's size, in pages of 4,096 bytes. `create`, `migrate` and `schema` are those of `Place`.

    Raises:
        errors.StoreError: the file, its folder or its schema is not fit; nothing was changed.
    """

    def __init__(
        self,
        path: str,
        faults: Faults | None = None,
        max_pages: int | None = None,
        create: bool = True,
        migrate: bool = True,
        schema: Schema | None = None,
    ) -> None:
        self.membership = None  # one owner, by a lock of the system
        place = Place(path, max_pages, create, migrate, schema)
        self.address = f"sqlite:///{place.path}"
        lock = OwnerLock(f"{place.path}-owner")
        writer, post_line, readers = Line(place, owns=True), Line(place), Readers(place)
        self.journal = SqliteJournal(place.path, writer, lock, faults)
        self.work = SqliteWork(place.path, writer)
        self.post = SqlitePost(place.path, post_line, readers)
        self.tasks = SqliteTasks(place.path, Line(place), readers)
        self.streams = SqliteStreams(place.path, Line(place), readers, lock)
        self.views = SqliteViews(place.path, readers, lock)
        self.messages = SqliteMessages(place.path, readers)
        self.enlisting = SqliteEnlisting(place, lock)
        self.marking = SqliteMarking(f"{place.path}-turn")
        self.admin = SqliteAdmin(place.path, lock, writer, self.post, self.tasks, self.streams, readers, self.marking)
