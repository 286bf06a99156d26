"""What people answer: a type whose schema is published, so that an answer is checked where the code is not at hand, too."""

import json
from typing import Any, NamedTuple

from perdure.errors import AnswerMisfit, DefinitionError
from perdure.kernel.limits import TASK_FORM_BYTES
from perdure.payload.codec import codec_of
from perdure.payload.misfit import Misfit, did_you_mean, shown
from perdure.payload.schema import described


class Form:
    """A type, compiled; `owner` says in messages whose form it is. `schema` is {} if none can describe the type.

    Raises:
        DefinitionError: no value of the type can be encoded, or its schema is too large.
    """

    __slots__ = ("_codec", "_owner", "schema")

    def __init__(self, hint: Any, owner: str) -> None:
        self._codec = codec_of(hint, owner, "the form")
        self._owner = owner
        (schema,), components = described([hint])
        self.schema: dict[str, Any] = {**schema, "$defs": components} if components else schema
        size = len(json.dumps(self.schema))
        if size > TASK_FORM_BYTES:
            raise DefinitionError(
                f"{owner}: the JSON schema of its form has {size:,} bytes; at most {TASK_FORM_BYTES:,} are kept, ask for less"
            )

    def decode(self, data: bytes) -> Any:
        """The value of an answer.

        Raises:
            AnswerMisfit: it does not fit the type.
        """
        try:
            return self._codec.decode(data)
        except Misfit as misfit:
            where = misfit.path.removeprefix(".")
            field = f"field {where}: " if where else ""
            raise AnswerMisfit(
                f"the answer to {self._owner} does not fit its form: {field}{misfit.problem}"
            ) from misfit.__cause__


class Field(NamedTuple):
    """One field of a form: `expected` says in words what goes into it."""

    name: str
    expected: str
    required: bool
    default: Any = None


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


def fields_of(schema: dict[str, Any]) -> list[Field]:
    """The fields of a form; none if it is no object."""
    root = _resolved(schema, _components(schema))
    required = root.get("required", [])
    components = _components(schema)
    return [
        Field(name, words_of(of, components), name in required, of.get("default"))
        for name, of in root.get("properties", {}).items()
    ]


def words_in(schema: dict[str, Any]) -> str:
    """What a form asks for as a whole, for people."""
    return words_of(schema, _components(schema))


def texts_in(schema: dict[str, Any]) -> frozenset[str]:
    """The fields that take texts, and nothing that looks like JSON."""
    components = _components(schema)
    named = _resolved(schema, components).get("properties", {})
    return frozenset(name for name, of in named.items() if _takes_texts(of, components))


def _takes_texts(schema: Any, components: dict[str, Any]) -> bool:
    if not isinstance(schema, dict):
        return False
    schema = _resolved(schema, components)
    if "enum" in schema:
        return all(isinstance(each, str) for each in schema["enum"])
    return schema.get("type") == "string"


def outgrown(asked: dict[str, Any], read: dict[str, Any]) -> list[str]:
    """Why an answer to the form that people are shown would not fit the one that the code reads, as far as schemas tell it."""
    if asked == read:
        return []
    before, now = (fields_of(schema) for schema in (asked, read))
    if not before or not now:
        return [] if _takes(read, asked, read, asked) else [f"asked is {words_in(asked)}, read is {words_in(read)}"]
    known = {field.name: field for field in before}
    new = [
        f"{field.name} is required, and not asked for" for field in now if field.required and field.name not in known
    ]
    properties, others = (_resolved(each, _components(each))["properties"] for each in (asked, read))
    return new + [
        f"{field.name} is to be {field.expected}, and was {known[field.name].expected}"
        for field in now
        if field.name in known and not _takes(others[field.name], properties[field.name], read, asked)
    ]


def _takes(wide: Any, narrow: Any, wide_form: dict[str, Any], narrow_form: dict[str, Any]) -> bool:
    """Whether a schema takes what the other one takes, by the kinds of values and by what is listed."""
    many, few = _options(wide, _components(wide_form)), _options(narrow, _components(narrow_form))
    return all(any(_covers(one, other) for one in many) for other in few)


def _options(schema: Any, components: dict[str, Any]) -> list[dict[str, Any]]:
    root = _resolved(schema, components) if isinstance(schema, dict) else {}
    return [_resolved(each, components) for each in root.get("anyOf") or root.get("oneOf") or [root]]


def _covers(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    if "enum" in wide:
        return "enum" in narrow and set(map(repr, narrow["enum"])) <= set(map(repr, wide["enum"]))
    kinds = {None, narrow.get("type"), "number" if narrow.get("type") == "integer" else None}
    return wide.get("type") in kinds or "enum" in narrow


def wrong_in(schema: dict[str, Any], value: Any) -> list[Wrong]:
    """Where a JSON value does not fit a form, as far as its schema tells it."""
    return list(_wrong(schema, value, "", _components(schema)))


def _components(schema: dict[str, Any]) -> dict[str, Any]:
    """Also those that a component brings with it."""
    found = dict(schema.get("$defs", {}))
    for each in list(found.values()):
        found = {**each.get("$defs", {}), **found}
    return found


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    for _ in range(_DEEPEST):
        name = schema.get("$ref", "").rpartition("/")[2]
        if not name:
            break
        schema = components.get(name, {})
    return schema


_DEEPEST = 20


def _wrong(schema: Any, value: Any, path: str, components: dict[str, Any]) -> list[Wrong]:
    if not isinstance(schema, dict):
        return []
    schema = _resolved(schema, components)
    if "anyOf" in schema or "oneOf" in schema:
        options = [_wrong(each, value, path, components) for each in schema.get("anyOf") or schema["oneOf"]]
        nearest = min(options, key=lambda found: (len(found), not found or found[0].field == path), default=[])
        whole = nearest and nearest[0].field == path
        return [Wrong(path, words_of(schema, components), shown(value))] if whole else nearest
    if not _is_of_type(schema, value):
        return [Wrong(path, words_of(schema, components), shown(value))]
    if isinstance(value, dict):
        return _wrong_in_object(schema, value, path, components)
    if isinstance(value, list):
        return [
            wrong
            for n, item in enumerate(value)
            for wrong in _wrong(_item(schema, n), item, f"{path}[{n}]", components)
        ]
    return []


def _item(schema: dict[str, Any], n: int) -> Any:
    first = schema.get("prefixItems", [])
    return first[n] if n < len(first) else schema.get("items")


def _wrong_in_object(
    schema: dict[str, Any], value: dict[str, Any], path: str, components: dict[str, Any]
) -> list[Wrong]:
    named: dict[str, Any] = schema.get("properties", {})
    wrong = [
        Wrong(_within(path, name), words_of(named.get(name, {}), components), "nothing")
        for name in schema.get("required", [])
        if name not in value
    ]
    others = schema.get("additionalProperties", not named)
    for name, item in value.items():
        if name in named:
            wrong += _wrong(named[name], item, _within(path, name), components)
        elif others is False:
            meant = did_you_mean(name, named) or f"; there are: {', '.join(named)}"
            wrong.append(Wrong(_within(path, name), "", shown(item), meant))
        else:
            wrong += _wrong(others, item, _within(path, name), components)
    return wrong


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
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    fitting = tuple(each for kind in kinds for each in _TYPES.get(kind, (object,)))
    if not fitting:
        return True
    return isinstance(value, fitting) and (bool in fitting or object in fitting or not isinstance(value, bool))


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
}


def words_of(schema: Any, components: dict[str, Any]) -> str:
    """What a schema asks for, for people."""
    if not isinstance(schema, dict):
        return "anything"
    schema = _resolved(schema, components)
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(each, ensure_ascii=False) for each in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "anyOf" in schema or "oneOf" in schema:
        options = schema.get("anyOf") or schema["oneOf"]
        return " or ".join(dict.fromkeys(words_of(each, components) for each in options))
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    if kinds == ["array"] and schema.get("items"):
        return f"a list, each {words_of(schema['items'], components)}"
    if kinds == ["object"] and schema.get("properties"):
        return f"an object with {', '.join(schema['properties'])}"
    if kinds == ["string"] and schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds) or "anything"
