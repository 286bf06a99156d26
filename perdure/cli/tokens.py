"""How states look in a terminal. Colour is never alone: every state has its own sign and word."""

from typing import NamedTuple

Style = str
"""The name of a style in `STYLES`; "" is plain."""

Line = list[tuple[str, Style]]
"""One line of the screen: pieces of text, each with a style."""


class Token(NamedTuple):
    icon: str
    style: Style


STYLES: dict[Style, str] = {
    "running": "34",
    "waiting": "35",
    "retrying": "33",
    "held": "38;5;172",
    "completed": "32",
    "failed": "31",
    "cancelled": "90",
    "terminated": "95",
    "queued": "90",
    "dim": "90",
    "bold": "1",
    "hint": "36",
    "failed.bold": "1;31",
    "bad": "31",
}
"""SGR codes. Only the 16 colours of the terminal's own palette, but for the amber-brown of what waits for a person."""

TOKENS: dict[str, Token] = {
    "queued": Token("◌", "queued"),
    "scheduled": Token("◌", "queued"),
    "running": Token("▶", "running"),
    "waiting": Token("◔", "waiting"),
    "retrying": Token("↻", "retrying"),
    "held": Token("⚑", "held"),
    "blocked": Token("⚑", "held"),
    "quarantined": Token("⚑", "held"),
    "completed": Token("✓", "completed"),
    "continued as new": Token("»", "completed"),
    "failed": Token("✗", "failed"),
    "timed out": Token("◷", "failed"),
    "lost": Token("✗", "failed"),
    "cancelled": Token("⊘", "cancelled"),
    "terminated": Token("■", "terminated"),
}

COMPENSATION = "↶"
"""Before the name of a step that undoes another."""

OPEN = ("queued", "running", "waiting", "retrying", "held", "blocked", "quarantined")
CLOSED = ("completed", "failed", "cancelled", "terminated", "timed out", "continued as new")
STATES = OPEN + CLOSED
"""States a run can be in, in the order of a run's life."""

TYPED = {state.replace(" ", "-"): state for state in STATES}
"""The same as they are typed."""

ASCII = str.maketrans(
    {
        "◌": ".",
        "▶": "o",
        "◔": "~",
        "↻": "!",
        "⚑": "?",
        "✓": "*",
        "✗": "x",
        "◷": "x",
        "⊘": "-",
        "»": ">",
        "■": "#",
        "█": "#",
        "▓": "=",
        "▒": ":",
        "░": ".",
        "╌": "-",
        "│": "|",
        "━": "=",
        "─": "-",
        "╎": ":",
        "○": "o",
        "×": "x",
        "·": "-",
        "…": "~",
        "→": "->",
        "←": "<-",
        "⋯": "~",
        "↶": "<",
        "◆": "@",
        "⌂": "^",
        "“": '"',
        "”": '"',
        "▁": "_",
        "▂": ".",
        "▃": ":",
        "▄": "-",
        "▅": "=",
        "▆": "+",
        "▇": "*",
    }
)
"""What `--ascii` shows instead."""


def token(state: str) -> Token:
    return TOKENS.get(state, Token("·", "dim"))
