"""Filters in the SQL of SQLite, which compares numbers of both types with each other."""

import sys

from perdure.stores.filtering_sql import Dialect, Part


def _begins(prefix: str) -> Part:
    beyond = _after_all_with(prefix)
    return ("id >= ?", [prefix]) if beyond is None else ("id >= ? AND id < ?", [prefix, beyond])


def _after_all_with(prefix: str) -> str | None:
    """The first text that sorts after everything that begins with the prefix; None if there is no such text."""
    stem = prefix.rstrip(chr(sys.maxunicode))
    if not stem:
        return None
    last = ord(stem[-1]) + 1
    if 0xD800 <= last <= 0xDFFF:  # surrogates are no characters
        last = 0xE000
    return stem[:-1] + chr(last)


SQLITE = Dialect(
    mark="?",
    schema="",
    among=lambda column, numbers: (f"{column} IN ({', '.join('?' * len(numbers))})", list(numbers)),
    begins=_begins,
    compared=lambda bounds: [(f"value {sign} ?", [bound]) for bound, sign in bounds],
)
