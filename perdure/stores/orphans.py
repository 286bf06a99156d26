"""What a run is told of an attempt whose worker is gone."""

import msgspec

from perdure.kernel import wire
from perdure.kernel.messages import AttemptEnded
from perdure.kernel.overdue import LOST_FAILURE
from perdure.stores.base import Orphan


def loss_of(orphan: Orphan) -> AttemptEnded:
    try:
        details = None if orphan.details is None else wire.decode_payload(orphan.details)
    except msgspec.MsgspecError:  # it was damaged; what the attempt has reached is not worth more than the run
        details = None
    return AttemptEnded(
        orphan.step, orphan.attempt, orphan.member, orphan.claimed_at, failure=LOST_FAILURE, details=details
    )
