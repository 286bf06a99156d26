"""How states look: each has an icon of its own shape, a word, and colours that can be told apart and read."""

import re

import pytest

from perdure.kernel.run import Status
from perdure.web.drawing import FORMS, MARKS
from perdure.web.looks import KINDS, LOOKS, TABS, UNKNOWN, event_hue, look
from perdure.web.pages import HERE, STATIC

SPRITE = (HERE / "templates" / "_sprite.html").read_text()
STYLES = (STATIC / "perdure.css").read_text()
HUES = sorted({each.hue for each in LOOKS.values()})


@pytest.mark.parametrize("status", Status)
def test_every_state_of_a_run_has_a_look(status: Status) -> None:
    assert look(status.word) != UNKNOWN or status is Status.QUEUED


@pytest.mark.parametrize("state", ["scheduled", "deferred", "lost", "timed out", "held"])
def test_states_of_steps_and_attempts_have_looks(state: str) -> None:
    assert state in LOOKS


def test_a_state_nobody_has_heard_of_is_shown_all_the_same() -> None:
    assert look("levitating") == UNKNOWN


def test_every_state_is_in_exactly_one_tab() -> None:
    tabs = [state for tab in TABS for state in tab.states]

    assert sorted(tabs) == sorted(status.word for status in Status)


@pytest.mark.parametrize("icon", sorted({each.icon for each in LOOKS.values()} | set(KINDS.values())))
def test_every_icon_is_in_the_sprite(icon: str) -> None:
    assert f'id="i-{icon}"' in SPRITE


def test_every_icon_that_a_page_uses_is_in_the_sprite() -> None:
    used = {
        name for page in (HERE / "templates").glob("*.html") for name in re.findall(r'icon\("(\w+)"', page.read_text())
    }

    assert {name for name in used if f'id="i-{name}"' not in SPRITE} == set()


def test_states_of_different_meaning_have_icons_of_different_shape() -> None:
    by_icon: dict[str, set[str]] = {}
    for each in LOOKS.values():
        by_icon.setdefault(each.icon, set()).add(each.hue)

    assert all(len(hues) == 1 for hues in by_icon.values())


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_every_bar_has_a_colour_or_a_pattern(kind: str) -> None:
    assert f".b-{kind} " in STYLES or f'id="{FORMS[kind].fill}"' in SPRITE


def test_every_mark_has_a_style() -> None:
    classes = {name for mark in MARKS.values() for name in re.findall(r'class="([\w-]+)"', mark)}

    assert all(f".{name} " in STYLES for name in classes)


def test_events_are_coloured_by_how_they_end() -> None:
    hues = [
        event_hue(type) for type in ("RunFailed", "ActivityCompleted", "TimerStarted", "RunStarted", "NeverHeardOf")
    ]

    assert hues == ["fail", "ok", "wait", "run", "queue"]


def tokens() -> dict[str, tuple[str, str]]:
    return {
        name: (light, dark) for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", STYLES)
    }


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("hue", [hue for hue in HUES if hue != "queue"])
def test_the_word_of_a_state_can_be_read_on_its_grounds(hue: str, theme: int) -> None:
    colors = {name: pair[theme] for name, pair in tokens().items()}

    assert contrast(colors[hue], colors["surface"]) >= 4.5
    assert contrast(colors[hue], colors[f"{hue}-weak"]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("text", ["text", "text-2", "text-3"])
def test_text_can_be_read_on_every_ground(text: str, theme: int) -> None:
    colors = {name: pair[theme] for name, pair in tokens().items()}

    assert min(contrast(colors[text], colors[ground]) for ground in ("bg", "surface", "surface-2")) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("hue", ["run", "retry", "ok", "fail", "held", "term"])
def test_bars_stand_out_from_their_ground(hue: str, theme: int) -> None:
    colors = {name: pair[theme] for name, pair in tokens().items()}

    assert contrast(colors[f"{hue}-bar"], colors["surface"]) >= 3
