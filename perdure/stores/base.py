"""The contract every store keeps: a `Store` is eight small parts, each with one reason to be asked.

The *journal* is written by the owner alone, a `Batch` at a time, all or nothing. *Work* is what an owner asks for to
find runs that need it. *Post* is what any process may write: a start, mail. *Tasks* is where workers of queues take
attempts and bring their ends. *Streams* (`streaming.py`) is where attempts write, and others follow, what a run puts out.
*Views* are read by anybody, from any thread, and are as new as the last commit; so are *messages*, what runs have heard and
what they show. *Admin* owns, publishes, checks and closes.

*Membership* is there if several owners can share the store, each with runs of its own; *enlisting* if it can write in a
transaction of the application.

Keys of runs are integers that grow with their start; the owner hands out even ones, clients that start runs through
the database odd ones. `journal.commit` raises the exceptions below, which tell the owner what to do with the batch;
every other call raises the family `errors.StoreError`, whose messages are for people.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import msgspec

from perdure.kernel.attributes import Attribute
from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.messages import AttemptEnded
from perdure.kernel.project import AttemptRow, HistoryRow, PublishedRow, RunRow, TaskRow, UpdateRow
from perdure.kernel.streams import ChunkRow
from perdure.stores.enlisting import Enlisting
from perdure.stores.faults import Fault as Fault
from perdure.stores.faults import Faults as Faults
from perdure.stores.faults import Moment as Moment
from perdure.stores.filtering import RunFilter as RunFilter
from perdure.stores.human import HumanViews
from perdure.stores.mail import MailRow as MailRow
from perdure.stores.mail import ReplyRow as ReplyRow
from perdure.stores.mail import Unread as Unread
from perdure.stores.membership import Claimed, Membership
from perdure.stores.placed import BuildRow, Placed
from perdure.stores.pruning import Prune, Pruned
from perdure.stores.queueing import BacklogRow as BacklogRow
from perdure.stores.queueing import Orphan as Orphan
from perdure.stores.queueing import Own as Own
from perdure.stores.queueing import Want as Want
from perdure.stores.queueing import WorkerRow as WorkerRow
from perdure.stores.refusing import CommitInDoubt as CommitInDoubt
from perdure.stores.refusing import CommitRefused as CommitRefused
from perdure.stores.refusing import IdTaken as IdTaken
from perdure.stores.refusing import OwnershipLost as OwnershipLost
from perdure.stores.refusing import StoreFull as StoreFull
from perdure.stores.refusing import StoreUnavailable as StoreUnavailable
from perdure.stores.refusing import WorkerGone as WorkerGone
from perdure.stores.streaming import StreamRow, Streams

LEASE_NS = 10_000_000_000
"""How long a worker of queues may be silent, unless an engine was told otherwise."""


class BlobRow(msgspec.Struct):
    """Bytes of a payload that was too large for the history; `digest` is their SHA-256. Unique by (run, digest)."""

    run: int
    digest: bytes
    data: bytes


class MemberRow(msgspec.Struct):
    """A process that took part: `id` is new for each start of an engine or a worker and never reused.

    The row goes when the process does, unless a run may tell of it: it has committed a batch, or taken a task.
    """

    id: int
    host: str
    pid: int
    build: str
    started_at: int


class Ending(msgspec.Struct):
    """How the attempt of a task ended: with mail for its run, and the bytes that refers to."""

    message: AttemptEnded
    run: int
    blobs: list[BlobRow] = []


class Exchanged(msgspec.Struct):
    """What a worker gets for what it brought: which of the endings were `accepted`, in their order, and new `tasks`."""

    accepted: list[bool]
    tasks: list[TaskRow]


class Look(msgspec.Struct):
    """What an idle worker learns by its one call a second."""

    waiting: list[str]
    """Activities of which there are tasks in its queues that nobody has taken, whether it knows them or not."""
    taken: set[tuple[int, str, int]]
    """(run, step, attempt) of all tasks it has: what is missing is not wanted any more."""
    lease_ns: int = LEASE_NS
    """How long the worker may be silent after its last beat, or after its next one if that comes to less."""
    time: int = 0
    """What the store's own clock has shown meanwhile (see `Admin.time`)."""


class DefinitionRow(msgspec.Struct):
    """A workflow or activity the newest owner knows, so that clients without code can check names and arguments; or a
    message that a workflow hears.

    `kind` is "workflow", "activity", "signal", "query" or "update"; `parameters` a JSON object: {"names": [...],
    "required": n, "schema": {...}}, of a message also its "workflow" and the "message", its name, which is "" for one that
    hears all names. The name of its row is made of both.
    """

    kind: str
    name: str
    parameters: bytes


FIXED = frozenset({"key", "id", "followed_by", "chain", "request", "parent", "root"})
"""Fields of a RunRow that no update of a summary changes; `followed_by` is changed by `Batch.followed` alone."""

IDENTITY = FIXED | {"run_id", "workflow", "build", "started_at", "expires_at", "pinned"}
"""Fields of a RunRow that never change once the history has begun; `pinned` is changed by `Batch.pins` alone."""


class Batch(msgspec.Struct):
    """What is committed together, applied in the order of these fields."""

    withdrawn: list[int] = []
    """Keys of queued runs whose start was refused: the row and all it has go (replies stay). The run that one of them
    has followed is the newest of its id again."""
    followed: list[tuple[int, int]] = []
    """(key of a run that exists, key of the one of the same id that follows it): it is not the newest any more, and the
    other one is, which is among `created`, or was not placed yet. One that is followed already refuses the batch."""
    created: list[RunRow] = []
    """New runs; a key that exists refuses the batch, and so does an id whose newest run is not in `followed`."""
    updated: list[RunRow] = []
    """The new summaries of runs that exist, at most one per run; a key that does not exist refuses the batch.

    What `IDENTITY` names is fixed when a run begins: it is written only in the batch with the run's first event.
    """
    pins: list[tuple[int, str]] = []
    """(key of a run, the build it is pinned to now). In order."""
    history: list[HistoryRow] = []
    """Appended; a (run, seq) that exists refuses the batch."""
    attempts: list[AttemptRow] = []
    """In order; each replaces the row of the same (run, step, attempt). With `member` KEEP only `state` and
    `retry_at` are set, and a row that is not there stays away."""
    attempts_dropped: list[tuple[int, str, int]] = []
    attributes: list[tuple[int, Attribute]] = []
    """(key of a run, what it has now under that name): in order, each in the place of what it had there before."""
    updates: list[UpdateRow] = []
    published: list[PublishedRow] = []
    """In order, each in the place of an earlier one of the same run and id, or name."""
    blobs: list[BlobRow] = []
    """A blob the run has already is left alone."""
    tasks_gone_of: list[int] = []
    """Runs that have no tasks any more."""
    tasks_gone: list[tuple[int, str]] = []
    """Steps that have none. Whoever has taken one cannot end it any more."""
    tasks: list[TaskRow] = []
    """Each in the place of an earlier one of the same (run, step); nobody has taken it."""
    chunks: list[ChunkRow] = []
    """Appended to streams of runs, which are made if they are not there yet, whatever their size; to one that an activity
    has closed nothing is, and the batch is refused."""
    human_gone_of: list[int] = []
    """Runs that have no human tasks any more."""
    human_gone: list[tuple[int, str]] = []
    """Steps that are none any more."""
    human: list[HumanTaskRow] = []
    """In order; each in the place of an earlier one of the same (run, step)."""
    mail_read: list[int] = []
    mail_excused: list[int] = []
    """Letters that stay, and whose senders need not wait: from now on they have no `reply_to`."""
    mail_kept: list[MailRow] = []
    """New mail written by the owner, after `mail_read` has gone."""
    replies: list[ReplyRow] = []
    """Each replaces an earlier answer to the same request."""
    parks: list[tuple[int, int]] = []
    """(key of a run, how many events it has then): only of a store that several owners share. Nobody owns these any more: they
    wait, or have ended. It comes last of all."""
    at: int = 0
    """When the batch was decided, in nanoseconds: a batch with replies also deletes those that have expired by then."""


class Stored(msgspec.Struct):
    """A run as it lies in the store: everything needed to make it stand again."""

    run: RunRow
    history: list[bytes]
    attempts: list[AttemptRow]
    mail: list[MailRow]
    tasks: list[TaskRow] = []
    streams: list[StreamRow] = []
    """Of both only `Views.stored` tells; tasks without their bodies."""
    is_unreadable: bool = False
    """Whether there is mail that cannot be read, beside that which can."""


class Poll(msgspec.Struct):
    """What an idle owner learns by its one call a second: runs that are due, mail that nobody has read, and the `beats`
    of the workers of queues, by member."""

    due: list[int]
    mail: list[MailRow]
    beats: dict[int, int] = {}
    claimed: list[Claimed] = []
    members: dict[int, int] = {}
    """Of a store that several owners share, which tells only of the caller's runs: those that became it by this call; and the
    beats of the other owners, by member."""
    unmended: bool = False
    """The same: whether there are runs that wait for other code, and that nobody owns. Of the members of a build only the eldest is
    told."""
    leases: dict[int, int] = {}
    """How long each of these workers and owners may be silent after the beat that is told here (in ns): what it has said itself,
    or was told when it beat. So whoever looks after it, and however long that one itself may be silent, judges it alike."""
    more_mail: bool = False
    time: int = 0
    """Whether there may be more than was told, as this was much; and what the store's own clock has shown (see `Admin.time`)."""


class Journal(Protocol):
    """Written by the owner only, from one thread."""

    def commit(self, batch: Batch) -> None:
        """Write the batch durably, all or nothing.

        Raises: CommitRefused, CommitInDoubt, StoreUnavailable, StoreFull, OwnershipLost; errors.StoreCorrupt if the
            database is found damaged, which stops the owner too.
        """
        ...

    def settle(self, batch: Batch) -> bool:
        """After CommitInDoubt: whether the batch is durable, found by looking. Not called for an empty batch."""
        ...


class Work(Protocol):
    """Asked by the owner, from its thread."""

    def last_key(self) -> int:
        """The highest key of a run, 0 without any; of a store with one owner also of those that have gone."""
        ...

    def load(self, keys: Sequence[int]) -> dict[int, Stored]:
        """Runs with their history, attempts (by step and number) and their unread mail but signals, updates and queries, of
        which there may be very many; missing keys are left out."""
        ...

    def find(self, ids: Iterable[str]) -> dict[str, RunRow]:
        """The newest run of each id that exists."""
        ...

    def running(self) -> list[int]:
        """Keys of runs that are running, oldest first: a dead owner left them. Queued ones are found by their mail."""
        ...

    def held(self) -> list[int]:
        """Keys of runs that are held, oldest first."""
        ...

    def mending(self) -> list[int]:
        """Keys of runs that are held, blocked or quarantined, oldest first."""
        ...

    def unread(self, keys: Sequence[int], limit: int, size_bytes: int, after: int = 0) -> Unread:
        """The signals, updates and cancellations in the mailboxes of these runs behind the letter `after`, oldest first: at most
        `limit`, and none behind the one with which they come to so many bytes."""
        ...

    def poll(self, now: int, limit: int, starts: bool = True) -> Poll:
        """What is due and unread mail (at most `limit` of each, and over a network no more than some megabytes) in one call that
        costs one statement.

        Due are open runs with `wake_at` <= now, earliest first. Mail comes oldest first. If there is more than that, the
        runs have their turns, and of each the oldest comes: one that was sent very much keeps nobody waiting. Of runs that are
        blocked or quarantined only Retry, Terminate, Move, and Update and Query, which are refused, and what other runs have
        sent and wait for, who are to be told that it will be taken later. Mail of closed runs, and of runs that do not exist, is there too: the
        owner answers it and it goes. Left out is the Start of a queued run that has a `wake_at`, is in its place and
        nobody waits to hear of (no `reply_to`): that run is due when its time comes.

        `starts` false: queued runs wait a little longer, they are not due, and their Start and Cancel are left out.
        """
        ...


class Post(Protocol):
    """Written by anybody, each call one small transaction that waits for nobody but the writer lock."""

    def submit(self, row: RunRow, mail: MailRow, again: bool = False) -> RunRow:
        """Queue a run with its Start, if it gets its id (`kernel.ids`): else nothing is written and the row of the run
        that has it is returned. The run of the same `request`, if there is one, comes before all policies; and so does the one of the
        same `run_id`, which is looked for if it is submitted `again`, by somebody who has had no answer.

        The attributes it is started with are found at once. `row.key` and `mail.run` are assigned here: the next odd key above all others; and `row.followed_by`: a run that
        is to end the open one is not placed before its owner does that.
        """
        ...

    def send(self, mail: MailRow) -> None: ...

    def place(self, runs: Sequence[Placed]) -> list[bool | None]:
        """Put whole runs here, all or none, each with a key of its own: those of an id in the order in which they come.

        Returns: for each True if it was put here, False if it is here already (the same `run_id` of the same id), and None
            if its id belongs to another run, which is not among these. One None, and nothing was written.
        """
        ...

    def take_reply(self, request: str) -> ReplyRow | None:
        """The answer to a request, if it came; reading does not delete it."""
        ...

    def nudge(self, keys: Collection[int] = ()) -> None:
        """Hint to the owners of these runs that there is mail, without any to all owners. May be lost, and never fails; owners
        poll once a second anyway."""
        ...


class Tasks(Protocol):
    """Where workers of queues take attempts and bring their ends; each call is one small transaction.

    The row of a worker is what makes its word count: it is there from `join` to `leave`, unless the owner takes the worker
    for dead and deletes it (`bury`). Whatever that worker still writes is refused then, by `WorkerGone`.
    """

    def join(self, host: str, pid: int, build: str, now: int, queues: Sequence[str], names: Sequence[str]) -> int:
        """Begin to take tasks of these queues and activities; the number of the new member."""
        ...

    def exchange(
        self, member: int, endings: Sequence[Ending], queues: Sequence[str], wants: Sequence[Want], now: int
    ) -> Exchanged:
        """Bring endings and take tasks, the oldest first, as many of each want as it says.

        An ending is accepted if the task of its attempt is with this member still; then the task goes and the mail comes,
        together. A task that has to begin in less than `START_MARGIN_NS` is not given; of one that has to begin in time
        its run is told by a `TaskTaken`.

        Raises: WorkerGone.
        """
        ...

    def look(self, member: int, queues: Sequence[str]) -> Look:
        """What there is for the worker. Only reads, by one statement.

        Raises: WorkerGone.
        """
        ...

    def beat(self, member: int, queues: Sequence[str], details: Sequence[tuple[int, str, int, bytes]]) -> Look:
        """The same of a worker that tells that it lives. `details` (run, step, attempt, encoded Payload) are kept with its
        tasks.

        Raises: WorkerGone.
        """
        ...

    def waiting(self, queues: Sequence[str]) -> list[str]:
        """Activities of which there are tasks in these queues that nobody has taken. Only reads; for whoever was nudged."""
        ...

    def leave(self, member: int) -> None:
        """Take no tasks any more, and listen no more. What the worker has not ended is an orphan. Of one that was buried
        already, it tidies up what is left in its process."""
        ...

    def listen(self, member: int, on_nudge: Callable[[], None]) -> None:
        """Call `on_nudge` (from any thread) when there may be tasks."""
        ...

    def nudge(self, members: Iterable[int]) -> None:
        """Hint to these workers. May be lost; they look once a second anyway."""
        ...

    def dead(self, members: Iterable[int]) -> list[int]:
        """Owner only: those of these workers whose process is gone for certain. Of the others nobody can tell."""
        ...

    def bury(self, member: int, beat: int | None = None) -> bool:
        """Owner only: take a worker for dead; with `beat` only if it has not beaten since. Whether it was. One that has
        never taken a task is forgotten: as nothing it says is accepted any more, nothing will ever tell of it."""
        ...

    def orphans(self) -> list[Orphan]:
        """Owner only: tasks that were taken by a worker that has left or was buried, oldest first."""
        ...


START_MARGIN_NS = 200_000_000
"""A task is given to nobody who could take it just when its owner finds that it has not begun in time."""


class Views(Protocol):
    """Read by anybody, from any thread."""

    @property
    def human(self) -> HumanViews: ...

    def row(self, id: str) -> RunRow | None:
        """The newest run of an id."""
        ...

    def row_of(self, id: str, run_id: bytes) -> RunRow | None:
        """A certain run of an id."""
        ...

    def row_by_request(self, id: str, request: str) -> RunRow | None:
        """The run of an id that a request has made."""
        ...

    def end_of_chain(self, key: int) -> RunRow | None:
        """The newest run of the chain the run belongs to: itself, unless it goes on as another one."""
        ...

    def rows_by_key(self, keys: Sequence[int]) -> dict[int, RunRow]: ...

    def attributes(self, keys: Sequence[int]) -> dict[int, dict[str, Attribute]]:
        """What runs have, by name; of those that have any."""
        ...

    def search(self, wanted: RunFilter) -> list[RunRow]: ...

    def count(self, wanted: RunFilter, limit: int = 10_001) -> int:
        """How many runs fit, counted up to `limit`."""
        ...

    def prefixed(self, id_prefix: str, limit: int = 10) -> list[str]:
        """Ids that begin so, newest first: for prefixes on a command line and for its completion."""
        ...

    def stored(self, key: int) -> Stored | None: ...

    def blob(self, run: int, digest: bytes) -> bytes | None: ...

    def secret(self) -> bytes:
        """32 random bytes, the same for ever: what proves that a token was issued by this database."""
        ...

    def members(self, ids: Iterable[int]) -> dict[int, MemberRow]:
        """Those of them that are known, in the order of their numbers."""
        ...

    def definitions(self) -> list[DefinitionRow]: ...

    def workers(self) -> list[WorkerRow]:
        """The workers of queues that live, as far as anybody knows."""
        ...

    def backlog(self) -> list[BacklogRow]:
        """What the queues hold."""
        ...

    def owners(self) -> list[MemberRow]:
        """Those that move runs now, the eldest first: one at most of a store with one owner. Asking never keeps an owner out. One that
        was not seen for longer than its lease, and some seconds, is not told, be it declared dead or not."""
        ...


class Messages(Protocol):
    """What runs make of messages, and show. Read by anybody, from any thread."""

    def updates(self, key: int) -> list[UpdateRow]:
        """Those the run has accepted, in the order of their time."""
        ...

    def update(self, key: int, id: str) -> UpdateRow | None:
        """The one of that id which the run has accepted, or else the newest that another run of its chain has."""
        ...

    def updates_of(self, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], UpdateRow]:
        """The same of many, (key of a run, id), by no more calls than of one; those that are there."""
        ...

    def published(self, key: int) -> list[PublishedRow]:
        """What the run shows, by name."""
        ...


class Admin(Protocol):
    """Owning, publishing, checking, closing."""

    def try_own(self, host: str, pid: int, build: str, now: int, lease_ns: int = LEASE_NS) -> int | None:
        """Become the owner if nobody is: the new member's id, else None. Waits for nobody. Workers are told by `lease_ns`
        how long they may be silent. Earlier owners that have never committed are forgotten.

        The owner stays it until `close` or until its process is gone, however it dies.
        """
        ...

    def publish(self, definitions: Sequence[DefinitionRow]) -> None:
        """Replace what the owner knows; where several share the store, what they know of the same name. Owner only."""
        ...

    def listen(self, on_nudge: Callable[[], None]) -> None:
        """Owner only: call `on_nudge` (from any thread) when somebody nudges."""
        ...

    def builds(self) -> list[BuildRow]:
        """Which builds have begun runs, the one with the newest run first. For anybody; looks at every run."""
        ...

    def prune(self, wanted: Prune) -> Pruned:
        """Runs that have been closed for long go, with all they have; by anybody, a batch in one transaction."""
        ...

    def tidy(self, now: int) -> None:
        """Replies that have expired by then go, members of which no run can tell, and what only such members had published."""
        ...

    def time(self) -> int:
        """What the store's own clock shows, by which all machines go that share it; 0 of a store that has none but the machine's."""
        ...

    def check(self) -> list[str]:
        """Deep integrity check; one line per problem found."""
        ...

    def close(self) -> None:
        """Give up ownership and all connections. May be called twice, from any thread."""
        ...


class Marking(Protocol):
    """How the only owner of a store makes known in whose turn it is; several have `Membership.enter`."""

    def marker(self) -> "TurnMarker":
        """Owner only: the marker, which outlives its process. The same each time."""
        ...


class TurnMarker(Protocol):
    """Names the run in whose turn a process died; written without system calls."""

    def enter(self, key: int) -> None: ...

    def leave(self) -> None: ...

    def left_by_the_dead(self) -> int:
        """The key an earlier owner died in, or 0; read once after owning, then cleared."""
        ...


class Store(Protocol):
    """All of it. `address` is what `open_store` was given; opening it again elsewhere means the same store."""

    @property
    def address(self) -> str: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def work(self) -> Work: ...

    @property
    def post(self) -> Post: ...

    @property
    def tasks(self) -> Tasks: ...

    @property
    def streams(self) -> Streams: ...

    @property
    def views(self) -> Views: ...

    @property
    def messages(self) -> Messages: ...

    @property
    def admin(self) -> Admin: ...

    @property
    def membership(self) -> Membership | None:
        """None: one owner has all runs. Else there are several, each with runs of its own."""
        ...

    @property
    def marking(self) -> Marking | None:
        """None: several owners share it."""
        ...

    @property
    def enlisting(self) -> Enlisting | None:
        """None: no application has a transaction that this store could take part in."""
        ...
