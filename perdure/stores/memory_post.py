"""What any process may write to a store in memory."""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from perdure.kernel.attributes import merged
from perdure.kernel.ids import Claim, claim
from perdure.kernel.messages import Start
from perdure.kernel.project import HistoryRow, RunRow, unplaced
from perdure.stores import base, memory_streams
from perdure.stores.memory_members import awaited_ids

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf

_copy = copy.copy


class MemoryPost:
    def __init__(self, shelf: "Shelf") -> None:
        self._shelf = shelf

    def submit(self, row: RunRow, mail: base.MailRow, again: bool = False) -> RunRow:
        shelf = self._shelf
        with shelf.lock:
            awaited_ids(shelf, [row.id])
            made = made_by(shelf, row.id, row.request)
            if made is not None:
                return _copy(made)
            row.key = mail.run = shelf.new_key()
            row.followed_by = 0
            newest = shelf.newest(row.id)
            if newest is not None:
                before = [each for each in shelf.with_id(row.id) if each.run_id == row.run_id] if again else []
                if before:
                    return _copy(before[-1])
                start = mail.message
                assert isinstance(start, Start)
                match claim(newest.status, start.id_conflict, start.id_reuse):
                    case Claim.FOLLOW:
                        newest.followed_by = row.key
                    case Claim.REPLACE:
                        row.followed_by = unplaced(row.key)
                    case _:
                        return _copy(newest)
            shelf.put_run(row)
            shelf.put_mail(mail)
            if isinstance(mail.message, Start) and mail.message.terms is not None:
                shelf.attributes[row.key] = merged({}, mail.message.terms.attributes)
            return row

    def send(self, mail: base.MailRow) -> None:
        with self._shelf.lock:
            self._shelf.put_mail(mail)

    def place(self, runs: Sequence[base.Placed]) -> list[bool | None]:
        shelf = self._shelf
        runs = [
            msgspec.structs.replace(run, chunks=list(run.chunks)) for run in runs
        ]  # what cannot be read raises here
        with shelf.lock:
            awaited_ids(shelf, [run.row.id for run in runs])
            fates = _fates(shelf, [run.row for run in runs])
            if None not in fates:
                keys: dict[tuple[str, int], int] = {}
                for run in runs:
                    keys[run.row.id, run.row.key] = _place(shelf, run, keys)
        return fates

    def take_reply(self, request: str) -> base.ReplyRow | None:
        with self._shelf.lock:
            reply = self._shelf.replies.get(request)
            return None if reply is None else _copy(reply)

    def nudge(self, keys: Collection[int] = ()) -> None:
        for on_nudge in list(self._shelf.on_nudge.values()):
            on_nudge()


def _fates(shelf: "Shelf", rows: Sequence[RunRow]) -> list[bool | None]:
    """What `place` says of them, in their order."""
    ours: dict[str, set[bytes]] = {}
    there: set[int] = set()
    fates: list[bool | None] = []
    for row in rows:
        twin, newest, new = _twin(shelf, row), shelf.newest(row.id), ours.setdefault(row.id, set())
        if twin is not None or row.run_id in new:
            fates.append(False)
            there |= set() if twin is None else {twin.key}
        elif newest is None or new or newest.key in there:
            fates.append(True)
            new.add(row.run_id)
        else:
            fates.append(None)
    return fates


def _twin(shelf: "Shelf", row: RunRow) -> RunRow | None:
    """The very same run, if it is here."""
    found = [each for each in shelf.with_id(row.id) if each.run_id == row.run_id]
    return min(found, key=lambda each: each.key, default=None)


def _place(shelf: "Shelf", run: base.Placed, keys: Mapping[tuple[str, int], int]) -> int:
    """The key it has here."""
    row, twin = run.row, _twin(shelf, run.row)
    if twin is not None:
        return twin.key
    key, before = shelf.new_key(), shelf.newest(row.id)
    if before is not None:
        before.followed_by = key
    chain = keys.get((row.id, row.chain), 0)
    shelf.put_run(msgspec.structs.replace(row, key=key, chain=chain, followed_by=0, parent=0, root=0))
    _fill(shelf, key, run)
    return key


def _fill(shelf: "Shelf", key: int, run: base.Placed) -> None:
    if run.history is not None:
        shelf.history.setdefault(key, {})[1] = HistoryRow(key, 1, run.history)
    for attempt in run.attempts:
        shelf.attempts[key, attempt.step, attempt.attempt] = msgspec.structs.replace(attempt, run=key)
    if run.attributes:
        shelf.attributes[key] = merged({}, tuple(run.attributes))
    for digest, data in run.blobs:
        shelf.blobs[key, digest] = data
    memory_streams.place(shelf, key, run.streams, run.chunks)
    for update in run.updates:
        shelf.updates[key, update.id] = msgspec.structs.replace(update, run=key)
    for shown in run.published:
        shelf.published[key, shown.name] = msgspec.structs.replace(shown, run=key)
    for task in run.human:
        shelf.human[key, task.step] = msgspec.structs.replace(task, run=key)
    for message in run.mail:
        shelf.put_mail(base.MailRow(0, key, message))


def made_by(shelf: "Shelf", id: str, request: str) -> RunRow | None:
    found = [row for row in shelf.with_id(id) if request and row.request == request and not row.chain]
    return max(found, key=lambda row: row.key, default=None)
