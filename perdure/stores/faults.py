"""A commit's weak points, for tests: which there are, and what a named one does to a commit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from perdure.errors import StoreCorrupt
from perdure.stores.refusing import CommitInDoubt, CommitRefused, IdTaken, OwnershipLost, StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from perdure.stores.base import Batch

Moment: TypeAlias = Literal["before", "inside"]
Fault: TypeAlias = Literal[
    "refused",
    "id-taken",
    "in-doubt-applied",
    "in-doubt-lost",
    "in-doubt-late-applied",
    "in-doubt-late-lost",
    "full",
    "unavailable",
    "lost",
    "damaged",
]
Faults: TypeAlias = Callable[[Moment, "Batch"], Fault | None]
"""Every store takes `faults=...` and asks it at each commit.

Asked "before" anything is written, it may name the fault that the commit shall have: "refused" CommitRefused, "id-taken" IdTaken,
"in-doubt-applied" and "in-doubt-lost" CommitInDoubt with the batch written or not, "full" StoreFull, "unavailable"
StoreUnavailable, "lost" OwnershipLost, "damaged" errors.StoreCorrupt. Of a store in memory that several owners share, "in-doubt-late-..." leaves the
transaction open: it is written, or not, when somebody has to wait for it. (Of PostgreSQL a test gives the store a line that does so.) Asked again "inside", when all is written but nothing is durable, its
answer is ignored: a place to kill the process.
"""


ASKED_FOR = "in doubt by a fault the test asked for"
"""By this a test knows a doubt of its own from one that has befallen it."""


def refuse_by(fault: Fault | None) -> None:
    """Raise at once for the faults that write nothing."""
    if fault == "refused":
        raise CommitRefused("refused by a fault the test asked for")
    if fault == "id-taken":
        raise IdTaken("an id is taken by a fault the test asked for")
    if fault == "full":
        raise StoreFull("full by a fault the test asked for")
    if fault == "unavailable":
        raise StoreUnavailable("unavailable by a fault the test asked for")
    if fault == "lost":
        raise OwnershipLost("lost by a fault the test asked for")
    if fault == "damaged":
        raise StoreCorrupt("damaged by a fault the test asked for")


def doubt_by(fault: Fault | None) -> None:
    """Raise for the faults after which nobody knows."""
    if fault is not None and fault.startswith("in-doubt-"):
        raise CommitInDoubt(ASKED_FOR)
