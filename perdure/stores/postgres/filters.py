"""Filters in the SQL of PostgreSQL."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from perdure.stores.filtering_sql import Bound, Dialect, Part


def _compared(bounds: Sequence[Bound]) -> list[Part]:
    parts: list[Part] = [(f"text {sign} %b", [bound]) for bound, sign in bounds if isinstance(bound, str)]
    numbers = [(bound, sign) for bound, sign in bounds if not isinstance(bound, str)]
    if numbers:  # each in its own type, so that there is an index for it
        whole, floats = _side(_whole, numbers), _side(_float, numbers)
        parts.append((f"(({whole[0]}) OR ({floats[0]}))", whole[1] + floats[1]))
    return parts


def _side(compared: Callable[[int | float, str], tuple[str, Any]], bounds: Sequence[tuple[int | float, str]]) -> Part:
    parts = [compared(bound, sign) for bound, sign in bounds]
    return " AND ".join(sql for sql, _ in parts), [value for _, value in parts]


def _whole(bound: int | float, sign: str) -> tuple[str, Any]:
    """A whole number is on that side of the bound, exactly."""
    if isinstance(bound, float) and math.isfinite(bound) and not bound.is_integer():
        sign = sign[0] + "="  # beyond 6.5 is from 7 on
        bound = math.ceil(bound) if sign == ">=" else math.floor(bound)
    if math.isfinite(bound) and -(2**63) <= bound < 2**63:
        return f"number {sign} %b::bigint", int(bound)
    return f"number::numeric {sign} %b::numeric", bound


def _float(bound: int | float, sign: str) -> tuple[str, Any]:
    if isinstance(bound, float) or abs(bound) <= 2**53:
        return f"float {sign} %b::float8", float(bound)
    return f"float::numeric {sign} %b::numeric", bound


POSTGRES = Dialect(
    mark="%b",
    schema="perdure.",
    among=lambda column, numbers: (f"{column} = ANY (%b::smallint[])", [list(numbers)]),
    begins=lambda prefix: ("id ^@ %b", [prefix]),
    compared=_compared,
)
