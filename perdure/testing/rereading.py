"""Every row is read back before it is written: a struct is checked when it is decoded, not when it is made."""

from collections.abc import Iterator
from typing import Any

import msgspec

from perdure.kernel import wire
from perdure.stores.base import Batch, CommitRefused
from perdure.stores.faults import Fault, Moment


def reread(moment: Moment, batch: Batch) -> Fault | None:
    """As `faults=` of a store: refuse a batch with bytes that are not read as what they were made from.

    Raises:
        CommitRefused: there are such bytes; the run they are of blocks.
    """
    if moment == "before":
        for what, data, again in _written(batch):
            try:
                same = wire.encode(again(data)) == data
            except msgspec.MsgspecError as error:
                raise CommitRefused(f"{what} cannot be read back: {error}") from error
            if not same:
                raise CommitRefused(f"{what} is another when it is read back")
    return None


def _written(batch: Batch) -> Iterator[tuple[str, bytes, Any]]:
    """What the batch holds as bytes: what it is, the bytes, how they are read."""
    for part in batch.history:
        yield f"event {part.seq} of run {part.run}, or one after it,", part.events, wire.decode_events
    for attempt in batch.attempts:
        if attempt.detail is not None:
            yield f"attempt {attempt.attempt} of step {attempt.step}", attempt.detail, wire.decode_detail
    for row in [*batch.created, *batch.updated]:
        if row.block is not None:
            yield f"the block of run {row.id!r}", row.block, wire.decode_block
    for mail in batch.mail_kept:
        yield f"a letter of run {mail.run}", wire.encode(mail.message), wire.decode_mail
    for chunks in batch.chunks:
        yield f"chunks of the stream {chunks.stream!r}", chunks.body, wire.decode_chunks
