"""Stories of the corpus as the text a terminal would show."""

from typing import Any

from perdure.cli.lines import painted
from perdure.cli.portrait import View, portrait
from perdure.cli.tokens import Line
from perdure.client.description import RunDescription, describe
from perdure.stores.base import Stored
from tests.unit.cli import corpus
from tests.unit.cli.conftest import corpus_time


def told(story: corpus.Story | Stored) -> RunDescription:
    stored = story if isinstance(story, Stored) else story.stored()
    return describe(stored, lambda ids: {7: corpus.MEMBER}, lambda digest: None, corpus.NOW)


def text(lines: list[Line], ascii: bool = False) -> str:
    """Lines without colours, with an empty line before the first so that expectations can be read."""
    return "\n" + "\n".join(painted(line, False, ascii) for line in lines) + "\n"


def drawn(story: corpus.Story | Stored, width: int = 90, ascii: bool = False, **view: Any) -> str:
    return text(portrait(told(story), View(width, corpus_time(), **view)), ascii)
