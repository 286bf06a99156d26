"""The contract every store keeps, in four small protocols: journal, work, views, admin.

The *journal* is written by the owner alone, a `Batch` at a time, all or nothing. *Work* is what an owner asks for to
find runs that need it. *Views* are read by anybody, from any thread, and are as new as the last commit. *Admin* opens,
checks and owns. What a client in another process may write (a start, mail) is in `Post`.

Ordering inside a batch: runs, history, attempts, blobs, mail out, mail in, replies. Keys of runs are integers that
grow with their start; the owner hands out even ones, clients that start runs through the database odd ones.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from perdure.kernel.messages import Mail
from perdure.kernel.project import AttemptRow, HistoryRow, RunRow


class BlobRow(msgspec.Struct):
    """Bytes of a payload that was too large for the history; `digest` is their SHA-256. Unique by (run, digest)."""

    run: int
    digest: bytes
    data: bytes


class MailRow(msgspec.Struct):
    """A message that sleeps until the owner reads it. `reply_to` names the row the answer is left in, if any."""

    id: int
    run: int
    message: Mail
    reply_to: str = ""


class ReplyRow(msgspec.Struct):
    """An answer for a client with nothing but a database connection. Empty `error` means "taken".

    `code` is that of an error in `errors`; rows older than `expires_at` (nanoseconds) are deleted by the owner.
    """

    request: str
    code: str
    error: str
    expires_at: int


class MemberRow(msgspec.Struct):
    """A process that took part: `id` is new for each start of an engine and never reused."""

    id: int
    host: str
    pid: int
    build: str
    started_at: int


class DefinitionRow(msgspec.Struct):
    """A workflow or activity the newest owner knows, so that clients without code can check names and arguments.

    `kind` is "workflow" or "activity"; `parameters` a JSON object: {"names": [...], "required": n, "schema": {...}}.
    """

    kind: str
    name: str
    parameters: bytes


class Batch(msgspec.Struct):
    """What is committed together."""

    created: list[RunRow] = []
    updated: list[RunRow] = []
    history: list[HistoryRow] = []
    attempts: list[AttemptRow] = []
    attempts_dropped: list[tuple[int, str, int]] = []
    blobs: list[BlobRow] = []
    mail_read: list[int] = []
    mail_kept: list[MailRow] = []
    replies: list[ReplyRow] = []
    withdrawn: list[int] = []
    """Keys of queued runs whose start was refused: the row and all it has go."""


class Stored(msgspec.Struct):
    """A run as it lies in the store: everything needed to make it stand again."""

    run: RunRow
    history: list[bytes]
    attempts: list[AttemptRow]
    mail: list[MailRow]


class RunFilter(msgspec.Struct, frozen=True):
    """Which runs to list: all conditions hold. Newest first; `before_key` continues after a page."""

    statuses: tuple[int, ...] = ()
    workflow: str | None = None
    id_prefix: str | None = None
    started_since: int | None = None
    before_key: int | None = None
    limit: int = 100


class CommitRefused(Exception):
    """The store took nothing of the batch, and will not take it again as it is (a constraint, a value)."""


class CommitInDoubt(Exception):
    """Whether the batch was written is unknown; `Journal.settle` tells."""


class StoreUnavailable(Exception):
    """Nothing was written, through no fault of the batch; the same batch may pass later (busy, I/O error)."""


class StoreFull(Exception):
    """Nothing was written: no room, or no permission to write. The owner stops."""


class OwnershipLost(Exception):
    """Another process owns the store now. Nothing was written. The owner stops."""


class Journal(Protocol):
    """Written by the owner only, from one thread."""

    def commit(self, batch: Batch) -> None:
        """Write the batch durably, all or nothing.

        Raises: CommitRefused, CommitInDoubt, StoreUnavailable, StoreFull, OwnershipLost.
        """
        ...

    def settle(self, batch: Batch) -> bool:
        """After CommitInDoubt: whether the batch is durable, found by looking. Not called for an empty batch."""
        ...


class Work(Protocol):
    """Asked by the owner, from its thread."""

    def last_key(self) -> int:
        """The highest key of a run, 0 without any."""
        ...

    def load(self, keys: Sequence[int]) -> dict[int, Stored]:
        """Runs with their history, attempts and unread mail; missing keys are left out."""
        ...

    def find(self, ids: Iterable[str]) -> dict[str, RunRow]:
        """The newest run of each id that exists."""
        ...

    def awake(self) -> list[int]:
        """Keys of runs that are queued or running: an owner that died left them, or a client queued them."""
        ...

    def mending(self) -> list[int]:
        """Keys of runs that are held, blocked or quarantined."""
        ...

    def due(self, now: int, limit: int) -> list[int]:
        """Keys of open runs with `wake_at` <= now, earliest first."""
        ...

    def next_due(self) -> int | None:
        """The earliest `wake_at` of all runs."""
        ...

    def mail(self, limit: int) -> list[MailRow]:
        """Unread mail of runs that are not blocked or quarantined, and Retry and Terminate of those that are, oldest first."""
        ...


class Post(Protocol):
    """Written by anybody, each call one small transaction that waits for nobody but the writer lock."""

    def submit(self, row: RunRow, mail: MailRow) -> RunRow:
        """Queue a run with its Start, unless the id exists: then nothing is written and that run's row is returned.

        `row.key` is assigned here.
        """
        ...

    def send(self, mail: MailRow) -> None: ...

    def take_reply(self, request: str) -> ReplyRow | None:
        """The answer to a request, if it came; reading does not delete it."""
        ...

    def nudge(self) -> None:
        """Hint to the owner that there is mail. May be lost; the owner polls once a second anyway."""
        ...


class Views(Protocol):
    """Read by anybody, from any thread."""

    def row(self, id: str) -> RunRow | None:
        """The newest run of an id."""
        ...

    def rows_by_key(self, keys: Sequence[int]) -> dict[int, RunRow]: ...

    def search(self, wanted: RunFilter) -> list[RunRow]: ...

    def count(self, wanted: RunFilter, limit: int = 10_001) -> int:
        """How many runs fit, counted up to `limit`."""
        ...

    def prefixed(self, id_prefix: str, limit: int = 10) -> list[str]:
        """Ids that begin so, newest first: for prefixes on a command line and for its completion."""
        ...

    def stored(self, key: int) -> Stored | None: ...

    def blob(self, run: int, digest: bytes) -> bytes | None: ...

    def members(self) -> dict[int, MemberRow]: ...

    def definitions(self) -> list[DefinitionRow]: ...

    def owner(self) -> MemberRow | None:
        """The living owner; None if nobody holds the store."""
        ...


class Admin(Protocol):
    """Opening, owning, checking."""

    address: str

    def try_own(self, host: str, pid: int, build: str, now: int) -> int | None:
        """Become the owner if nobody is: the new member's id, else None. Never waits."""
        ...

    def publish(self, definitions: Sequence[DefinitionRow]) -> None:
        """Replace what the owner knows. Owner only."""
        ...

    def listen(self, on_nudge: Callable[[], None]) -> None:
        """Owner only: call `on_nudge` (from any thread) when somebody nudges."""
        ...

    def strikes(self) -> "TurnMarker":
        """Owner only: the crash-proof marker of the run that is in its turn."""
        ...

    def check(self) -> list[str]:
        """Deep integrity check; one line per problem found."""
        ...

    def close(self) -> None:
        """Give up ownership and all connections. May be called twice, from any thread."""
        ...


class TurnMarker(Protocol):
    """Names the run in whose turn a process died; written without system calls."""

    def enter(self, key: int) -> None: ...

    def leave(self) -> None: ...

    def left_by_the_dead(self) -> int:
        """The key an earlier owner died in, or 0; read once after owning, then cleared."""
        ...


class Store(Journal, Work, Post, Views, Admin, Protocol):
    """All of it."""
