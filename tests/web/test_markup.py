"""Values, moments and tracebacks as HTML: bounded, escaped, and as people read them."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.web import markup

NOW = datetime(2026, 11, 24, 14, 31, 30, 123_000, UTC)


def plain(drawn: object) -> str:
    return unescape(re.sub(r"<[^>]*>", "", str(drawn)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_that_fits_is_shown_whole_as_json(value: object) -> None:
    shown = plain(markup.pretty(value))

    if "…" not in shown and not re.search(r"[\[{] [\d,]+ (items?|fields?) [\]}]", shown):
        assert json.loads(shown) == value


@given(VALUES, st.integers(10, 200))
def test_a_line_is_never_longer_than_it_may_be(value: object, chars: int) -> None:
    shown = markup.flat(value, chars)

    assert len(shown) <= chars
    assert "\n" not in shown


def test_a_long_text_is_cut_and_counted() -> None:
    assert plain(markup.pretty("x" * 1_000)).endswith("… 400 more characters")


def test_a_long_list_is_cut_and_counted() -> None:
    shown = plain(markup.pretty([{"n": n} for n in range(80)]))

    assert shown.endswith("… 30 more\n]")


def test_what_is_too_deep_is_counted() -> None:
    value: object = ["bottom", ["x"]]
    for _ in range(8):
        value = {"in": value}

    assert "{ 1 field }" in plain(markup.pretty(value))


@pytest.mark.parametrize(
    "value", [["x" * 500] * 5_000, {f"key{n}": "v" * 200 for n in range(5_000)}, [[["y"] * 60] * 60] * 60]
)
def test_however_large_a_value_is_what_is_shown_is_small(value: object) -> None:
    assert len(markup.pretty(value)) < 60_000
    assert len(markup.flat(value)) <= 160


def test_moments_are_shown_in_utc_for_whoever_has_no_scripts() -> None:
    assert plain(markup.when(NOW)) == "Nov 24 14:31"
    assert plain(markup.when(NOW, "exact")) == "14:31:30.123"
    assert plain(markup.when(NOW, "full")) == "Nov 24 14:31:30"
    assert 'datetime="2026-11-24T14:31:30.123Z"' in markup.when(NOW)
    assert 'title="2026-11-24 14:31:30.123 UTC"' in markup.when(NOW)


def test_times_to_come_are_counted_down() -> None:
    assert plain(markup.until(NOW + timedelta(seconds=12), NOW)) == "in 12s"
    assert plain(markup.until(NOW, NOW)) == "now"
    assert plain(markup.until(NOW + timedelta(hours=2), NOW, "left")) == "2h left"
    assert plain(markup.until(NOW - timedelta(hours=2), NOW, "left")) == "due"


TRACE = """Traceback (most recent call last):
  File "/home/ada/shop.py", line 12, in pay
    gateway.post(order)
  File "/usr/lib/python3.11/site-packages/httpx/_client.py", line 99, in post
    raise ReadTimeout
httpx.ReadTimeout: no answer"""


def test_in_a_traceback_the_innermost_line_of_ones_own_code_is_marked() -> None:
    drawn = str(markup.traceback(TRACE))

    assert '<mark class="hit">    gateway.post(order)</mark>' in drawn
    assert drawn.count("<mark") == 1
    assert '<span class="er">httpx.ReadTimeout: no answer</span>' in drawn


def test_a_traceback_keeps_its_text() -> None:
    assert plain(markup.traceback(TRACE)) == TRACE


@given(st.text(max_size=200))
def test_any_text_can_be_given_as_a_traceback(text: str) -> None:
    assert plain(markup.traceback(text)) == text.rstrip("\n")
