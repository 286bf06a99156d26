"""Attributes of a run as they are shown, each a way to the list of the runs that have it as well."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from perdure.client.conditions import condition_of
from perdure.web import addresses
from perdure.web.markup import flat


class Tag(NamedTuple):
    """`path` is "" if the value cannot be typed, or is asked for already."""

    name: str
    value: str
    path: str


def tags(attributes: Mapping[str, Any], asked: Sequence[str] = ()) -> list[Tag]:
    """`asked` are conditions that the lists keep."""
    return [_tag(name, value, asked) for name, value in attributes.items()]


def _tag(name: str, value: Any, asked: Sequence[str]) -> Tag:
    text = value if isinstance(value, str) else flat(msgspec.to_builtins(value)).strip('"')
    condition = condition_of(name, value)
    if condition is None or condition in asked:
        return Tag(name, text, "")
    return Tag(name, text, addresses.list_path(attr=(*asked, condition)))
