"""Times and durations as people read and write them."""

import re
from datetime import UTC, datetime, timedelta

from perdure.durations import duration_ns
from perdure.errors import DefinitionError


def took(seconds: float) -> str:
    """A duration in at most six characters or so: 12ms, 0.8s, 33.4s, 4m47s, 5h16m, 4d2h."""
    if seconds < 0.0995:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        parts, each = round(seconds / part), size // part
        if parts >= each:
            rest = parts % each
            if not rest:
                return f"{parts // each}{unit}"
            return f"{parts // each}d{rest}h" if unit == "d" else f"{parts // each}{unit}{rest:02d}{smaller}"
    return f"{round(seconds)}s"


def left(seconds: float) -> str:
    """A time still to come, in whole seconds and at least one."""
    return f"{max(round(seconds), 1)}s" if seconds < 59.5 else took(seconds)


def seconds(text: str) -> float | None:
    """A duration such as 90, 1.5s, 5m or 1h30m in seconds; None if it is not one."""
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
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
