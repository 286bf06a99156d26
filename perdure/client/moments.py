"""Nanoseconds since the epoch as what people and programs read."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at_ns: int) -> datetime:
    """Nanoseconds since the epoch as an aware datetime, to the microsecond."""
    return _EPOCH + timedelta(microseconds=at_ns // 1000)


def rfc3339(at_ns: int) -> str:
    return moment(at_ns).isoformat(timespec="microseconds").replace("+00:00", "Z")
