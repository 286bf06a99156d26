"""Whether a start gets the id it asks for, where a run of that id exists (Temporal's id conflict and id reuse policies).

At any time one run of an id is its newest, and no other is open, but for a start that is going to end the newest one and
waits for its turn to. What is said here is a pure function, so that whoever holds the row decides alike: a client in its
transaction, the owner in its batch.
"""

import enum

from perdure.kernel.run import Status

USE_EXISTING = "use_existing"
FAIL = "fail"
TERMINATE_EXISTING = "terminate_existing"
CONFLICTS = (USE_EXISTING, FAIL, TERMINATE_EXISTING)
"""What a start may say of the case that the newest run of its id is open; "" is: attach if it is the same start."""

ALLOW_DUPLICATE = "allow_duplicate"
ALLOW_DUPLICATE_FAILED_ONLY = "allow_duplicate_failed_only"
REJECT_DUPLICATE = "reject_duplicate"
REUSES = (ALLOW_DUPLICATE, ALLOW_DUPLICATE_FAILED_ONLY, REJECT_DUPLICATE)
"""What it may say of the case that the newest run of its id has ended; "" is: attach if it is the same start."""


class Claim(enum.Enum):
    """What becomes of a start whose id has a run."""

    ATTACH = "attach"
    ATTACH_IF_SAME = "attach if it is the same start"
    REFUSE = "refuse"
    FOLLOW = "begin, after the one that has ended"
    REPLACE = "begin, and end the one that is open"


_OF_OPEN = {
    "": Claim.ATTACH_IF_SAME,
    USE_EXISTING: Claim.ATTACH,
    FAIL: Claim.REFUSE,
    TERMINATE_EXISTING: Claim.REPLACE,
}


def claim(newest: int, id_conflict: str, id_reuse: str) -> Claim:
    """What a start with these policies does where the newest run of its id has this status."""
    if newest < Status.COMPLETED:
        return _OF_OPEN[id_conflict]
    if not id_reuse:
        return Claim.ATTACH_IF_SAME
    again = id_reuse == ALLOW_DUPLICATE or (id_reuse == ALLOW_DUPLICATE_FAILED_ONLY and newest != Status.COMPLETED)
    return Claim.FOLLOW if again else Claim.REFUSE
