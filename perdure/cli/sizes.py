"""Numbers of bytes as people read them."""


def size(count: int) -> str:
    """In at most six characters or so: 12 B, 3.4 KB, 120 MB."""
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""
