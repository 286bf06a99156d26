"""Runs that have been closed for long, and what nobody asks for any more: how they go from a store in memory."""

from typing import TYPE_CHECKING

from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores.memory_members import is_locked
from perdure.stores.pruning import Prune, Pruned, chain_of, may_go, pruned, root_of

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf


def prune(shelf: "Shelf", wanted: Prune) -> Pruned:
    keys = sorted(key for key in shelf.runs if key > wanted.after)[: wanted.limit]
    looked_at = [shelf.runs[key] for key in keys]
    shelf.between()
    old = [row for row in looked_at if may_go(row, wanted) and not _has_kin(shelf, row) and not _is_wanted(shelf, row)]
    shelf.between()
    gone = {row.key for row in old if row.key in shelf.runs and not _is_wanted(shelf, row)}
    told = pruned(wanted, looked_at, gone)
    if not wanted.counts_only:
        ids = {shelf.runs[key].id for key in gone if not shelf.runs[key].followed_by}
        for key in gone:
            shelf.remove(key)
        for left in filter(None, map(shelf.with_id, sorted(ids))):
            newest = max(left, key=lambda row: row.key)
            newest.followed_by = min(newest.followed_by, 0)
    return told


def _has_kin(shelf: "Shelf", row: RunRow) -> bool:
    """Whether another run of its family or its chain is open. None that is not there can come to be: only open runs have children."""
    return any(root_of(other) == root_of(row) for other in shelf.open_runs()) or any(
        chain_of(other) == chain_of(row) for other in shelf.with_id(row.id) if other.status < Status.COMPLETED
    )


def _is_wanted(shelf: "Shelf", row: RunRow) -> bool:
    """Whether it has mail, or somebody moves it. That is looked at again when it is held."""
    has_mail = any(mail.run == row.key for mail in shelf.mail.values())
    return has_mail or row.key in shelf.owners or is_locked(shelf, row.key)


def tidy(shelf: "Shelf", now: int) -> None:
    for request in [request for request, reply in shelf.replies.items() if reply.expires_at <= now]:
        del shelf.replies[request]
    living = shelf.seats.keys() | shelf.workers.keys() | {shelf.owner}
    oldest = min(shelf.runs, default=None)
    for member in shelf.members.keys() - living:
        last = shelf.last_keys.setdefault(member, max(shelf.runs, default=0))
        if oldest is None or oldest > last:
            del shelf.members[member], shelf.last_keys[member]
    if shelf.seats:
        known_by = shelf.known_by
        shelf.definitions = [row for row in shelf.definitions if known_by[row.kind, row.name] & shelf.seats.keys()]
