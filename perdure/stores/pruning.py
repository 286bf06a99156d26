"""Which runs go for good, since they have been closed for long, and what a batch of that has come to."""

from collections.abc import Collection, Sequence

import msgspec

from perdure.kernel.project import RunRow
from perdure.kernel.run import Status


class Prune(msgspec.Struct, frozen=True):
    """A batch: the `limit` runs with the lowest keys above `after` are looked at, and of these go those that were closed before
    `closed_before` (nanoseconds), as far as `workflow` and `statuses` name them, and are not `spared`.

    A run stays as long as another one of its family or its chain is open, or it has mail, or is just being moved.
    """

    closed_before: int
    after: int = 0
    limit: int = 200
    workflow: str | None = None
    statuses: tuple[int, ...] = ()
    spared: Collection[int] = ()
    counts_only: bool = False
    """Nothing goes, it is only counted."""


class Pruned(msgspec.Struct, frozen=True):
    """What came of it: so many `runs` have gone."""

    runs: int
    further: int | None
    """The key to look on behind; None if nobody behind it can go by its age."""
    cleared: int
    """No run with a key up to this one is left, of those that were looked at."""


def may_go(row: RunRow, wanted: Prune) -> bool:
    """Whether the run goes, as far as its own row tells that."""
    return (
        row.status >= Status.COMPLETED
        and row.closed_at is not None
        and row.closed_at < wanted.closed_before
        and (wanted.workflow is None or row.workflow == wanted.workflow)
        and (not wanted.statuses or row.status in wanted.statuses)
        and row.key not in wanted.spared
    )


def root_of(row: RunRow) -> int:
    """The key of the first of its family."""
    return row.root or row.key


def chain_of(row: RunRow) -> int:
    """The key of the first of its chain."""
    return row.chain or row.key


def pruned(wanted: Prune, looked_at: Sequence[RunRow], gone: Collection[int]) -> Pruned:
    """What is told of a batch that has looked at these runs, in the order of their keys."""
    cleared = wanted.after
    for row in looked_at:
        if row.key not in gone or wanted.counts_only:
            break
        cleared = row.key
    is_end = len(looked_at) < wanted.limit or all(row.started_at >= wanted.closed_before for row in looked_at)
    return Pruned(len(gone), None if is_end else looked_at[-1].key, cleared)
