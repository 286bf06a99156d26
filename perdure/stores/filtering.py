"""Which runs a list is about."""

import msgspec

from perdure.kernel.attributes import Wanted


class RunFilter(msgspec.Struct, frozen=True):
    """Which runs to list: all conditions hold. Newest first; `before_key` continues after a page.

    `parent`: children of runs of that id; `root`: the runs of that id which are nobody's child, and all their descendants.
    `before_key` and `limit` are about the page, not about the runs: counts ignore them.
    """

    statuses: tuple[int, ...] = ()
    workflow: str | None = None
    id_prefix: str | None = None
    started_since: int | None = None
    attributes: tuple[Wanted, ...] = ()
    parent: str | None = None
    root: str | None = None
    before_key: int | None = None
    limit: int = 100
