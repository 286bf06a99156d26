"""What a run shows while it goes on: its streams, with the end of each."""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from perdure.client.description import shown
from perdure.kernel import wire
from perdure.stores.health import told_as_damage
from perdure.stores.streaming import PageRow, StreamRow
from perdure.web.pages import Part, version

if TYPE_CHECKING:
    from perdure.web.runpage import Subject

STREAMS = 6
"""Shown with what they hold; of the others the number is told."""

CHUNKS = (60, 10, 1)
PAGE_BYTES = 64 * 1024
CHARACTERS = 1_200
"""What is shown of a stream: so many of its last chunks, fewer if they are larger than a page, and of those the last
characters."""

_UNITS = ("B", "KB", "MB")


class Shown(NamedTuple):
    """`first` is the offset of the first chunk that `text` has."""

    name: str
    chunks: int
    size: str
    ended: bool
    first: int
    text: str


def part(about: "Subject") -> Part:
    """It changes while nothing else of the run does."""
    rows = about.place.store.streams.of_run(about.row.key)
    sight = version(rows, bool(rows) and about.row.closed_at is not None)
    return Part("streams", sight, lambda: drawn(about, rows, sight))


def drawn(about: "Subject", rows: list[StreamRow], sight: str) -> Markup:
    with told_as_damage(about.row.id):
        seen = [_shown(about, row) for row in rows[:STREAMS]]
    return about.place.draw(
        "_streams.html", about=about, run=about.run, version=sight, streams=seen, further=max(len(rows) - STREAMS, 0)
    )


def _shown(about: "Subject", row: StreamRow) -> Shown:
    found = _last(about, row)
    words: list[str] = []
    attempts: dict[str, int] = {}
    for _, part, chunk in found:
        if attempts.setdefault(part.step, part.attempt) < part.attempt:
            attempts[part.step] = part.attempt
            words.append(f"\n— attempt {part.attempt:,} of [{part.step}] begins anew —\n")
        words.append(_words(shown(chunk.value, lambda digest: None, about.place.coder)))
    text = "".join(words)
    return Shown(
        row.name,
        row.chunks,
        _size(row.size_bytes),
        row.closed or about.row.closed_at is not None,
        found[0][0] if found else 0,
        text if len(text) <= CHARACTERS else f"…{text[-CHARACTERS:]}",
    )


def _last(about: "Subject", row: StreamRow) -> list[tuple[int, PageRow, wire.Chunk]]:
    """The last chunks of a stream, each with its offset and the row it is in."""
    found: list[tuple[int, PageRow, wire.Chunk]] = []
    for most in CHUNKS:
        first = max(row.chunks - most, 0)
        page = about.place.store.streams.page(about.row.key, row.name, first, PAGE_BYTES)
        found = [
            (offset, part, chunk)
            for part in page.rows
            for offset, chunk in enumerate(wire.decode_chunks(part.body), part.first)
            if offset >= first
        ]
        if not found or found[-1][0] >= row.chunks - 1:
            break
    return found


def _words(value: Any) -> str:
    """Texts go on, as tokens do; anything else has a line to itself."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) + "\n"


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1_000:
            return f"{count:.3g} {unit}"
        count /= 1_000
    return f"{count:.3g} {_UNITS[-1]}"
