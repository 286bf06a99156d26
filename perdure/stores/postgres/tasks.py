"""Tasks: workers in other processes take attempts and bring their ends, each time by one call."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter

import msgspec
import psycopg

from perdure.errors import StoreError
from perdure.kernel import wire
from perdure.kernel.messages import AttemptEnded, TaskTaken
from perdure.kernel.project import TaskRow
from perdure.stores import base
from perdure.stores.orphans import loss_of
from perdure.stores.postgres.hints import Listener
from perdure.stores.postgres.lines import Line, Lines, Row
from perdure.stores.postgres.rows import KINDS, mail_columns
from perdure.stores.postgres.trouble import code_of, told_to_owner

_JOIN = "SELECT perdure.join_workers(%b, %b::bigint, %b, %b::bigint, %b::text[], %b::text[], %b::integer)"
_EXCHANGE = (
    "SELECT * FROM perdure.exchange(%b::bigint, %b::bigint[], %b::text[], %b::bigint[], %b::smallint[], %b::bytea[], "
    "%b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[], %b::text[], %t::jsonb, %b::bigint, %b::bigint, %b::smallint)"
)
_LOOK = "SELECT * FROM perdure.look(%b::bigint, %b::text[])"
_BEAT = "SELECT * FROM perdure.beat(%b::bigint, %b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::bytea[])"
_LOSE = "SELECT perdure.lose(%b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::smallint, %b::bytea[])"
_ORPHANS = (
    "SELECT run, step, attempt, member, coalesce(claimed_at, 0), details FROM perdure.tasks "
    "WHERE member > 0 AND NOT EXISTS (SELECT 1 FROM perdure.workers w WHERE w.member = tasks.member) ORDER BY id"
)


class PostgresTasks:
    def __init__(self, place: str, knows: int, lines: Lines, listener: Listener, patience: float) -> None:
        self._place = place
        self._knows = knows
        self._lines = lines
        self._listener = listener
        self._patience = patience

    @contextmanager
    def _asking(self) -> Iterator[Line]:
        with told_to_owner(self._place), self._lines.use(self._patience) as line:
            try:
                yield line
            except psycopg.Error as error:
                if code_of(error) == "PD004":
                    raise base.WorkerGone(error.diag.message_primary) from error
                raise

    def join(self, host: str, pid: int, build: str, now: int, queues: Sequence[str], names: Sequence[str]) -> int:
        with self._asking() as line:
            return line.ask(_JOIN, (host, pid, build, now, list(queues), list(names), self._knows))[0][0]

    def exchange(
        self, member: int, endings: Sequence[base.Ending], queues: Sequence[str], wants: Sequence[base.Want], now: int
    ) -> base.Exchanged:
        mail = [mail_columns(base.MailRow(0, one.run, one.message)) for one in endings]
        blobs = [(place, blob) for place, one in enumerate(endings, 1) for blob in one.blobs]
        asked = [_asked(want) for want in wants if want.names and want.limit > 0]
        values = [
            member,
            [one.run for one in endings],
            [one.message.id for one in endings],
            [one.message.attempt for one in endings],
            [each.kind for each in mail],
            [each.body for each in mail],
            [place for place, _ in blobs],
            [blob.run for _, blob in blobs],
            [blob.digest for _, blob in blobs],
            [blob.data for _, blob in blobs],
            list(queues),
            msgspec.json.encode(asked).decode(),
            now,
            now + base.START_MARGIN_NS,
            KINDS[TaskTaken],
        ]
        with self._asking() as line:
            found = line.ask(_EXCHANGE, values)
        accepted = {row[1] for row in found if row[0] == 0}
        taken = sorted([row for row in found if row[0] == 1], key=itemgetter(1))  # they come want by want
        tasks = [TaskRow(*row[2:]) for row in taken]
        return base.Exchanged([place in accepted for place in range(1, len(endings) + 1)], tasks)

    def look(self, member: int, queues: Sequence[str]) -> base.Look:
        with self._asking() as line:
            return _look(line.read(_LOOK, (member, list(queues))))

    def beat(self, member: int, queues: Sequence[str], details: Sequence[tuple[int, str, int, bytes]]) -> base.Look:
        columns = [list(column) for column in zip(*details, strict=True)] or [[], [], [], []]
        with self._asking() as line:
            return _look(line.ask(_BEAT, (member, list(queues), *columns)))

    def waiting(self, queues: Sequence[str]) -> list[str]:
        with self._asking() as line:
            return [name for (name,) in line.read("SELECT perdure.waiting(%b::text[])", (list(queues),))]

    def leave(self, member: int) -> None:
        self._listener.remove(member)
        self.bury(member)

    def listen(self, member: int, on_nudge: Callable[[], None]) -> None:
        self._listener.add(member, on_nudge)

    def nudge(self, members: Iterable[int]) -> None:
        with contextlib.suppress(psycopg.Error, StoreError), self._lines.use() as line:
            line.ask("SELECT perdure.nudge_workers(%b::bigint[])", (list(members),))

    def dead(self, members: Iterable[int]) -> list[int]:
        return []  # of a process on another machine nobody can tell

    def bury(self, member: int, beat: int | None = None) -> bool:
        with self._asking() as line:
            goes = line.ask("SELECT perdure.bury(%b::bigint, %b::bigint)", (member, beat))[0][0]
        if goes:
            self.orphans()
        return goes

    def orphans(self) -> list[base.Orphan]:
        """None is left: whoever finds some tells their runs, whoever owns these, or will."""
        with self._asking() as line:
            found = [base.Orphan(*columns) for columns in line.read(_ORPHANS)]
            if found:
                runs, steps = [each.run for each in found], [each.step for each in found]
                attempts, members = [each.attempt for each in found], [each.member for each in found]
                bodies = [wire.encode(loss_of(each)) for each in found]
                line.ask(_LOSE, (runs, steps, attempts, members, KINDS[AttemptEnded], bodies))
        return []


def _asked(want: base.Want) -> dict[str, object]:
    asked: dict[str, object] = {"names": want.names, "most": want.limit}
    if want.own is not None:
        asked |= {"own": want.own.queue, "workflows": want.own.workflows, "build": want.own.build}
    return asked


def _look(found: Sequence[Row]) -> base.Look:
    look = base.Look(sorted(name for what, name, *_ in found if what == 0), set())
    for what, _, run, step, attempt in found:
        if what == 1:
            look.taken.add((run, step, attempt))
        elif what == 2:
            look.lease_ns = run
        elif what == 3:
            look.time = run
    return look
