"""Which messages the workflows of a database hear, as its newest owner has published it: for clients without code."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from perdure.stores.base import DefinitionRow

KINDS = ("signal", "query", "update")


class Heard(NamedTuple):
    """What a workflow hears: for each kind and name the parameters, as `Parameters.published` gives them. The name ""
    stands for all others: a dynamic handler hears them."""

    by_name: Mapping[tuple[str, str], dict[str, Any]]

    def names(self, kind: str) -> list[str]:
        return sorted(name for each, name in self.by_name if each == kind and name)

    def all_names(self, kind: str) -> bool:
        """Whether it hears any name."""
        return (kind, "") in self.by_name


def heard_by(definitions: Iterable[DefinitionRow], workflow: str) -> Heard | None:
    """What a workflow hears; None if the owner does not know it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    is_known = False
    for row in definitions:
        if row.kind == "workflow":
            is_known = is_known or row.name == workflow
        elif row.kind in KINDS and row.name.startswith(f"{workflow}."):
            published = msgspec.json.decode(row.parameters)
            if published["workflow"] == workflow:
                found[row.kind, published["message"]] = published
    return Heard(found) if is_known else None
