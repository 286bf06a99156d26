"""Conditions on attributes as they are typed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from perdure.attributes import attributes_of
from perdure.client.conditions import condition_of, conditions_in
from perdure.errors import DefinitionError
from perdure.kernel.attributes import fits


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        ("eu", "n=eu"),
        ("10", "n=10"),
        (-10, "n=-10"),
        (1.5, "n=1.5"),
        (1e20, None),
        (1e-7, "n=1e-07"),
        (True, "n=true"),
        (datetime(2026, 11, 22, 14, 0, 0, 250_000, UTC), "n=2026-11-22T14:00:00.250000Z"),
        ("a=b", "n=a=b"),
        ("a,b", None),
        ("a..b", None),
        (" a", None),
        ("", None),
        ("a\nb", None),
        (["a"], None),
    ],
)
def test_what_is_typed_to_find_the_same_value_finds_it(value: Any, typed: str | None) -> None:
    (attribute,) = attributes_of({"n": value}, "a test")

    assert condition_of("n", value) == typed
    assert typed is None or fits(conditions_in((typed,), "a test")[0], attribute)


@pytest.mark.parametrize(
    "moment", ["0001-01-01", "9999-12-31", "0001-01-01T00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"]
)
def test_moments_beyond_what_is_stored_are_the_last_ones_that_are(moment: str) -> None:
    (stored,) = attributes_of({"n": datetime(2026, 11, 22, tzinfo=UTC)}, "a test")

    later, earlier = (fits(conditions_in((f"n{sign}{moment}",), "a test")[0], stored) for sign in (">", "<="))
    assert (later, earlier) == ((True, False) if moment.startswith("0001") else (False, True))


def test_a_search_compares_with_so_many_values_at_most() -> None:
    with pytest.raises(DefinitionError, match="attr: attributes would be compared with 400 values; at most 200 are"):
        conditions_in((",".join(["n=0", *map(str, range(1, 200))]),), "attr")


def test_an_end_of_another_type_makes_no_range() -> None:
    with pytest.raises(DefinitionError, match="its ends are of one type, the lower one first"):
        conditions_in(("n=1..b",), "attr")
