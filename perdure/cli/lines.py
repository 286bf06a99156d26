"""Lines of styled text: width, clipping, and their way to a stream. Untrusted text is made harmless here."""

import json
import re
from collections.abc import Iterable

from perdure.cli.tokens import ASCII, STYLES, Line, Style

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def clean(text: str) -> str:
    """One line that cannot move the cursor, change colours or turn its direction, whatever it was made of."""
    if text.isprintable():
        return text
    return _CONTROL.sub(" ", text)


def width(text: str) -> int:
    """How many cells the text takes in a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def clip(text: str, cells: int) -> str:
    """At most so many cells, the last one an ellipsis if anything is missing."""
    if width(text) <= cells:
        return text
    if cells <= 1:
        return "…"[: max(cells, 0)]
    if text.isascii():
        return text[: cells - 1] + "…"
    from rich.cells import chop_cells

    return chop_cells(text, cells - 1)[0] + "…"


def pad(text: str, cells: int, right: bool = False) -> str:
    """Filled with blanks to so many cells."""
    blanks = " " * max(cells - width(text), 0)
    return blanks + text if right else text + blanks


def line_width(line: Line) -> int:
    return sum(width(text) for text, _ in line)


def compact(value: object) -> str:
    """A JSON value in one line."""
    return clean(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def clip_line(line: Line, cells: int) -> Line:
    """The line with everything beyond so many cells cut off."""
    if line_width(line) <= cells:
        return line
    kept: Line = []
    room = cells
    for text, style in line:
        size = width(text)
        if size >= room:
            kept.append((clip(text + "…" if size == room else text, room), style))
            break
        kept.append((text, style))
        room -= size
    return kept


def wrap_line(line: Line, cells: int, indent: int = 2) -> list[Line]:
    """The line as several of at most so many cells, broken between words; those after the first are indented."""
    lines: list[Line] = [[]]
    room = cells
    for text, style in line:
        for word in re.findall(r" +|[^ ]+", text):
            if width(word) > room and lines[-1]:
                lines.append([(" " * indent, "")])
                room = cells - indent
                if not word.strip():
                    continue
            for part in _parts(word, max(cells - indent, 1)):
                if width(part) > room:
                    lines.append([(" " * indent, "")])
                    room = cells - indent
                lines[-1].append((part, style))
                room -= width(part)
    return lines


def _parts(word: str, cells: int) -> list[str]:
    """The word, cut where it does not fit on a line of its own."""
    if width(word) <= cells:
        return [word]
    from rich.cells import chop_cells

    return chop_cells(word, cells)


def line(*pieces: "str | tuple[str, Style]") -> Line:
    return [(piece, "") if isinstance(piece, str) else piece for piece in pieces]


def plain(pieces: Line) -> str:
    return "".join(text for text, _ in pieces).rstrip()


def painted(pieces: Line, color: bool, ascii: bool) -> str:
    """The line as the text to write: with colour codes or without, in Unicode or ASCII.

    Blocks of failed attempts differ from the others by their colour, and by their form where there is none.
    """
    out = []
    for text, style in _joined(pieces):
        shown = text.replace("█", "x") if style == "failed" and (ascii or not color) else text
        shown = shown.translate(ASCII) if ascii else shown
        if ascii and not shown.isascii():
            shown = shown.encode("ascii", "replace").decode("ascii")
        code = STYLES.get(style) if color else None
        out.append(f"\x1b[{code}m{shown}\x1b[0m" if code and shown.strip() else shown)
    return "".join(out).rstrip()


def _joined(pieces: Iterable[tuple[str, Style]]) -> Line:
    """Neighbours of the same style as one piece."""
    joined: Line = []
    for text, style in pieces:
        if joined and joined[-1][1] == style:
            joined[-1] = (joined[-1][0] + text, style)
        elif text:
            joined.append((text, style))
    return joined
