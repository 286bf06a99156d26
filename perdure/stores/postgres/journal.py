"""The owner's commits: one call each, that is fenced by the row of its member."""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg

from perdure.kernel.project import KEEP, AttemptRow, RunRow
from perdure.stores.base import Batch, CommitRefused, Faults, IdTaken, OwnershipLost, StoreUnavailable
from perdure.stores.faults import doubt_by, refuse_by
from perdure.stores.postgres import turn
from perdure.stores.postgres.fence import Fence
from perdure.stores.postgres.lines import Line
from perdure.stores.postgres.rows import attribute_columns, mail_columns
from perdure.stores.postgres.texts import legible, to_json
from perdure.stores.postgres.trouble import NO_MEMORY, code_of, for_owner, told_to_owner
from perdure.stores.settling import telling_attempts

_COMMIT = (
    "SELECT perdure.commit(%b::bigint, %b::bigint, %b::bigint, %b::bigint[], %b::smallint[], %b::text[], %b::bigint[], %b::bigint[], "
    "%b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bytea[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], "
    "%b::bytea[], %b::bytea[], %t::jsonb)"
)
_FIRST = f"{_COMMIT}, perdure.remember(%b::bigint)"
"""The first one of a member also makes it one that history may tell of."""

MOST_BYTES = 256 * 1024 * 1024
"""What one call carries. A message of a gigabyte the server takes for a mistake, and ends the connection, so that nobody would know what
has come of it; and it holds what it takes in memory several times."""

LARGE_BYTES = 1024 * 1024
MEMORY_TRIES = 10
"""So often in a row a server that has no memory for a batch is asked again, if it is that large: some five seconds. A small one is
waited for without end, since it is others that have the memory."""

_LESS = "begin fewer steps at a time (asyncio.Semaphore), or hand on where large values lie, not the values"

_LOCKED = """
WITH free AS MATERIALIZED (SELECT key FROM perdure.runs WHERE key = ANY (%b::bigint[]) FOR NO KEY UPDATE SKIP LOCKED)
SELECT key FROM perdure.runs WHERE key = ANY (%b::bigint[]) AND key NOT IN (SELECT key FROM free) ORDER BY key
"""


class PostgresJournal:
    def __init__(self, place: str, line: Line, fence: Fence, faults: Faults | None) -> None:
        self._place = place
        self._line = line
        self.fence = fence
        self.spare = turn.Spare()
        self._faults = faults
        self._known = 0
        self._size = 0
        self._without_memory = 0
        """The member that has committed."""

    @property
    def member(self) -> int:
        """Whose commits they are, 0 of a store that owns nothing."""
        return self.fence.member

    def commit(self, batch: Batch) -> None:
        if not self.member:
            raise OwnershipLost(f"{self._place}: this store does not own")
        fault = self._faults("before", batch) if self._faults is not None else None
        refuse_by(fault)
        sql, values = self._call(batch)
        if self._faults is not None:
            self._faults("inside", batch)
        try:
            self.fence.open()
        except psycopg.Error as error:
            raise StoreUnavailable(f"{self._place}: {error}") from error
        try:
            if fault != "in-doubt-lost":
                answer = self.fence.ask(sql, values)
                if sql is turn.START:
                    self.spare.keep(answer[0][0])
                if batch.history or batch.created or signs_of(batch, self.member):  # else what is earlier has to tell
                    self.fence.wrote(lambda: signs_of(batch, self.member))
                self._known = self.member
                self._without_memory = 0
        except (OverflowError, UnicodeError, psycopg.DataError) as error:
            raise CommitRefused(f"a value that PostgreSQL cannot hold: {error}") from error
        except psycopg.Error as error:
            refusal = self._no_memory(error) or for_owner(error, self._place)
            if isinstance(refusal, IdTaken):
                refusal.runs = self._locked(batch)
            raise refusal from error
        doubt_by(fault)

    def _no_memory(self, error: psycopg.Error) -> CommitRefused | None:
        """The server has no memory for it, once more. That passes, if others take it; of what is large and fails each time the fault
        is its own size."""
        if code_of(error) != NO_MEMORY or self._size < LARGE_BYTES:
            return None
        self._without_memory += 1
        if self._without_memory < MEMORY_TRIES:
            return None
        return CommitRefused(
            f"the server has no memory for {self._size / 2**20:,.1f} MB at once ({error.diag.message_primary})", _LESS
        )

    def _call(self, batch: Batch) -> tuple[str, Sequence[Any]]:
        """The statement that writes it, and its values after the member and its term."""
        size = sum([len(part.events) for part in batch.history]) + sum([len(blob.data) for blob in batch.blobs])
        self._size = size
        _demand_size(size)  # before it is in memory twice
        try:
            packed = turn.packed(batch) if self._known == self.member else None
            if packed is not None:
                return packed
            columns = columns_of(batch)
        except (struct.error, UnicodeError) as error:
            raise CommitRefused(f"a value that PostgreSQL cannot hold: {error}") from error
        self._size = size + len(columns[-1] or "")
        _demand_size(self._size)
        return (_COMMIT, columns) if self._known == self.member else (_FIRST, [*columns, self.member])

    def _locked(self, batch: Batch) -> list[int]:
        """Which of its runs somebody else has locked just now."""
        keys = [*{row.key for row in batch.updated} | {key for key, _ in batch.parks}]
        try:
            return [key for (key,) in self._line.ask(_LOCKED, (keys, keys))]
        except psycopg.Error:
            return []  # it is found out in another way

    def settle(self, batch: Batch) -> bool:
        """Look whether it was written, and whether the member has lived all the time: else what is found may be another owner's,
        unless it is a part of a history, or a new run, which nobody else could have written."""
        with told_to_owner(self._place):
            lost: OwnershipLost | None = None
            try:
                self.fence.settle()
            except OwnershipLost as error:  # whatever it had open has ended by then
                lost = error
            signs = signs_of(batch, self.member)
            # One that leaves no sign has but what may be written twice: large values.
            found = bool(signs) and all(
                expected == bool(self._line.ask(sql, values)) for expected, sql, values in signs
            )
            if found:
                self.fence.wrote(lambda: signs_of(batch, self.member))
            if found and (batch.history or batch.created):
                return True
            if lost is not None:
                raise lost
            self.fence.open()
            self.fence.ask("SELECT perdure.fence(%b::bigint, %b::bigint)", ())
        return found


def _demand_size(size: int) -> None:
    if size > MOST_BYTES:
        text = f"what is to be written at once has {size / 2**20:,.1f} MB, and at most {MOST_BYTES // 2**20:,} are written to PostgreSQL"
        raise CommitRefused(text, _LESS)


def columns_of(batch: Batch) -> list[Any]:
    """The parameters of `perdure.commit`, after the member."""
    begun = {part.run for part in batch.history if part.seq == 1}
    plain: list[RunRow] = []
    whole: list[RunRow] = []
    for row in batch.updated:
        usual = row.block is None and not row.open_tail and not row.strikes and row.key not in begun
        (plain if usual else whole).append(row)
    for rows in (plain, whole):  # they are locked in the order of their keys
        rows.sort(key=lambda row: row.key)
    known = {part.run: part.seq - 1 for part in reversed(batch.history)}
    known |= {row.key: row.seq for row in batch.created}
    rest = _rest(batch, whole, [row for row in whole if row.key in begun])
    if whole:
        rest["seen"] = [(row.key, known.get(row.key, row.seq)) for row in whole]
    return [
        batch.at,
        [row.key for row in plain],
        [row.status for row in plain],
        [legible(row.note) for row in plain],
        [row.closed_at for row in plain],
        [row.wake_at for row in plain],
        [row.seq for row in plain],
        [known.get(row.key, row.seq) for row in plain],
        [part.run for part in batch.history],
        [part.seq for part in batch.history],
        [part.events for part in batch.history],
        batch.mail_read,
        [key for key, _ in batch.parks],
        [seq for _, seq in batch.parks],
        [blob.run for blob in batch.blobs],
        [blob.digest for blob in batch.blobs],
        [blob.data for blob in batch.blobs],
        to_json(rest) if rest else None,
    ]


def _rest(batch: Batch, whole: Sequence[RunRow], begun: Sequence[RunRow]) -> dict[str, Any]:
    """What few batches have, by name."""
    kept, attempts = _attempts(batch.attempts)
    rest: dict[str, Any] = {
        "withdrawn": batch.withdrawn,
        "followed": batch.followed,
        "created": batch.created,
        "updated": whole,
        "begun": begun,
        "pins": list(dict(batch.pins).items()),
        "attempts_kept": kept,
        "attempts": attempts,
        "attempts_dropped": batch.attempts_dropped,
        "attributes": attribute_columns(batch.attributes),
        "updates": list({(row.run, row.id): row for row in batch.updates}.values()),
        "published": list({(row.run, row.name): row for row in batch.published}.values()),
        "tasks_gone_of": batch.tasks_gone_of,
        "tasks_gone": batch.tasks_gone,
        "tasks": list({(task.run, task.step): task for task in batch.tasks}.values()),
        "chunks": batch.chunks,
        "human_gone_of": batch.human_gone_of,
        "human_gone": batch.human_gone,
        "human": list({(row.run, row.step): row for row in batch.human}.values()),
        "mail_excused": batch.mail_excused,
        "mail_kept": [mail_columns(mail) for mail in batch.mail_kept],
        "replies": list({row.request: row for row in batch.replies}.values()),
    }
    return {name: rows for name, rows in rest.items() if rows}


def _attempts(attempts: Sequence[AttemptRow]) -> tuple[list[AttemptRow], list[AttemptRow]]:
    """In order, folded: states of rows that are stored (KEEP), and whole rows."""
    whole: dict[tuple[int, str, int], AttemptRow] = {}
    kept: dict[tuple[int, str, int], AttemptRow] = {}
    for row in attempts:
        at = (row.run, row.step, row.attempt)
        if row.member != KEEP:
            whole[at] = row
        elif at in whole:
            whole[at] = msgspec.structs.replace(whole[at], state=row.state, retry_at=row.retry_at)
        else:
            kept[at] = row
    return list(kept.values()), list(whole.values())


def signs_of(batch: Batch, member: int) -> list[tuple[bool, str, Sequence[Any]]]:
    """What must be found, or must not, if the batch is durable: as it is all or nothing, any sign tells it that can. Runs are known
    by their run_id as well: in a database that has gone back, others may have got their keys."""
    of_runs = "SELECT 1 FROM perdure.runs WHERE key = ANY (%b::bigint[])"
    if batch.history:
        part = batch.history[0]
        run_id = next((row.run_id for row in (*batch.created, *batch.updated) if row.key == part.run), None)
        there = "SELECT 1 FROM perdure.history h JOIN perdure.runs r ON r.key = h.run WHERE h.run = %b AND h.seq = %b"
        same = f"{there} AND h.events = %b AND r.run_id = coalesce(%b::bytea, r.run_id)"
        return [(True, same, (part.run, part.seq, part.events, run_id))]
    if batch.created:
        first = batch.created[0]
        return [(True, "SELECT 1 FROM perdure.runs WHERE key = %b AND run_id = %b", (first.key, first.run_id))]
    if batch.withdrawn:
        return [(False, of_runs, (batch.withdrawn,))]
    if batch.mail_read:
        return [(False, "SELECT 1 FROM perdure.mail WHERE id = ANY (%b::bigint[])", (batch.mail_read,))]
    if batch.parks:
        mine = "SELECT 1 FROM perdure.runs WHERE key = ANY (%b::bigint[]) AND owner = %b::bigint"
        return [(False, mine, ([key for key, _ in batch.parks], member))]
    signs: list[tuple[bool, str, Sequence[Any]]] = []
    for row in batch.updated:
        same = "status = %b AND note = %b AND closed_at IS NOT DISTINCT FROM %b::bigint AND wake_at IS NOT DISTINCT FROM %b::bigint"
        state = (
            row.key,
            row.status,
            legible(row.note),
            row.closed_at,
            row.wake_at,
            row.seq,
            row.strikes,
            row.open_tail,
            row.block,
        )
        more = "seq = %b AND strikes = %b AND open_tail = %b AND block IS NOT DISTINCT FROM %b::bytea"
        signs.append((True, f"SELECT 1 FROM perdure.runs WHERE key = %b AND {same} AND {more}", state))
    for row in telling_attempts(batch):
        at = (row.run, row.step, row.attempt, row.state, row.retry_at)
        there = "SELECT 1 FROM perdure.attempts WHERE run = %b AND step = %b AND attempt = %b"
        same = "state = %b AND retry_at IS NOT DISTINCT FROM %b::bigint"
        if row.member == KEEP:
            signs.append((False, f"{there} AND NOT ({same})", at))
        else:
            rest = "member = %b AND counted = %b AND ended_at IS NOT DISTINCT FROM %b::bigint"
            whole = f"{there} AND {same} AND {rest} AND detail IS NOT DISTINCT FROM %b::bytea"
            signs.append((True, whole, (*at, row.member, row.counted, row.ended_at, row.detail)))
    for reply in batch.replies:
        there = "SELECT 1 FROM perdure.replies WHERE request = %b AND code = %b AND error = %b AND expires_at = %b"
        values = (reply.request, reply.code, legible(reply.error), reply.expires_at, reply.data)
        signs.append((True, f"{there} AND data IS NOT DISTINCT FROM %b::bytea", values))
    for mail in map(mail_columns, batch.mail_kept):
        there = "SELECT 1 FROM perdure.mail WHERE run = %b AND kind = %b AND body = %b"
        signs.append((True, there, (mail.run, mail.kind, mail.body)))
    return signs
