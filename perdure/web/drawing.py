"""Shapes of a timeline as SVG. Places are percents of the width, so nothing is distorted when the window is resized."""

from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup, escape


class Shape(NamedTuple):
    """A bar, or a mark if it has no width. `is_open`: it ends now, and a script moves its end."""

    kind: str
    x: float
    w: float = 0.0
    is_open: bool = False


class Form(NamedTuple):
    """How a kind of bar is drawn in a row of 30 pixels; its colours are in the style sheet."""

    y: float
    height: float
    radius: float = 3
    fill: str = ""
    """A pattern, where the fill is not just a colour."""


FORMS: dict[str, Form] = {
    "ok": Form(8, 14),
    "fail": Form(8, 14),
    "run": Form(8, 14, fill="p-run"),
    "wait": Form(8.5, 13, fill="p-wait"),
    "held": Form(8.5, 13, fill="p-held"),
    "cancel": Form(8.5, 13),
    "term": Form(8, 14),
    "queue": Form(8.5, 13),
    "ghost": Form(8.5, 13),
    "retry": Form(8, 14),
    "back": Form(14, 2, 0, "p-back"),
    "child-run": Form(10, 10, fill="p-run"),
    "child-ok": Form(10, 10),
    "child-fail": Form(10, 10),
    "child-cancel": Form(10, 10),
    "say-run": Form(14, 2, 0),
    "say-ok": Form(14, 2, 0),
    "say-fail": Form(14, 2, 0),
    "whole-run": Form(13, 4, 2, "p-run"),
    "whole-ok": Form(13, 4, 2),
    "whole-fail": Form(13, 4, 2),
    "whole-wait": Form(13, 4, 2),
    "whole-retry": Form(13, 4, 2),
    "whole-held": Form(13, 4, 2),
    "whole-cancel": Form(13, 4, 2),
    "whole-term": Form(13, 4, 2),
    "whole-queue": Form(13, 4, 2),
}
LEAST_W = 0.45
"""A bar is at least so many percent wide, so that it can be seen."""

MARKS: dict[str, str] = {
    "ring": '<circle class="m-ring" cx="{x}%" cy="15" r="5"/>',
    "due": '<circle class="m-due" cx="{x}%" cy="15" r="5"/>',
    "tick": '<circle class="m-tick" cx="{x}%" cy="15" r="2.5"/>',
}

SAID: dict[str, str] = {"signal": "M0-5.5 5.5 0 0 5.5-5.5 0z", "update": "M0-6 5.5-1V5h-11V-1z"}
"""Forms of messages: a diamond, a house."""

MARKS |= {
    f"{kind}-{hue}": f'<svg class="m-{hue}" x="{{x}}%" y="15" overflow="visible"><path d="{path}"/></svg>'
    for kind, path in SAID.items()
    for hue in ("ok", "run", "fail", "retry", "queue")
}


def drawn(shapes: Iterable[Shape]) -> Markup:
    """The shapes of one row."""
    return Markup("".join(map(_drawn, shapes)))


def _drawn(shape: Shape) -> str:
    if shape.kind in MARKS:
        return MARKS[shape.kind].format(x=round(shape.x, 2))
    form = FORMS[shape.kind]
    return _rect(shape.kind, shape.x, max(shape.w, LEAST_W), form, shape.is_open)


def _rect(kind: str, x: float, w: float, form: Form, is_open: bool = False) -> str:
    radius = f' rx="{form.radius}"' if form.radius else ""
    fill = f' fill="url(#{form.fill})"' if form.fill else ""
    more = " data-open" if is_open else ""
    x = min(x, 100 - LEAST_W)
    return (
        f'<rect class="b-{kind}" x="{x:.2f}%" y="{form.y}" width="{min(w, 100 - x):.2f}%" height="{form.height}"'
        f"{radius}{fill}{more}/>"
    )


STRIP = {kind: Form(3, 8, 1.5, form.fill) for kind, form in FORMS.items()} | {"back": Form(6, 2, 0, "p-back")}
STRIP |= {kind: Form(5, 4, 2, form.fill) for kind, form in FORMS.items() if kind.startswith("whole-")}


def drawn_strip(segments: Iterable[Shape]) -> Markup:
    """The same, small: for a row of 14 pixels."""
    return Markup("".join(_rect(each.kind, each.x, max(each.w - 0.5, 1), STRIP[each.kind]) for each in segments))


CHAR_W = 1.45
"""Percent that a character of a note takes, where there is least room."""


def note(text: str, after: float, before: float) -> Markup:
    """A text beside what it is about: behind it if there is room, else before it, else nowhere."""
    room = len(text) * CHAR_W + 2
    if not text:
        return Markup("")
    if after + room <= 100:
        return Markup('<text class="tx" x="{:.2f}%" dx="6" y="19">{}</text>').format(after, text)
    if before >= room:
        return Markup('<text class="tx end" x="{:.2f}%" dx="-6" y="19">{}</text>').format(before, text)
    return Markup("")


LAYERS = ("ok", "run", "retry", "fail")
"""What is stacked in an area, from the bottom up."""


def area(x: float, w: float, loads: "dict[str, list[int]]") -> Markup:
    """How many calls were under way: one step line for each layer, stacked."""
    present = [layer for layer in LAYERS if any(loads.get(layer, ()))]
    if not present:
        return Markup("")
    count = len(loads[present[0]])
    sums = [0] * count
    outlines: list[tuple[str, list[int]]] = []
    for layer in present:
        sums = [below + own for below, own in zip(sums, loads[layer], strict=True)]
        outlines.append((layer, sums))
    top = max(sums)
    paths = "".join(f'<path class="a-{layer}" d="{_outline(heights, top)}"/>' for layer, heights in reversed(outlines))
    return Markup(
        f'<svg class="area" x="{x:.2f}%" y="5" width="{max(w, 1):.2f}%" height="20" viewBox="0 0 {count} 100" '
        f'preserveAspectRatio="none">{paths}</svg>'
    )


def _outline(heights: list[int], top: int) -> str:
    """A path along the heights, which goes on where the height is the same."""
    d = ["M0 100"]
    last: int | None = None
    for at, height in enumerate(heights):
        level = 100 - round(height * 100 / top)
        if level != last:
            d.append(f"H{at}V{level}" if at else f"V{level}")
            last = level
    return "".join([*d, f"H{len(heights)}V100Z"])


def cells(kinds: Iterable[str], columns: int) -> Markup:
    """A map of one cell per call, in rows: one path for each kind, however many cells it has."""
    paths: dict[str, list[str]] = {}
    for number, kind in enumerate(kinds):
        row, column = divmod(number, columns)
        paths.setdefault(kind, []).append(f"M{column} {row}h.88v.88h-.88z")
    return Markup("".join(f'<path class="c-{escape(kind)}" d="{"".join(d)}"/>' for kind, d in paths.items()))
