"""What a store looks for after a commit whose fate is unknown."""

import msgspec

from perdure.kernel.project import KEEP, AttemptRow
from perdure.stores.base import Batch


def telling_attempts(batch: Batch) -> list[AttemptRow]:
    """What the attempts of a batch come to, each once; a row with KEEP is about one that may be there.

    None if the batch has history, which tells by itself. The summary of a run does not: an attempt of one of its steps
    can fail, or be released, without any change to it.
    """
    if batch.history:
        return []
    final: dict[tuple[int, str, int], AttemptRow] = {}
    for row in batch.attempts:
        at = (row.run, row.step, row.attempt)
        before = final.get(at)
        if row.member == KEEP and before is not None:
            row = msgspec.structs.replace(before, state=row.state, retry_at=row.retry_at)
        final[at] = row
    return [row for at, row in final.items() if at not in batch.attempts_dropped]
