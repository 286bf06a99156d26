"""What any process may write, in the store that forgets."""

import copy
from typing import TYPE_CHECKING

from perdure.kernel.attributes import merged
from perdure.kernel.ids import Claim, claim
from perdure.kernel.messages import Start
from perdure.kernel.project import RunRow, unplaced
from perdure.stores import base

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf

_copy = copy.copy


class MemoryPost:
    def __init__(self, shelf: "Shelf") -> None:
        self._shelf = shelf

    def submit(self, row: RunRow, mail: base.MailRow) -> RunRow:
        shelf = self._shelf
        with shelf.lock:
            made = made_by(shelf, row.id, row.request)
            if made is not None:
                return _copy(made)
            row.key = mail.run = (max(shelf.runs, default=0) + 1) | 1
            row.followed_by = 0
            newest = shelf.newest(row.id)
            if newest is not None:
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

    def take_reply(self, request: str) -> base.ReplyRow | None:
        with self._shelf.lock:
            reply = self._shelf.replies.get(request)
            return None if reply is None else _copy(reply)

    def nudge(self) -> None:
        on_nudge = self._shelf.on_nudge
        if on_nudge is not None:
            on_nudge()


def made_by(shelf: "Shelf", id: str, request: str) -> RunRow | None:
    found = [row for row in shelf.with_id(id) if request and row.request == request and not row.chain]
    return max(found, key=lambda row: row.key, default=None)
