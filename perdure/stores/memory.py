"""A store that forgets when the process ends: the oracle that SQLite is held against, and what most tests run on.

Nothing here is clever, so that what a store means can be read off. Several `MemoryStore` handles on one `Shelf`
behave like several processes on one database: one of them can own it, or, if the shelf is `shared`, each of them runs of
its own. Closing a handle stands for the death of its process.
"""

import copy
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import TypeVar

import msgspec

from perdure.kernel import wire
from perdure.kernel.attributes import Attribute, Wanted, fits, merged
from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.messages import Cancel, Move, Query, Retry, Signal, Start, Terminate, Update
from perdure.kernel.project import KEEP, AttemptRow, HistoryRow, PublishedRow, RunRow, TaskRow, UpdateRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.faults import doubt_by, refuse_by
from perdure.stores.mail import OF_A_RUN, by_turns
from perdure.stores.memory_admin import MemoryAdmin, MemoryMarking
from perdure.stores.memory_human import MemoryHumanViews
from perdure.stores.memory_members import MemoryMembership, Seat, awaited, fenced
from perdure.stores.memory_messages import MemoryMessages
from perdure.stores.memory_post import MemoryPost, made_by
from perdure.stores.memory_streams import HeldStream, MemoryStreams, demand_unclosed, put_chunks
from perdure.stores.memory_tasks import MemoryTasks
from perdure.stores.settling import telling_attempts
from perdure.stores.streaming import Bell

_Row = TypeVar("_Row")
_copy = copy.copy


class Shelf:
    """What one database holds. Every access is under `lock`; rows are copied on their way in and out."""

    def __init__(self, shared: bool = False) -> None:
        self.lock = threading.RLock()
        self.shared = shared
        self.seats: dict[int, Seat] = {}
        self.owners: dict[int, int] = {}
        self.claims: dict[int, int] = {}
        self.deaths: dict[int, int] = {}
        self.died_in: dict[int, int] = {}
        self.last_key = 0
        self.between: Callable[[], None] = lambda: None
        self.runs: dict[int, RunRow] = {}
        self.of_id: dict[str, list[int]] = {}
        self.history: dict[int, dict[int, HistoryRow]] = {}
        self.attempts: dict[tuple[int, str, int], AttemptRow] = {}
        self.attributes: dict[int, dict[str, Attribute]] = {}
        self.updates: dict[tuple[int, str], UpdateRow] = {}
        self.published: dict[tuple[int, str], PublishedRow] = {}
        self.blobs: dict[tuple[int, bytes], bytes] = {}
        self.mail: dict[int, base.MailRow] = {}
        self.mail_ids = 0
        self.replies: dict[str, base.ReplyRow] = {}
        self.streams: dict[int, dict[str, HeldStream]] = {}
        self.writers: dict[tuple[int, str], tuple[int, int]] = {}
        self.bell = Bell()
        self.tasks: dict[tuple[int, str], TaskRow] = {}
        self.human: dict[tuple[int, str], HumanTaskRow] = {}
        self.workers: dict[int, base.WorkerRow] = {}
        self.listeners: dict[int, Callable[[], None]] = {}
        self.members: dict[int, base.MemberRow] = {}
        self.member_ids = 0
        self.used_members: set[int] = set()
        self.last_keys: dict[int, int] = {}
        self.definitions: list[base.DefinitionRow] = []
        self.known_by: dict[tuple[str, str], set[int]] = {}
        self.owner = 0
        self.leases: dict[int, int] = {}
        """How long members may be silent, and workers after their last beat."""
        self.clock: Callable[[], int] = lambda: 0
        """Of the store, if that is to be another one than those of its owners."""
        self.turn = 0
        self.secret = os.urandom(32)
        self.on_nudge: dict[int, Callable[[], None]] = {}

    def new_key(self) -> int:
        """The next odd one above all others; of those that are reserved, `last_key` is the highest."""
        return (max(max(self.runs, default=0), self.last_key) + 1) | 1

    def new_member(self, host: str, pid: int, build: str, now: int) -> int:
        self.member_ids += 1
        self.members[self.member_ids] = base.MemberRow(self.member_ids, host, pid, build, now)
        return self.member_ids

    def lease_of_workers(self) -> int:
        """How long a worker may be silent that beats now: as long as each of the owners allows that live."""
        owners = self.seats.keys() if self.shared else {self.owner}
        return min((self.leases[member] for member in owners if member in self.leases), default=base.LEASE_NS)

    def forget_unless_used(self, member: int) -> None:
        if member not in self.used_members:
            self.members.pop(member, None)

    def apply(self, batch: base.Batch, member: int) -> None:
        """Write what was found to be in order."""
        grown = [row.key for row in batch.updated if row.key in self.runs and row.seq > self.runs[row.key].seq]
        _apply(self, batch)
        self.used_members.add(member)
        if self.shared:
            for key in grown:
                self.deaths.pop(key, None)
            self.owners |= {row.key: member for row in batch.created}
            for key, _ in batch.parks:
                self.owners.pop(key, None)

    def open_runs(self) -> list[RunRow]:
        return [row for row in self.runs.values() if row.status < Status.COMPLETED]

    def parts(self, key: int) -> list[HistoryRow]:
        return [part for _, part in sorted(self.history.get(key, {}).items())]

    def new_mail_id(self) -> int:
        self.mail_ids += 1
        return self.mail_ids

    def put_mail(self, mail: base.MailRow, id: int = 0) -> None:
        """With an `id` that was taken before it may come behind later ones."""
        new = id or self.new_mail_id()
        self.mail[new] = base.MailRow(new, mail.run, mail.message, mail.reply_to)
        if id:
            self.mail = dict(sorted(self.mail.items()))

    def put_run(self, row: RunRow) -> None:
        self.runs[row.key] = _copy(row)
        self.of_id.setdefault(row.id, []).append(row.key)

    def newest(self, id: str) -> RunRow | None:
        return next((row for row in self.with_id(id) if not row.followed_by), None)

    def with_id(self, id: str) -> list[RunRow]:
        return [self.runs[key] for key in self.of_id.get(id, ())]

    def stored(self, *keys: int) -> dict[int, base.Stored]:
        """Those that exist. What belongs to runs is looked through once."""
        found = {
            key: base.Stored(_copy(self.runs[key]), [part.events for part in self.parts(key)], [], [])
            for key in keys
            if key in self.runs
        }
        for at in sorted(at for at in self.attempts if at[0] in found):
            found[at[0]].attempts.append(_copy(self.attempts[at]))
        for mail in self.mail.values():
            if mail.run in found:
                found[mail.run].mail.append(_copy(mail))
        return found

    def tasks_of(self, key: int) -> list[TaskRow]:
        return [msgspec.structs.replace(task, body=b"") for task in self.tasks.values() if task.run == key]

    def remove(self, key: int) -> None:
        row = self.runs.pop(key, None)
        if row is not None:
            self.of_id[row.id].remove(key)
            self.last_key = max(self.last_key, key)  # no other run gets it
        self.owners.pop(key, None)
        self.claims.pop(key, None)
        self.deaths.pop(key, None)
        self.died_in.pop(key, None)
        self.history.pop(key, None)
        self.attributes.pop(key, None)
        self.streams.pop(key, None)
        self.attempts = _without(self.attempts, lambda at, _: at[0] == key)
        self.writers = _without(self.writers, lambda at, _: at[0] == key)
        self.tasks = _without(self.tasks, lambda at, _: at[0] == key)
        self.updates = _without(self.updates, lambda at, _: at[0] == key)
        self.published = _without(self.published, lambda at, _: at[0] == key)
        self.human = _without(self.human, lambda at, _: at[0] == key)
        self.blobs = _without(self.blobs, lambda at, _: at[0] == key)
        self.mail = _without(self.mail, lambda _, mail: mail.run == key)


_Key = TypeVar("_Key")


def _without(rows: dict[_Key, _Row], goes: Callable[[_Key, _Row], bool]) -> dict[_Key, _Row]:
    return {key: row for key, row in rows.items() if not goes(key, row)}


class MemoryStore:
    """A handle on a shelf; without `shelf` on one of its own."""

    def __init__(
        self, address: str = "memory://", shelf: Shelf | None = None, faults: base.Faults | None = None
    ) -> None:
        self.address = address
        self.shelf = shelf or Shelf()
        self.admin = MemoryAdmin(self.shelf)
        self.journal = MemoryJournal(self.shelf, self.admin, faults)
        self.work = MemoryWork(self.shelf, self.admin)
        self.post = MemoryPost(self.shelf)
        self.tasks = MemoryTasks(self.shelf)
        self.streams = MemoryStreams(self.shelf, lambda: self.admin.owns)
        self.views = MemoryViews(self.shelf)
        self.messages = MemoryMessages(self.shelf)
        self.enlisting = None  # no transaction of anybody else's reaches it
        self.membership = MemoryMembership(self.shelf, self.admin, self.work) if self.shelf.shared else None
        self.marking = None if self.shelf.shared else MemoryMarking(self.shelf)


class MemoryJournal:
    def __init__(self, shelf: Shelf, admin: MemoryAdmin, faults: base.Faults | None) -> None:
        self._shelf = shelf
        self._admin = admin
        self._faults = faults

    def commit(self, batch: base.Batch) -> None:
        with self._shelf.lock:
            if not self._admin.owns:
                raise base.OwnershipLost("this handle does not own the store")
            fault = self._faults("before", batch) if self._faults is not None else None
            refuse_by(fault)
            with fenced(self._shelf, self._admin.member, batch) as seat:
                why = _refusal(self._shelf, batch)
                if why is not None:
                    raise base.CommitRefused(why)
                demand_unclosed(self._shelf, batch.chunks)
                if self._faults is not None:
                    self._faults("inside", batch)
                if fault in ("in-doubt-late-applied", "in-doubt-late-lost"):
                    assert seat is not None, "only where several owners share the store"
                    seat.pending, seat.applies = batch, fault == "in-doubt-late-applied"
                elif fault != "in-doubt-lost":
                    self._shelf.apply(batch, self._admin.member)
            doubt_by(fault)

    def settle(self, batch: base.Batch) -> bool:
        shelf = self._shelf
        with shelf.lock:
            awaited(shelf, self._admin.member)
            return (
                all(key not in shelf.runs for key in batch.withdrawn)
                and all(key in shelf.runs and shelf.runs[key].followed_by == by for key, by in batch.followed)
                and all(row.key in shelf.runs for row in batch.created)
                and all(_has_state(shelf, row) for row in batch.updated)
                and all(_has_history(shelf, row) for row in batch.history)
                and all(id not in shelf.mail for id in batch.mail_read)
                and all(shelf.replies.get(row.request) == row for row in batch.replies)
                and all(_has_mail(shelf, row) for row in batch.mail_kept)
                and all(_has_attempt(shelf, row) for row in telling_attempts(batch))
                and all(shelf.owners.get(key) != self._admin.member for key, _ in batch.parks)
            )


def _refusal(shelf: Shelf, batch: base.Batch) -> str | None:
    gone = set(batch.withdrawn)
    keys: set[int] = set()
    for row in batch.created:
        if row.key in keys or (row.key in shelf.runs and row.key not in gone):
            return f"run {row.key} exists"
        keys.add(row.key)
    if _places(shelf, batch) is None:
        return "two runs would be the newest of an id"
    for row in batch.updated:
        if row.key not in keys and (row.key not in shelf.runs or row.key in gone):
            return f"run {row.id!r} does not exist"
    parts: set[tuple[int, int]] = set()
    for part in batch.history:
        if (part.run, part.seq) in parts or (part.run not in gone and _has_history(shelf, part)):
            return f"event {part.seq} of run {part.run} exists"
        parts.add((part.run, part.seq))
    return None


def _apply(shelf: Shelf, batch: base.Batch) -> None:
    places = _places(shelf, batch)
    assert places is not None
    for key in batch.withdrawn:
        shelf.remove(key)
    for row in batch.created:
        shelf.put_run(row)
    for key, (_, followed_by) in places.items():
        shelf.runs[key].followed_by = followed_by
    begun = {part.run for part in batch.history if part.seq == 1}
    for row in batch.updated:
        shelf.runs[row.key] = _updated(shelf.runs[row.key], row, row.key in begun)
    for key, build in batch.pins:
        if key in shelf.runs:
            shelf.runs[key].pinned = build
    for part in batch.history:
        shelf.history.setdefault(part.run, {})[part.seq] = _copy(part)
    for attempt in batch.attempts:
        _put_attempt(shelf, attempt)
    for at in batch.attempts_dropped:
        shelf.attempts.pop(at, None)
    for key, attribute in batch.attributes:
        shelf.attributes[key] = merged(shelf.attributes.get(key, {}), (attribute,))
    shelf.updates |= {(row.run, row.id): _copy(row) for row in batch.updates}
    shelf.published |= {(row.run, row.name): _copy(row) for row in batch.published}
    for blob in batch.blobs:
        shelf.blobs.setdefault((blob.run, blob.digest), blob.data)
    if batch.tasks_gone_of:
        gone = set(batch.tasks_gone_of)
        shelf.tasks = _without(shelf.tasks, lambda at, _: at[0] in gone)
    for at in batch.tasks_gone:
        shelf.tasks.pop(at, None)
    for task in batch.tasks:
        shelf.tasks.pop((task.run, task.step), None)  # a new one has the last turn
        shelf.tasks[task.run, task.step] = _copy(task)
    for chunks in batch.chunks:
        put_chunks(shelf, chunks)
    gone = set(batch.human_gone_of)
    shelf.human = _without(shelf.human, lambda at, _: at[0] in gone) if gone else shelf.human
    for at in batch.human_gone:
        shelf.human.pop(at, None)
    shelf.human |= {(row.run, row.step): _copy(row) for row in batch.human}
    for id in batch.mail_read:
        shelf.mail.pop(id, None)
    for id in shelf.mail.keys() & set(batch.mail_excused):
        shelf.mail[id] = msgspec.structs.replace(shelf.mail[id], reply_to="")
    for mail in batch.mail_kept:
        shelf.put_mail(mail)
    if batch.replies:
        shelf.replies = _without(shelf.replies, lambda _, reply: reply.expires_at <= batch.at)
        shelf.replies |= {reply.request: _copy(reply) for reply in batch.replies}


def _places(shelf: Shelf, batch: base.Batch) -> dict[int, tuple[str, int]] | None:
    """The places that the batch leaves to the runs of the ids it is about: (id, `followed_by`) by key. None if two runs
    would have the same, or one is to be followed that is followed already."""
    ids = {row.id for row in batch.created}
    ids |= {shelf.runs[key].id for key in (*batch.withdrawn, *dict(batch.followed)) if key in shelf.runs}
    places = {row.key: (id, row.followed_by) for id in ids for row in shelf.with_id(id)}
    for key in batch.withdrawn:
        places = {
            other: (id, 0 if followed_by == key else followed_by)
            for other, (id, followed_by) in places.items()
            if other != key
        }
    for key, by in batch.followed:
        if key not in places or places[key][1] > 0:
            return None
        places[key] = (places[key][0], by)
    for _, by in batch.followed:
        if by in places and places[by][1] < 0:
            places[by] = (places[by][0], 0)
    places |= {row.key: (row.id, row.followed_by) for row in batch.created}
    return places if len(set(places.values())) == len(places) else None


def _updated(before: RunRow, row: RunRow, begins: bool) -> RunRow:
    kept = base.FIXED if begins else base.IDENTITY
    return msgspec.structs.replace(row, **{field: getattr(before, field) for field in kept})


def _put_attempt(shelf: Shelf, attempt: AttemptRow) -> None:
    at = (attempt.run, attempt.step, attempt.attempt)
    if attempt.member != KEEP:
        shelf.attempts[at] = _copy(attempt)
    elif at in shelf.attempts:
        shelf.attempts[at].state = attempt.state
        shelf.attempts[at].retry_at = attempt.retry_at


def _has_state(shelf: Shelf, row: RunRow) -> bool:
    found = shelf.runs.get(row.key)
    return found is not None and _updated(found, row, begins=False) == found


def _has_history(shelf: Shelf, row: HistoryRow) -> bool:
    return row.seq in shelf.history.get(row.run, {})


def _has_mail(shelf: Shelf, row: base.MailRow) -> bool:
    wanted = (row.run, row.message, row.reply_to)
    return any((mail.run, mail.message, mail.reply_to) == wanted for mail in shelf.mail.values())


def _has_attempt(shelf: Shelf, row: AttemptRow) -> bool:
    found = shelf.attempts.get((row.run, row.step, row.attempt))
    if row.member == KEEP:
        return found is None or (found.state, found.retry_at) == (row.state, row.retry_at)
    return found == row


class MemoryWork:
    def __init__(self, shelf: Shelf, admin: MemoryAdmin) -> None:
        self._shelf = shelf
        self._admin = admin

    def last_key(self) -> int:
        with self._shelf.lock:
            gone = 0 if self._shelf.shared else self._shelf.last_key
            return max(gone, max(self._shelf.runs, default=0))

    def load(self, keys: Sequence[int]) -> dict[int, base.Stored]:
        with self._shelf.lock:
            stored = self._shelf.stored(*keys)
        for each in stored.values():
            each.mail = [mail for mail in each.mail if not isinstance(mail.message, Signal | Update | Query)]
        return stored

    def find(self, ids: Iterable[str]) -> dict[str, RunRow]:
        with self._shelf.lock:
            found = {id: self._shelf.newest(id) for id in ids}
        return {id: _copy(row) for id, row in found.items() if row is not None}

    def running(self) -> list[int]:
        return self._with_status(Status.RUNNING)

    def held(self) -> list[int]:
        return self._with_status(Status.HELD)

    def mending(self) -> list[int]:
        return self._with_status(Status.HELD, Status.BLOCKED, Status.QUARANTINED)

    def _with_status(self, *statuses: Status) -> list[int]:
        with self._shelf.lock:
            return sorted(row.key for row in self._shelf.runs.values() if row.status in statuses)

    def unread(self, keys: Sequence[int], limit: int, size_bytes: int, after: int = 0) -> base.Unread:
        found: list[base.MailRow] = []
        size, wanted = 0, set(keys)
        with self._shelf.lock:
            for mail in self._shelf.mail.values():
                if mail.run in wanted and mail.id > after and isinstance(mail.message, Signal | Update | Cancel):
                    found.append(_copy(mail))
                    size += len(wire.encode(mail.message))
                    if len(found) >= limit or size >= size_bytes:
                        return base.Unread(found, mail.id)
        return base.Unread(found)

    def poll(self, now: int, limit: int, starts: bool = True) -> base.Poll:
        with self._shelf.lock:
            due = [key for key in self._due(now, starts) if self._is_mine(key)]
            mail = by_turns([mail for mail in self._unread(starts) if self._is_mine(mail.run)], limit)
            beats = {worker.member: worker.beat for worker in self._shelf.workers.values()}
            leases = {member: self._shelf.leases[member] for member in beats}
        return base.Poll(due[:limit], [_copy(each) for each in mail], beats, leases=leases)

    def wanting(self, now: int, starts: bool, mail_first: bool) -> list[int]:
        """Runs that something is to be done for: who has waited longest first, by turns of those that are due and those that
        have mail."""
        of_each = [self._due(now, starts), list(dict.fromkeys(mail.run for mail in self._unread(starts)))]
        pairs = zip_longest(*(reversed(of_each) if mail_first else of_each))
        return [key for pair in pairs for key in pair if key is not None]

    def _is_mine(self, key: int) -> bool:
        """Mail for runs that are not there is the eldest's: who reads what somebody else has read must not write."""
        shelf, member = self._shelf, self._admin.member
        if not shelf.shared:
            return True
        return shelf.owners.get(key) == member if key in shelf.runs else member == min(shelf.seats, default=0)

    def _due(self, now: int, starts: bool) -> list[int]:
        due = [
            (row.wake_at, row.key)
            for row in self._shelf.open_runs()
            if row.wake_at is not None and row.wake_at <= now and (starts or row.status != Status.QUEUED)
        ]
        return [key for _, key in sorted(due)]

    def _unread(self, starts: bool) -> list[base.MailRow]:
        mail = self._shelf.mail.values()
        return [each for each in mail if not self._asleep(each) and (starts or not self._begins_later(each))]

    def _asleep(self, mail: base.MailRow) -> bool:
        row = self._shelf.runs.get(mail.run)
        if row is None:
            return False
        if isinstance(mail.message, Start) and row.status == Status.QUEUED and not mail.reply_to:
            return row.wake_at is not None and row.followed_by >= 0
        if row.status not in (Status.BLOCKED, Status.QUARANTINED) or mail.reply_to.startswith(OF_A_RUN):
            return False
        return not isinstance(mail.message, Retry | Terminate | Move | Update | Query)

    def _begins_later(self, mail: base.MailRow) -> bool:
        row = self._shelf.runs.get(mail.run)
        queued = row is not None and row.status == Status.QUEUED
        return isinstance(mail.message, Start) or (queued and isinstance(mail.message, Cancel))


class MemoryViews:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.human = MemoryHumanViews(shelf)

    def row(self, id: str) -> RunRow | None:
        with self._shelf.lock:
            row = self._shelf.newest(id)
            return None if row is None else _copy(row)

    def row_of(self, id: str, run_id: bytes) -> RunRow | None:
        with self._shelf.lock:
            return next((_copy(row) for row in self._shelf.with_id(id) if row.run_id == run_id), None)

    def row_by_request(self, id: str, request: str) -> RunRow | None:
        with self._shelf.lock:
            row = made_by(self._shelf, id, request)
            return None if row is None else _copy(row)

    def end_of_chain(self, key: int) -> RunRow | None:
        shelf = self._shelf
        with shelf.lock:
            row = shelf.runs.get(key)
            if row is None or row.followed_by <= 0:
                return None if row is None else _copy(row)
            first = row.chain or key
            return _copy(max((r for r in shelf.with_id(row.id) if first in (r.chain, r.key)), key=lambda r: r.key))

    def rows_by_key(self, keys: Sequence[int]) -> dict[int, RunRow]:
        with self._shelf.lock:
            return {key: _copy(self._shelf.runs[key]) for key in keys if key in self._shelf.runs}

    def attributes(self, keys: Sequence[int]) -> dict[int, dict[str, Attribute]]:
        with self._shelf.lock:
            found = {key: dict(self._shelf.attributes.get(key, {})) for key in keys}
        return {key: attributes for key, attributes in found.items() if attributes}

    def search(self, wanted: base.RunFilter) -> list[RunRow]:
        rows = self._matching(wanted)
        if wanted.before_key is not None:
            rows = [row for row in rows if row.key < wanted.before_key]
        return rows[: wanted.limit]

    def count(self, wanted: base.RunFilter, limit: int = 10_001) -> int:
        return min(len(self._matching(wanted)), limit)

    def prefixed(self, id_prefix: str, limit: int = 10) -> list[str]:
        rows = self._matching(base.RunFilter(id_prefix=id_prefix))
        return [row.id for row in rows if not row.followed_by][:limit]

    def _matching(self, wanted: base.RunFilter) -> list[RunRow]:
        with self._shelf.lock:
            rows = [row for _, row in sorted(self._shelf.runs.items(), reverse=True) if _fits(row, wanted)]
            rows = [row for row in rows if _descends(self._shelf.runs, row, wanted)]
            return [_copy(row) for row in rows if self._has(row.key, wanted.attributes)]

    def _has(self, key: int, wanted: Sequence[Wanted]) -> bool:
        attributes = self._shelf.attributes.get(key, {})
        return all(fits(each, attributes.get(each.name)) for each in wanted)

    def stored(self, key: int) -> base.Stored | None:
        with self._shelf.lock:
            stored = self._shelf.stored(key).get(key)
            if stored is not None:
                stored.tasks = self._shelf.tasks_of(key)
                stored.streams = [_copy(held.row) for held in self._shelf.streams.get(key, {}).values()]
            return stored

    def blob(self, run: int, digest: bytes) -> bytes | None:
        return self._shelf.blobs.get((run, digest))

    def workers(self) -> list[base.WorkerRow]:
        with self._shelf.lock:
            return [_copy(self._shelf.workers[member]) for member in sorted(self._shelf.workers)]

    def backlog(self) -> list[base.BacklogRow]:
        with self._shelf.lock:
            tasks = list(self._shelf.tasks.values())
        found: dict[tuple[str, str], base.BacklogRow] = {}
        for task in sorted(tasks, key=lambda task: (task.queue, task.name)):
            row = found.setdefault((task.queue, task.name), base.BacklogRow(task.queue, task.name, 0, 0))
            row.waiting += not task.member
            row.taken += bool(task.member)
        return list(found.values())

    def secret(self) -> bytes:
        return self._shelf.secret

    def members(self, ids: Iterable[int]) -> dict[int, base.MemberRow]:
        with self._shelf.lock:
            found = self._shelf.members
            return {id: _copy(found[id]) for id in sorted(set(ids)) if id in found}

    def definitions(self) -> list[base.DefinitionRow]:
        with self._shelf.lock:
            return list(map(_copy, self._shelf.definitions))

    def owners(self) -> list[base.MemberRow]:
        with self._shelf.lock:
            there = sorted(self._shelf.seats) if self._shelf.shared else [self._shelf.owner]
            return [_copy(self._shelf.members[owner]) for owner in there if owner]


def _fits(row: RunRow, wanted: base.RunFilter) -> bool:
    return (
        (not wanted.statuses or row.status in wanted.statuses)
        and (wanted.workflow is None or row.workflow == wanted.workflow)
        and (wanted.id_prefix is None or row.id.startswith(wanted.id_prefix))
        and (wanted.started_since is None or row.started_at >= wanted.started_since)
    )


def _descends(runs: dict[int, RunRow], row: RunRow, wanted: base.RunFilter) -> bool:
    parent, root = runs.get(row.parent), runs.get(row.root) if row.root else row
    return (wanted.parent is None or (parent is not None and parent.id == wanted.parent)) and (
        wanted.root is None or (root is not None and root.id == wanted.root)
    )
