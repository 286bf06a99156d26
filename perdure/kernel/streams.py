"""Chunks of streams as rows: append-only output of a run that is no part of its history."""

from collections.abc import Sequence

import msgspec

from perdure.kernel import wire
from perdure.kernel.limits import STREAM_ROW_BYTES


class ChunkRow(msgspec.Struct):
    """`count` chunks of a stream, one after the other: an encoded list of `wire.Chunk`. Where they go the store decides.

    `step` and `attempt` say who has written them: "" and 0 the workflow itself. `size_bytes` are those of their values.
    `closes`: nothing comes after them. `number`: which of its attempt's rows it is, from 1 on and whatever their streams, so that
    one which is brought twice is known; 0 of rows that are brought once.
    """

    run: int
    stream: str
    count: int
    size_bytes: int
    body: bytes
    step: str = ""
    attempt: int = 0
    closes: bool = False
    number: int = 0


def chunk_rows(
    run: int, stream: str, chunks: Sequence[wire.Chunk], closes: bool = False, step: str = "", attempt: int = 0
) -> list[ChunkRow]:
    """Chunks in the order they were written, as few rows as their size allows."""
    rows: list[ChunkRow] = []
    first = size = 0
    for n, chunk in enumerate(chunks):
        more = len(chunk.value.data)
        if n > first and size + more > STREAM_ROW_BYTES:
            rows.append(ChunkRow(run, stream, n - first, size, wire.encode(chunks[first:n]), step, attempt))
            first, size = n, 0
        size += more
    if first < len(chunks) or closes:
        left = chunks[first:]
        rows.append(ChunkRow(run, stream, len(left), size, wire.encode(left), step, attempt, closes))
    return rows
