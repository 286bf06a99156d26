"""What a message brings, as it is typed: `5 true text`, `amount=5`, or fields of the one parameter, `approved=true by=ann`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from perdure.cli.arguments import demand_names, parse
from perdure.cli.problems import USAGE, Problem


def spoken(
    input: str | None, args: Sequence[str], published: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments. `published` is what the engine tells of the parameters, None if it tells nothing.

    Raises:
        Problem: they cannot be read, or a name is none of the parameters.
    """
    if input is not None and args:
        raise Problem("arguments are given by --input and beside it", USAGE, [" ".join(args)[:120]], "leave one out")
    shape = Shape(published)
    if input is not None:
        return parse(input, (), shape.names)
    positional: list[Any] = []
    named: dict[str, str] = {}
    for arg in args:
        name, equals, text = arg.partition("=")
        if equals and name.isidentifier():
            named[name] = text
        else:
            positional.append(_value(arg, shape.is_text(len(positional))))
    if not named:
        return tuple(positional), {}
    whole = shape.fields_of_the_one(named) if not positional else None
    if whole is not None:
        fields = {name: _value(text, is_text(whole.get(name))) for name, text in named.items()}
        demand_names(fields, list(whole), "")
        return (fields,), {}
    values = {name: _value(text, is_text(shape.kinds.get(name))) for name, text in named.items()}
    if shape.names is not None:
        demand_names(values, shape.names, "")
    return tuple(positional), values


class Shape:
    """What is known of the parameters. `names` is None if it takes others, too, or if nothing is known."""

    def __init__(self, published: Mapping[str, Any] | None) -> None:
        schema = {} if published is None else published["schema"]
        self.order: list[str] = [] if published is None else published["names"]
        self.kinds: dict[str, Any] = schema.get("properties", {})
        self._components: dict[str, Any] = schema.get("$defs", {})
        is_open = published is None or "additionalProperties" in schema or len(self.kinds) > len(self.order)
        self.names = None if is_open else self.order

    def is_text(self, place: int) -> bool:
        return place < len(self.order) and is_text(self.kinds.get(self.order[place]))

    def fields_of_the_one(self, named: Mapping[str, Any]) -> dict[str, Any] | None:
        """The fields of the only parameter, if it has any and none of the names is its own."""
        if self.names is None or len(self.names) != 1 or self.names[0] in named:
            return None
        kind = self.kinds[self.names[0]]
        for each in (kind, *kind.get("anyOf", ())):
            name = each.get("$ref", "").rpartition("/")[2]
            fields = self._components.get(name, each).get("properties")
            if fields:
                return dict(fields)
        return None


def is_text(kind: Any) -> bool:
    return isinstance(kind, dict) and kind.get("type") == "string"


def _value(text: str, as_text: bool) -> Any:
    """JSON if it is JSON, else the text itself; always the text where one is wanted."""
    if as_text:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
