"""Where a JSON value does not fit a schema, field by field and in words: as far as a schema tells, for clients without code.

What is found here is wrong for sure. What is not may still be refused by the type itself, which the engine asks.
"""

import base64
import datetime as dt
import decimal
import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from perdure.payload.misfit import did_you_mean, shown

VALUES = 200_000
MEMBERS = 10_000
"""So many values of an answer are compared with its form, and so many members of unions tried for them, as each may have unions
in it: the engine, which has the type, looks at the rest."""

_DEEPEST = 20


class Wrong(NamedTuple):
    """What is wrong in an answer: `field` is the way to it, "" the answer as a whole. `expected` is "" of a field that the
    form does not have; `meant` then says which one it may be."""

    field: str
    expected: str
    found: str
    meant: str = ""

    def __str__(self) -> str:
        if not self.expected:
            return f"there is no field {self.field}{self.meant}"
        where = f"field {self.field}: " if self.field else ""
        return f"{where}expected {self.expected}, found {self.found}"


def wrong_in(schema: dict[str, Any], value: Any) -> list[Wrong]:
    """Where a JSON value does not fit a form, as far as its schema tells it."""
    return _Comparing(components_of(schema)).wrong(schema, value, "")


def components_of(schema: dict[str, Any]) -> dict[str, Any]:
    """What a schema refers to by name; also what a component brings with it."""
    found = dict(schema.get("$defs", {}))
    for each in list(found.values()):
        found = {**each.get("$defs", {}), **found}
    return found


def resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    for _ in range(_DEEPEST):
        name = schema.get("$ref", "").rpartition("/")[2]
        if not name:
            break
        schema = components.get(name, {})
    return schema


class _Comparing:
    """One comparison of a value with a schema."""

    def __init__(self, components: dict[str, Any]) -> None:
        self._components = components
        self._left = VALUES
        self._tries = MEMBERS

    def wrong(self, schema: Any, value: Any, path: str) -> list[Wrong]:
        self._left -= 1
        if self._left < 0 or not isinstance(schema, dict):
            return []
        schema = resolved(schema, self._components)
        if "anyOf" in schema or "oneOf" in schema:
            return self._wrong_in_union(schema, value, path)
        if not _is_of_type(schema, value) or not _keeps_bounds(schema, value):
            return [Wrong(path, words_of(schema, self._components), shown(value))]
        if isinstance(value, dict):
            return self._wrong_in_object(schema, value, path)
        if isinstance(value, list):
            return [
                wrong for n, item in enumerate(value) for wrong in self.wrong(_item(schema, n), item, f"{path}[{n}]")
            ]
        return []

    def _wrong_in_union(self, schema: dict[str, Any], value: Any, path: str) -> list[Wrong]:
        options = [resolved(each, self._components) for each in schema.get("anyOf") or schema["oneOf"]]
        of_type = [each for each in options if "anyOf" in each or "oneOf" in each or _is_of_type(each, value)]
        meant = [each for each in of_type if self._is_tagged(each, value)]
        if of_type and not meant:
            return self._wrong_tag(of_type, value, path)
        nearest: list[Wrong] | None = None
        for each in meant:
            self._tries -= 1
            if self._tries < 0:
                return []
            found = self.wrong(each, value, path)
            if not found:
                return []
            if nearest is None or len(found) < len(nearest):
                nearest = found
        if nearest is None or (nearest[0].field == path and nearest[0].expected):
            return [Wrong(path, words_of(schema, self._components), shown(value))]
        return nearest

    def _is_tagged(self, option: dict[str, Any], value: Any) -> bool:
        """Whether an object has the fixed values by which it is told from the others of a union."""
        if not isinstance(value, dict):
            return True
        return all(value[name] == tag if name in value else name not in option.get("required", ())
                   for name, tag in _tags(option).items())  # fmt: skip

    def _wrong_tag(self, options: list[dict[str, Any]], value: dict[str, Any], path: str) -> list[Wrong]:
        tags = [_tags(each) for each in options]
        name = next(name for each in tags for name, tag in each.items() if value.get(name) != tag)
        known = sorted({json.dumps(each[name], ensure_ascii=False) for each in tags if name in each})
        found = shown(value[name]) if name in value else "nothing"
        return [Wrong(_within(path, name), f"one of {', '.join(known)}", found)]

    def _wrong_in_object(self, schema: dict[str, Any], value: dict[str, Any], path: str) -> list[Wrong]:
        named: dict[str, Any] = schema.get("properties", {})
        wrong = [
            Wrong(_within(path, name), words_of(named.get(name, {}), self._components), "nothing")
            for name in schema.get("required", [])
            if name not in value
        ]
        others = schema.get("additionalProperties", not named)
        for name, item in value.items():
            if name in named:
                wrong += self.wrong(named[name], item, _within(path, name))
            elif others is False:
                meant = did_you_mean(name, named) or f"; there are: {', '.join(named)}"
                wrong.append(Wrong(_within(path, name), "", shown(item), meant))
            else:
                wrong += self.wrong(others, item, _within(path, name))
        return wrong


def _tags(option: dict[str, Any]) -> dict[str, Any]:
    """Fields of an object that have one value only."""
    tags: dict[str, Any] = {}
    for name, of in option.get("properties", {}).items():
        if isinstance(of, dict) and ("const" in of or len(of.get("enum", ())) == 1):
            tags[name] = of["const"] if "const" in of else of["enum"][0]
    return tags


def _item(schema: dict[str, Any], n: int) -> Any:
    first = schema.get("prefixItems", [])
    return first[n] if n < len(first) else schema.get("items")


def _within(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def _is_of_type(schema: dict[str, Any], value: Any) -> bool:
    if "enum" in schema and not any(type(each) is type(value) and each == value for each in schema["enum"]):
        return False
    if "const" in schema and schema["const"] != value:
        return False
    kinds = _kinds(schema)
    fitting = tuple(each for kind in kinds for each in _TYPES.get(kind, (object,)))
    if not fitting:
        return True
    return isinstance(value, fitting) and (bool in fitting or object in fitting or not isinstance(value, bool))


def _kinds(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type")
    return [kinds] if isinstance(kinds, str) else kinds or []


# bounds and formats


def _keeps_bounds(schema: dict[str, Any], value: Any) -> bool:
    if isinstance(value, str):
        return _has_length(schema, value, "Length") and _matches(schema, value) and _has_format(schema, value)
    if isinstance(value, list):
        return _has_length(schema, value, "Items")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf) and schema.get(
            "exclusiveMinimum", -math.inf
        ) < value < schema.get("exclusiveMaximum", math.inf)
    return True


def _has_length(schema: dict[str, Any], value: str | list[Any], of: str) -> bool:
    return schema.get(f"min{of}", 0) <= len(value) <= schema.get(f"max{of}", math.inf)


def _matches(schema: dict[str, Any], value: str) -> bool:
    try:
        return "pattern" not in schema or re.search(schema["pattern"], value) is not None
    except re.error:  # one that only another kind of regular expressions has
        return True


def _has_format(schema: dict[str, Any], value: str) -> bool:
    reads = _READS.get(schema.get("format", "")) or _READS.get(schema.get("contentEncoding", ""))
    if reads is None:
        return True
    try:
        reads(value)
    except (ValueError, ArithmeticError):
        return False
    return True


def _either(kind: type, otherwise: Callable[[str], object]) -> Callable[[str], object]:
    """As msgspec reads it, or as other libraries do, which are more generous."""

    def reads(text: str) -> object:
        try:
            return msgspec.convert(text, kind)
        except msgspec.ValidationError:
            return otherwise(text)

    return reads


_UUID = re.compile(r"(urn:uuid:)?\{?[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\}?")

_READS: dict[str, Callable[[str], object]] = {
    "date": _either(dt.date, dt.datetime.fromisoformat),
    "date-time": _either(dt.datetime, lambda text: dt.datetime.fromisoformat(text) if "-" in text else float(text)),
    "time": _either(dt.time, dt.time.fromisoformat),
    "duration": _either(
        dt.timedelta, lambda text: _demand(any(map(str.isdigit, text)) and (":" in text or text[-1] == "S"))
    ),
    "decimal": decimal.Decimal,
    "uuid": lambda text: _demand(bool(_UUID.fullmatch(text))),
    "base64": lambda text: base64.b64decode(text, validate=True),
}


def _demand(holds: bool) -> None:
    if not holds:
        raise ValueError


# words

_WORDS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_FORMATS = {
    "date": "a date such as 2026-11-29",
    "date-time": "a time such as 2026-11-29T12:00:00Z",
    "time": "a time of day such as 12:00:00",
    "duration": "a duration such as P2D",
    "decimal": "a decimal number as a text",
    "uuid": "a UUID",
    "base64": "bytes in base64",
}


def words_of(schema: Any, components: dict[str, Any]) -> str:
    """What a schema asks for, for people."""
    if not isinstance(schema, dict):
        return "anything"
    schema = resolved(schema, components)
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(each, ensure_ascii=False) for each in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "anyOf" in schema or "oneOf" in schema:
        options = schema.get("anyOf") or schema["oneOf"]
        return " or ".join(dict.fromkeys(words_of(each, components) for each in options))
    kinds = _kinds(schema)
    if kinds == ["array"]:
        return _words_of_list(schema, components)
    if kinds == ["object"] and schema.get("properties"):
        return f"an object with {', '.join(schema['properties'])}"
    format = schema.get("format") or schema.get("contentEncoding")
    if kinds == ["string"] and format in _FORMATS:
        return _FORMATS[format]
    return (" or ".join(_WORDS.get(kind, kind) for kind in kinds) or "anything") + _bounds(schema)


def _words_of_list(schema: dict[str, Any], components: dict[str, Any]) -> str:
    first = schema.get("prefixItems")
    if first:
        return f"a list of {' and '.join(words_of(each, components) for each in first)}"
    items = f", each {words_of(schema['items'], components)}" if schema.get("items") else ""
    return f"a list{_range(schema, 'minItems', 'maxItems', ' items')}{items}"


def _bounds(schema: dict[str, Any]) -> str:
    """What is demanded of a number or a text beside its type."""
    text = _range(schema, "minLength", "maxLength", " characters") + _range(schema, "minimum", "maximum")
    for name, words in (("exclusiveMinimum", "more"), ("exclusiveMaximum", "less")):
        text += f" {words} than {schema[name]:g}" if name in schema else ""
    return text + (f" that matches {schema['pattern']}" if "pattern" in schema else "")


def _range(schema: dict[str, Any], least: str, most: str, of_what: str = "") -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if low == high:
        text = f" of {low:,}"
    elif high is None:
        text = f" of {low:,} or more"
    elif low is None:
        text = f" of up to {high:,}"
    else:
        text = f" of {low:,} to {high:,}"
    return text + of_what
