"""The usual commit of an engine with little to do: what one turn of one run writes, as plain values.

A batch of hundreds goes as arrays, one for each column, which costs little for each of its runs; but it costs the one that goes alone,
and whose caller waits for it, more than all the rest of its commit.
"""

import struct
import time
from typing import Final

from perdure.kernel.project import RunRow
from perdure.stores.base import Batch
from perdure.stores.postgres.asking import Packed
from perdure.stores.postgres.texts import legible

TURN = (
    "SELECT perdure.commit_turn($1::bigint, $2::bigint, $3::bigint, $4::smallint, $5::text, $6::bigint, $7::bigint, $8::bigint, "
    "$9::bigint, $10::bigint, $11::bytea, $12::boolean)"
)
START = (
    "SELECT perdure.commit_start($1::bigint, $2::bigint, $3::bigint, $4::text, $5::bytea, $6::text, $7::smallint, $8::text, $9::text, "
    "$10::bigint, $11::bigint, $12::bigint, $13::bigint, $14::text, $15::bigint, $16::text, $17::bytea, $18::boolean)"
)

SPARE_SECONDS = 1.5
"""A key is kept no longer for a run that is yet to begin, so that runs have theirs nearly in the order in which they begin."""

_OTHERS: Final = tuple(
    name for name in Batch.__struct_fields__ if name not in ("created", "updated", "history", "parks", "at")
)
_long = struct.Struct("!q").pack
_short = struct.Struct("!h").pack
_YES, _NO = b"\1", b"\0"


class Spare:
    """A key that nobody else gets, for the next run that begins alone: it came with an answer, and need not be asked for."""

    def __init__(self) -> None:
        self._key = 0
        self._until = 0.0

    def keep(self, key: int) -> None:
        self._key, self._until = key, time.monotonic() + SPARE_SECONDS

    def take(self) -> int:
        """0 if there is none."""
        key, self._key = self._key, 0
        return key if time.monotonic() < self._until else 0


def packed(batch: Batch) -> tuple[str, Packed] | None:
    """The call that writes it, after the member and its term, or None of a batch that has more than one turn makes of a run, or
    something else.

    Raises:
        struct.error, UnicodeEncodeError: it has a number, or a text, that PostgreSQL cannot hold.
    """
    if len(batch.history) != 1 or len(batch.updated) + len(batch.created) != 1 or len(batch.parks) > 1:
        return None
    for name in _OTHERS:
        if getattr(batch, name):
            return None
    part = batch.history[0]
    row = (batch.updated or batch.created)[0]
    if row.key != part.run or row.block is not None or row.open_tail or row.strikes:
        return None
    if batch.parks and batch.parks[0] != (row.key, row.seq):
        return None
    leaves = _YES if batch.parks else _NO
    if batch.created and part.seq == 1 and not (row.followed_by or row.chain or row.parent or row.root):
        return START, Packed(_of_start(row, part.events, leaves))
    if batch.updated and part.seq > 1:
        return TURN, Packed(_of_turn(row, part.seq, part.events, leaves))
    return None


def _of_turn(row: RunRow, seq: int, events: bytes, leaves: bytes) -> tuple[bytes | None, ...]:
    return (
        _long(row.key), _short(row.status), _text(row.note), _maybe(row.closed_at), _maybe(row.wake_at), _long(row.seq),
        _long(seq - 1), _long(seq), events, leaves,
    )  # fmt: skip


def _of_start(row: RunRow, events: bytes, leaves: bytes) -> tuple[bytes | None, ...]:
    return (
        _long(row.key), _text(row.id), row.run_id, _text(row.workflow), _short(row.status), _text(row.note), _text(row.build),
        _long(row.started_at), _maybe(row.closed_at), _maybe(row.wake_at), _long(row.seq), _text(row.request),
        _maybe(row.expires_at), _text(row.pinned), events, leaves,
    )  # fmt: skip


def _maybe(number: int | None) -> bytes | None:
    return None if number is None else _long(number)


def _text(text: str) -> bytes:
    return legible(text).encode()
