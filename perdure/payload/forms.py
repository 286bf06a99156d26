"""What people answer: a type whose schema is published, so that an answer is checked where the code is not at hand, too."""

import json
from typing import Any, NamedTuple

from perdure.errors import AnswerMisfit, DefinitionError
from perdure.kernel.limits import TASK_FORM_BYTES
from perdure.payload.codec import codec_of
from perdure.payload.fitting import components_of, resolved, words_of
from perdure.payload.misfit import Misfit
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


def fields_of(schema: dict[str, Any]) -> list[Field]:
    """The fields of a form; none if it is no object."""
    root = resolved(schema, components_of(schema))
    required = root.get("required", [])
    components = components_of(schema)
    return [
        Field(name, words_of(of, components), name in required, of.get("default"))
        for name, of in root.get("properties", {}).items()
    ]


def words_in(schema: dict[str, Any]) -> str:
    """What a form asks for as a whole, for people."""
    return words_of(schema, components_of(schema))


def texts_in(schema: dict[str, Any]) -> frozenset[str]:
    """The fields that take texts, and nothing that looks like JSON."""
    components = components_of(schema)
    named = resolved(schema, components).get("properties", {})
    return frozenset(name for name, of in named.items() if _takes_texts(of, components))


def _takes_texts(schema: Any, components: dict[str, Any]) -> bool:
    if not isinstance(schema, dict):
        return False
    schema = resolved(schema, components)
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
    properties, others = (resolved(each, components_of(each))["properties"] for each in (asked, read))
    return new + [
        f"{field.name} is to be {field.expected}, and was {known[field.name].expected}"
        for field in now
        if field.name in known and not _takes(others[field.name], properties[field.name], read, asked)
    ]


def _takes(wide: Any, narrow: Any, wide_form: dict[str, Any], narrow_form: dict[str, Any]) -> bool:
    """Whether a schema takes what the other one takes, by the kinds of values and by what is listed."""
    many, few = _options(wide, components_of(wide_form)), _options(narrow, components_of(narrow_form))
    return all(any(_covers(one, other) for one in many) for other in few)


def _options(schema: Any, components: dict[str, Any]) -> list[dict[str, Any]]:
    root = resolved(schema, components) if isinstance(schema, dict) else {}
    return [resolved(each, components) for each in root.get("anyOf") or root.get("oneOf") or [root]]


def _covers(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    if "enum" in wide:
        return "enum" in narrow and set(map(repr, narrow["enum"])) <= set(map(repr, wide["enum"]))
    kinds = {None, narrow.get("type"), "number" if narrow.get("type") == "integer" else None}
    return wide.get("type") in kinds or "enum" in narrow
