"""The WHERE of a filter, for all stores that speak SQL: what they say differently is their dialect."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from perdure.kernel.attributes import Wanted
from perdure.stores.filtering import RunFilter

Part: TypeAlias = tuple[str, list[Any]]
"""A condition, and its parameters."""

Bound: TypeAlias = tuple[str | int | float, str]
"""What a value is compared to, and how."""

_COMPLETED = 7


class Dialect(NamedTuple):
    """`mark` stands for a parameter, `schema` before the name of a table; `among` says that a column has one of some numbers,
    `begins` that an id begins so, `compared` that the value of an attribute is within all of the bounds."""

    mark: str
    schema: str
    among: Callable[[str, Sequence[int]], Part]
    begins: Callable[[str], Part]
    compared: Callable[[Sequence[Bound]], list[Part]]


def conditions(wanted: RunFilter, dialect: Dialect) -> Part:
    runs, mark = f"{dialect.schema}runs", dialect.mark
    parts: list[Part] = [("1 = 1", [])]
    if wanted.statuses:
        parts.append(dialect.among("status", wanted.statuses))
        if _COMPLETED not in wanted.statuses:
            parts.append(("status <> 7", []))  # follows, and lets the partial index be used
    if wanted.workflow is not None:
        parts.append((f"workflow = {mark}", [wanted.workflow]))
    if wanted.id_prefix:
        parts.append(dialect.begins(wanted.id_prefix))
    if wanted.started_since is not None:
        parts.append((f"started_at >= {mark}", [wanted.started_since]))
    if wanted.parent is not None:
        of_parent = f"parent <> 0 AND parent IN (SELECT key FROM {runs} WHERE id = {mark})"
        parts.append((of_parent, [wanted.parent]))
    if wanted.root is not None:
        # "root <> 0" is said, as the partial index asks for it; a root itself has 0.
        below = f"SELECT key FROM {runs} WHERE root <> 0 AND root IN (SELECT key FROM {runs} WHERE id = {mark})"
        of_root = f"key IN ({below} UNION SELECT key FROM {runs} WHERE id = {mark} AND root = 0)"
        parts.append((of_root, [wanted.root, wanted.root]))
    return _all([*parts, *(_has(each, dialect) for each in wanted.attributes)])


def _has(wanted: Wanted, dialect: Dialect) -> Part:
    """A run has such an attribute."""
    choices: list[Part] = []
    for choice in wanted.choices:
        bounds = ((choice.low, ">" if choice.above else ">="), (choice.high, "<" if choice.below else "<="))
        given = [(bound, sign) for bound, sign in bounds if bound is not None]
        choices.append(_all([dialect.among("kind", choice.kinds), *dialect.compared(given)]))
    fitting = " OR ".join(f"({sql})" for sql, _ in choices) or "1 = 0"
    values = [value for _, values in choices for value in values]
    sql = f"key IN (SELECT run FROM {dialect.schema}attributes WHERE name = {dialect.mark} AND ({fitting}))"
    return sql, [wanted.name, *values]


def _all(parts: Sequence[Part]) -> Part:
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]
