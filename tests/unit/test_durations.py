"""Durations as people write them."""

import math
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.durations import duration_ns
from perdure.errors import DefinitionError

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        ("5m", 5 * MINUTE),
        ("1s", SECOND),
        ("100s", 100 * SECOND),
        ("500ms", 500_000_000),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("7ns", 7),
        ("1h30m", HOUR + 30 * MINUTE),
        ("1 h 30 min", HOUR + 30 * MINUTE),
        ("1.5 h", HOUR + 30 * MINUTE),
        ("3 days", 3 * DAY),
        ("1 day", DAY),
        ("2 weeks", 14 * DAY),
        ("1w2d3h4m5s6ms", 9 * DAY + 3 * HOUR + 4 * MINUTE + 5 * SECOND + 6_000_000),
        ("  10 Seconds ", 10 * SECOND),
        (".5s", 500_000_000),
        ("0s", 0),
        (300, 300 * SECOND),
        (0, 0),
        (0.5, 500_000_000),
        (10**12, 10**12 * SECOND),
        (timedelta(minutes=5), 5 * MINUTE),
        (timedelta(days=100_000, microseconds=1), 100_000 * DAY + 1_000),
        (timedelta(), 0),
    ],
)
def test_a_duration_is_nanoseconds(value, ns):
    assert duration_ns(value) == ns


@pytest.mark.parametrize(
    ("value", "ns"),
    [("0.1s", 100_000_000), (0.1, 100_000_000), ("0.3s", 300_000_000), (0.7, 700_000_000), ("4.35ms", 4_350_000)],
)
def test_a_decimal_fraction_means_what_it_says(value, ns):
    assert duration_ns(value) == ns


@given(st.decimals(0, 10**9, places=9))
def test_text_is_exact_to_the_nanosecond(seconds):
    assert duration_ns(f"{seconds:f}s") == int(seconds * SECOND)


@given(st.timedeltas(timedelta()))
def test_a_timedelta_is_exact(delta):
    assert duration_ns(delta) == delta // timedelta(microseconds=1) * 1_000


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"])), min_size=1, max_size=5))
def test_parts_add_up(parts):
    text = " ".join(f"{number}{unit}" for number, unit in parts)

    assert duration_ns(text) == sum(duration_ns(f"{number}{unit}") for number, unit in parts)


@given(st.floats(0, 1e9))
def test_a_float_is_at_most_a_nanosecond_off(seconds):
    assert abs(Decimal(duration_ns(seconds)) - Decimal(seconds) * SECOND) <= max(1, seconds * 1e-6)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("5", """the duration '5' has a number without a unit: write "5s" or the number 5"""),
        ("1h 30", """the duration '1h 30' has a number without a unit: write "30s" for seconds"""),
        ("5 years", "the duration '5 years' has an unknown unit 'years': the units are ns, us, ms, s, m, h, d and w"),
        ("1e3s", "has an unknown unit 'e'"),
        ("", "the text '' is empty"),
        ("  ", "the text '  ' is empty"),
        ("abc", "'abc' is not a duration, it cannot be read from 'abc' on"),
        ("5m, 3s", "'5m, 3s' is not a duration, it cannot be read from ', 3s' on"),
        ("-5s", "a duration is at least 0, not '-5s'"),
        ("١s", "'١s' is not a duration"),
        ("1s" * 100, "a text of 200 characters is not a duration"),
        (-1, "-1 seconds is not one"),
        (-0.5, "-0.5 seconds is not one"),
        (math.nan, "nan seconds is not one"),
        (math.inf, "inf seconds is not one"),
        (timedelta(seconds=-1), "a duration is at least 0, not datetime.timedelta(days=-1, seconds=86399)"),
        (True, "True is not a duration"),
        (None, "None (NoneType) is not a duration"),
        ([5], "[5] (list) is not a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_what_was_found(value, found):
    with pytest.raises(DefinitionError) as refused:
        duration_ns(value)

    assert found in str(refused.value)


@pytest.mark.parametrize("value", [True, None, "", "abc", -1, math.nan])
def test_the_refusal_says_how_to_write_one(value):
    with pytest.raises(DefinitionError, match=r'write seconds as a number \(300, 0.5\), a text such as "5m"'):
        duration_ns(value)
