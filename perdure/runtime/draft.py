"""One batch in the making: which runs were moved, what was read, what is to be answered once it is durable."""

from collections import Counter
from collections.abc import Callable

from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.attributes import Attribute
from perdure.kernel.events import Block, Payload
from perdure.kernel.messages import Mail
from perdure.kernel.project import RunRow, RunRows, project, queue
from perdure.kernel.run import Status
from perdure.runtime.actors import Actor
from perdure.runtime.alarms import HORIZON_NS
from perdure.runtime.letters import Heard, Letter, Started, StartRequest
from perdure.runtime.outbox import Receiver
from perdure.stores.base import Batch, BlobRow, MailRow, ReplyRow
from perdure.stores.mail import OF_A_RUN

REPLY_LIVES_NS = 600 * 1_000_000_000
"""How long an answer waits in the store for a client that does not come for it."""

_KEEPS = frozenset({msg.Start, msg.AttemptEnded, msg.Complete, msg.Cancel, msg.Terminate, msg.Retry, msg.Signal})
"""What is delivered without having been mail, and must not be lost."""


class Draft:
    """`answers` are given when the batch is durable: (request, what it is told, or the error). `gives_tasks` to
    workers: so many of each (queue, activity)."""

    __slots__ = (
        "actors",
        "answers",
        "attributes",
        "begun",
        "blobs",
        "born",
        "continued",
        "damaged",
        "elsewhere",
        "excused",
        "followers",
        "gives_tasks",
        "heard",
        "kept",
        "late",
        "made",
        "marked",
        "now",
        "onward",
        "parks",
        "posted",
        "read",
        "replies",
        "told",
        "unread",
        "withdrawn",
    )

    def __init__(self, now: int) -> None:
        self.now = now
        self.actors: dict[int, Actor] = {}
        self.read: dict[int, None] = {}
        self.kept: list[MailRow] = []
        self.excused: dict[int, None] = {}
        """Letters that stay, and whose senders do not wait any more."""
        self.replies: list[ReplyRow] = []
        self.told: list[tuple[int, Payload]] = []
        """Which of these are answers to queries, and what they say."""
        self.withdrawn: list[int] = []
        self.gives_tasks: Counter[tuple[str, str]] = Counter()
        self.answers: list[tuple[StartRequest, Started | None, BaseException | None]] = []
        self.begun: dict[str, tuple[Actor, msg.Start]] = {}
        """The newest runs of ids, of those that have begun in this batch, with their Start."""
        self.made: dict[tuple[str, str], Actor] = {}
        """Runs begun in this batch, by id and the request that made them."""
        self.followers: dict[int, int] = {}
        """Who is the newest run of its id no more, and who is in its stead, by key."""
        self.continued: dict[int, int] = {}
        """Of these, the runs that go on as the other one."""
        self.born: dict[int, int] = {}
        """Children that are queued in this batch, with their parents, by key."""
        self.posted = False
        """Whether there is mail for runs that is to be read as soon as the batch is durable."""
        self.late: list[MailRow] = []
        """Mail that comes after what a run hands on to the one it goes on as."""
        self.onward: list[Letter] = []
        """The same of this process: to be delivered before what comes next."""
        self.blobs: list[BlobRow] = []
        """Large bytes that this mail refers to."""
        self.attributes: list[tuple[int, Attribute]] = []
        """Of runs that are queued: lists find them by these before they have begun."""
        self.heard: list[tuple[Receiver, Heard]] = []
        """Who in this process is told what became of their messages."""
        self.damaged: dict[int, str] = {}
        """Runs that cannot be read, by key, with what to say of them."""
        self.unread: dict[int, int] = {}
        """How many events these have."""
        self.marked: list[RunRow] = []
        """Their summaries, where those do not say so yet."""
        self.elsewhere: list[Callable[[], None]] = []
        """What sends something by mail that is for runs of other owners."""
        self.parks: dict[int, None] = {}
        """Runs that nobody owns any more when the batch is durable."""

    def send_elsewhere(self, item: Letter | StartRequest) -> None:
        """It is for a run that another owner has. What nobody waits for is of no use there."""
        if item.elsewhere is not None:
            self.elsewhere.append(item.elsewhere)

    def consume(
        self, letter: Letter, code: str = "", error: str = "", data: bytes | None = None, known: bool = False
    ) -> None:
        """The letter has been read; whoever waits for it learns how it went."""
        if letter.mail_id:
            self.read[letter.mail_id] = None
        self.reply(letter, code, error, data, known)

    def reply(
        self, letter: Letter, code: str = "", error: str = "", data: bytes | None = None, known: bool = False
    ) -> None:
        if letter.reply_to.startswith(OF_A_RUN):
            key, _, step = letter.reply_to[1:].partition(":")
            self.post(MailRow(0, int(key), msg.ExternalReplied(step, code, error)))
        elif letter.reply_to:
            self.replies.append(ReplyRow(letter.reply_to, code, error, self.now + REPLY_LIVES_NS, data))
        if letter.receiver is not None:
            self.heard.append((letter.receiver, Heard(code, error, data, known)))

    def post(self, mail: MailRow) -> None:
        """Mail from a run for another one, or for itself."""
        self.kept.append(mail)
        self.posted = True

    def excuse(self, letter: Letter) -> None:
        """The run it is for cannot take it now, and will later: whoever has sent it does not wait for that."""
        if letter.mail_id and letter.reply_to.startswith(OF_A_RUN):
            if letter.mail_id in self.excused:
                return
            self.excused[letter.mail_id] = None
        self.reply(letter)

    def answer_to(self, key: int, step: str) -> str:
        """As `reply_to` of mail: a run's step waits for the answer."""
        return f"{OF_A_RUN}{key}:{step}"

    def pass_on(self, letter: Letter, key: int, answered: bool = False) -> None:
        """It is for the run that its own goes on as, which begins when the batch is durable: that one answers whoever has sent
        it, since it may end without having heard it; unless that was `answered`."""
        if letter.receiver is not None and not letter.mail_id:
            self.onward.append(
                Letter(key, letter.message, blobs=letter.blobs, receiver=letter.receiver, elsewhere=letter.elsewhere)
            )
            return
        self.late.append(MailRow(0, key, letter.message, "" if answered else letter.reply_to))  # type: ignore[arg-type]
        self.posted = True
        if letter.mail_id:
            self.read[letter.mail_id] = None

    def keep(self, letter: Letter) -> None:
        """The run cannot take the letter now: it waits in the mailbox, where what came from there lies already."""
        if not letter.mail_id and type(letter.message) in _KEEPS:
            message: Mail = letter.message  # type: ignore[assignment]
            self.kept.append(MailRow(0, letter.key, message, letter.reply_to))

    def queue(self, actor: Actor, start: msg.Start, begin_at: int | None) -> None:
        """A new run that begins later, None: when its turn comes. Until then its Start lies in its mailbox."""
        queue(actor.run, start, self.now, begin_at)
        self.kept.append(MailRow(0, actor.run.key, start))
        self.posted = self.posted or begin_at is None
        if start.terms is not None:
            self.attributes += [(actor.run.key, each) for each in start.terms.attributes]

    def damage(self, row: RunRow, build: str, why: str) -> None:
        """A run whose history or attempts cannot be read: nothing can be decided about it, so only its summary is
        written, which says that it is blocked. Everything else is left as it is."""
        what = f"run {row.id!r}: what the database holds of it cannot be read ({why}); restore a backup"
        self.damaged[row.key] = what
        self.unread[row.key] = row.seq
        if row.status < Status.COMPLETED and row.status != Status.BLOCKED:
            message = f"what the database holds of it cannot be read ({why})"
            begin_at = None if row.seq else row.wake_at
            hint = "restore a backup; perdure doctor lists the damage"
            block = Block("undecodable", build, message, hint, at=self.now, begin_at=begin_at)
            row.status, row.note, row.wake_at, row.block = Status.BLOCKED, message, None, wire.encode(block)
            self.marked.append(row)

    def withdraw(self, letter: Letter, code: str, error: str) -> None:
        """Refuse a queued start: the run goes, only the answer stays."""
        self.withdrawn.append(letter.key)
        self.replies.append(ReplyRow(letter.reply_to, code, error, self.now + REPLY_LIVES_NS))

    def has_to_park(self) -> bool:
        """Whether nobody may own a run of the batch, be there nothing to write of it: it is over, or waits for other code, which
        another member may have."""
        return bool(self.damaged) or any(
            not actor.run.is_open or actor.run.block is not None or actor.run.held for actor in self.actors.values()
        )

    def park(self, at_work: Callable[[int], bool]) -> list[tuple[int, int]]:
        """The runs of the batch that only wait, or have ended, with the number of their events.

        One that is due soon stays. So does one that is blocked while attempts of it are `at_work` in this process: whoever took it
        over would take them for lost. And one that was released just now, which is to be looked after first.
        """
        soon = self.now + HORIZON_NS
        gone = set(self.withdrawn)
        for key, actor in self.actors.items():
            run = actor.run
            if not actor.is_parked or key in gone or (run.wake_at() or soon) < soon:
                continue
            if run.is_open and (at_work(key) if run.block is not None else _is_released(actor)):
                continue
            self.parks[key] = None
        parks = [(key, self.actors[key].run.seq) for key in self.parks]
        return parks + [(key, seq) for key, seq in self.unread.items() if not at_work(key)]

    def batch(self) -> Batch:
        """The rows."""
        batch = Batch(
            withdrawn=self.withdrawn,
            mail_read=list(self.read),
            mail_excused=[id for id in self.excused if id not in self.read],
            mail_kept=self.kept,
            replies=self.replies,
            at=self.now,
            updated=list(self.marked),
            attributes=list(self.attributes),
            blobs=list(self.blobs),
        )
        if self.followers:
            new = {key for key, actor in self.actors.items() if actor.is_new}
            batch.followed = [pair for pair in self.followers.items() if pair[0] not in new]
        for actor in self.actors.values():
            if actor.blobs:
                batch.blobs += actor.take_blobs()
            if not (actor.events or actor.is_new):
                continue
            rows = project(actor.run, actor.events, actor.seq)
            if actor.is_new:
                rows.run.followed_by = self.followers.get(actor.run.key, 0)
                batch.created.append(rows.run)
            else:
                batch.updated.append(rows.run)
            if rows.history is not None:
                batch.history.append(rows.history)
            if rows.moved and not actor.is_new:
                batch.pins.append((rows.run.key, rows.run.pinned))
            if rows.attributes:
                batch.attributes += rows.attributes
            if rows.chunks:
                batch.chunks += rows.chunks
            if rows.updates or rows.published:
                batch.updates += rows.updates
                batch.published += rows.published
            if rows.attempts:
                batch.attempts += rows.attempts
                batch.attempts_dropped += rows.attempts_dropped
            if actor.run.queued:
                self._add_tasks(batch, rows)
            if actor.run.people is not None:
                _add_human_tasks(batch, actor, rows)
        return batch

    def _add_tasks(self, batch: Batch, rows: RunRows) -> None:
        batch.tasks += rows.tasks
        batch.tasks_gone += rows.tasks_gone
        if rows.all_tasks_gone:
            batch.tasks_gone_of.append(rows.run.key)
        self.gives_tasks.update((task.queue, task.name) for task in rows.tasks)


def _is_released(actor: Actor) -> bool:
    return any(type(event) is ev.RunReleased for event in actor.events)


def _add_human_tasks(batch: Batch, actor: Actor, rows: RunRows) -> None:
    if not actor.run.is_open:
        batch.human_gone_of.append(actor.run.key)
    batch.human += rows.human
    batch.human_gone += rows.human_gone


def is_empty(batch: Batch) -> bool:
    """Whether there is nothing to write."""
    return not (
        batch.created
        or batch.updated
        or batch.mail_read
        or batch.mail_excused
        or batch.mail_kept
        or batch.replies
        or batch.withdrawn
        or batch.blobs
        or batch.parks
    )
