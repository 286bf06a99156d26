"""Times and durations as people read and write them."""

from datetime import UTC, datetime, timedelta

import pytest

from perdure.cli.times import left, rfc3339, seconds, shown, since, took

NOW = datetime(2026, 11, 24, 14, 31, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0, "0ms"), (0.012, "12ms"), (0.8, "0.8s"), (33.44, "33.4s"), (59.96, "1m"), (287, "4m47s"), (3599.9, "1h"),
        (18_960, "5h16m"), (86_400, "1d"), (4 * 86_400 + 7_200, "4d2h"),
    ],
)  # fmt: skip
def test_a_duration_is_short(length, text) -> None:
    assert took(length) == text


def test_a_time_to_come_is_in_whole_seconds() -> None:
    assert left(11.6) == "12s"
    assert left(0.2) == "1s"
    assert left(90) == "1m30s"


@pytest.mark.parametrize(
    ("text", "length"), [("90", 90), ("1.5s", 1.5), ("5m", 300), ("1h30m", 5_400), ("250ms", 0.25), ("2w", 1_209_600)]
)
def test_a_duration_is_read(text, length) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "soon", "5 apples", "-3s", "1h30"])
def test_what_is_no_duration_is_none(text) -> None:
    assert seconds(text) is None


def test_since_takes_an_age_a_day_or_a_moment() -> None:
    assert since("24h", NOW) == NOW - timedelta(days=1)
    assert since("7d ago", NOW) == NOW - timedelta(days=7)
    assert since("2026-11-22T10:00:00+02:00", NOW) == datetime(2026, 11, 22, 8, tzinfo=UTC)
    assert since("last week", NOW) is None


def test_a_moment_is_shown_in_the_form_asked_for() -> None:
    at = NOW - timedelta(minutes=5)

    assert shown(at, NOW, "rel", True) == "5m ago"
    assert shown(at, NOW, "iso", True) == "2026-11-24T14:26:30.000Z"
    assert shown(at, NOW, "raw", True) == "1795530390.000000"
    assert shown(at, NOW, "clock", True) == "14:26:30"
    assert shown(NOW - timedelta(days=6), NOW, "clock", True) == "Nov 18 14:31"
    assert shown(NOW - timedelta(days=600), NOW, "clock", True) == "2025-04-03"


def test_machines_get_utc_to_the_millisecond() -> None:
    assert rfc3339(NOW) == "2026-11-24T14:31:30.000Z"
