"""Times and durations as people read and write them."""

import math
import re
from datetime import UTC, datetime, timedelta

from perdure.durations import duration_ns
from perdure.durations import left as left
from perdure.durations import took as took
from perdure.errors import DefinitionError


def seconds(text: str) -> float | None:
    """A duration such as 90, 1.5s, 5m or 1h30m in seconds; None if it is not one."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        number = float(text)
        return number if math.isfinite(number) else None
    try:
        return duration_ns(text) / 1e9
    except DefinitionError:
        return None


def since(text: str, now: datetime) -> datetime | None:
    """A moment given as an age ("24h", "7d ago") or as a date or time; without zone it is local. None if neither."""
    age = seconds(text.strip().removesuffix("ago").strip())
    if age is not None and not re.fullmatch(r"\d{4,}", text.strip()):
        return now - timedelta(seconds=min(age, 1e9))
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def rfc3339(at: datetime) -> str:
    """In UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: datetime, now: datetime, utc: bool) -> str:
    """The time of day if it was today, the day if it was this year, else the date."""
    there, here = (at.astimezone(UTC), now.astimezone(UTC)) if utc else (at.astimezone(), now.astimezone())
    if there.date() == here.date():
        return f"{there:%H:%M:%S}"
    return f"{there:%b} {there.day} {there:%H:%M}" if there.year == here.year else f"{there:%Y-%m-%d}"


def shown(at: datetime, now: datetime, form: str, utc: bool) -> str:
    """A moment in the form asked for: "rel" (5m ago), "iso", "raw" (seconds since the epoch) or "clock"."""
    if form == "iso":
        return rfc3339(at) if utc else at.astimezone().isoformat(timespec="milliseconds")
    if form == "raw":
        return f"{at.timestamp():.6f}"
    if form == "rel":
        age = (now - at).total_seconds()
        return f"{took(age)} ago" if age >= 0 else f"in {took(-age)}"
    return clock(at, now, utc)
