"""Runs that come from elsewhere, and which builds of the code have begun those that are here."""

from collections.abc import Iterable

import msgspec

from perdure.kernel.attributes import Attribute
from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.messages import Mail
from perdure.kernel.project import AttemptRow, PublishedRow, RunRow, UpdateRow
from perdure.kernel.streams import ChunkRow
from perdure.stores.streaming import StreamRow


class Placed(msgspec.Struct):
    """A run that comes from elsewhere, with all it has. The keys in `row` (`key`, `chain`) are those it had there; the family
    it had there it has not here."""

    row: RunRow
    history: bytes | None
    """All events of its history, as one row of it; None of a run that has not begun."""
    attempts: list[AttemptRow] = []
    attributes: list[Attribute] = []
    blobs: list[tuple[bytes, bytes]] = []
    mail: list[Mail] = []
    updates: list[UpdateRow] = []
    published: list[PublishedRow] = []
    human: list[HumanTaskRow] = []
    streams: list[StreamRow] = []
    chunks: Iterable[ChunkRow] = ()
    """Those of all its streams, each from its beginning; they may come from a file while they are stored. What it raises
    leaves nothing behind."""


class BuildRow(msgspec.Struct):
    """Runs of one build, which has begun them, or to which they were moved: how many there are, how many of them are open,
    when the newest began. `pinned`: no other build may go on with them."""

    build: str
    pinned: bool
    runs: int
    open: int
    last_started_at: int
