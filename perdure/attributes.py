"""Searchable attributes as people write them: values of Python checked and made typed, and conditions on them."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from perdure.errors import DefinitionError
from perdure.kernel.attributes import Attribute, Choice, Kind, Value, Wanted
from perdure.kernel.limits import (
    ATTRIBUTE_CHARS,
    ATTRIBUTE_CONDITIONS,
    ATTRIBUTE_NAME_CHARS,
    ATTRIBUTE_TEXTS,
    ATTRIBUTES,
    ATTRIBUTES_BYTES,
)
from perdure.payload.misfit import shown

AttributeValue: TypeAlias = str | int | float | bool | datetime | Sequence[str]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RESERVED = "perdure."
_TYPES = "a text, a whole number, a float, True or False, a datetime with a time zone, or a list of texts"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 2**63


class Between:
    """A condition on an attribute: a value from `low` to `high`, both included; None is without a bound.

    Both are of one type, and only values of that type fit: whole numbers, floats, datetimes or texts.

    Raises:
        DefinitionError: they are not, nothing lies between them, or there is no bound at all.
    """

    __slots__ = ("high", "low")

    def __init__(
        self, low: "str | int | float | datetime | None" = None, high: "str | int | float | datetime | None" = None
    ) -> None:
        self.low = low
        self.high = high
        bounds = [_typed(bound, "Between") for bound in (low, high) if bound is not None]
        kinds = {kind for kind, _ in bounds}
        if len(kinds) != 1 or kinds & {Kind.TRUTH, Kind.TEXTS}:
            raise DefinitionError(
                f"Between takes one or two bounds of one type (whole numbers, floats, datetimes or texts), not {self!r}"
            )
        if bounds[0][1] > bounds[-1][1]:
            raise DefinitionError(f"nothing lies in {self!r}: the lower bound comes first")

    def __repr__(self) -> str:
        return f"Between({self.low!r}, {self.high!r})"


def attributes_of(given: Any, owner: str, removable: bool = False) -> tuple[Attribute, ...]:
    """Attributes from a mapping of names to values; `owner` says in errors whose. With `removable` None removes one.

    Raises:
        DefinitionError: a name or a value cannot be one, or there are too many.
    """
    if given is None and not removable:
        return ()
    if not isinstance(given, Mapping):
        raise DefinitionError(
            f'{owner}: attributes are a mapping, as in {{"region": "eu", "amount": 10}}, not {shown(given)}'
        )
    found = tuple(_attribute(name, value, owner, removable) for name, value in given.items())
    demand_few(found, owner)
    return found


def demand_few(attributes: Collection[Attribute], owner: str) -> None:
    """Raises DefinitionError if a run would have too many attributes, or too large ones."""
    if len(attributes) > ATTRIBUTES:
        raise DefinitionError(
            f"{owner}: {len(attributes)} attributes; a run has at most {ATTRIBUTES}, keep the rest in its memo"
        )
    size = sum(len(each.name) + sum(map(_size, each.values)) for each in attributes)
    if size > ATTRIBUTES_BYTES:
        raise DefinitionError(
            f"{owner}: attributes of {size:,} bytes; a run has at most {ATTRIBUTES_BYTES:,}, keep the rest in its memo"
        )


def _size(value: Value) -> int:
    return len(value.encode()) if isinstance(value, str) else 8


def wanted_of(given: Any, owner: str) -> tuple[Wanted, ...]:
    """Conditions from a mapping of names to values or `Between`; of a list of texts the run has to have each.

    Raises:
        DefinitionError: a name or a value cannot be one, or there are too many.
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise DefinitionError(
            f'{owner}: attributes are a mapping, as in {{"region": "eu", "amount": Between(100)}}, not {shown(given)}'
        )
    wanted: list[Wanted] = []
    for name, value in given.items():
        checked_name(name, owner)
        if isinstance(value, Between):
            bounds = [None if each is None else _typed(each, owner) for each in (value.low, value.high)]
            kind = next(bound[0] for bound in bounds if bound is not None)
            low, high = (None if bound is None else bound[1][0] for bound in bounds)
            wanted.append(Wanted(name, (Choice(_alike(kind), low, high),)))
        else:
            kind, values = _typed(value, f"{owner}: attribute {name}")
            wanted += [Wanted(name, (Choice(_alike(kind), each, each),)) for each in values]
    demand_few_conditions(wanted, owner)
    return tuple(wanted)


def demand_few_conditions(wanted: Sequence[Wanted], owner: str) -> None:
    """Raises DefinitionError if a search would compare with too much."""
    count = sum(len(each.choices) for each in wanted)
    if count > ATTRIBUTE_CONDITIONS:
        raise DefinitionError(
            f"{owner}: attributes would be compared with {count} values; at most {ATTRIBUTE_CONDITIONS} are, ask in parts"
        )


def _alike(kind: Kind) -> tuple[int, ...]:
    """A text is looked for among several, too."""
    return (Kind.TEXT, Kind.TEXTS) if kind in (Kind.TEXT, Kind.TEXTS) else (kind,)


def plain(attribute: Attribute) -> Any:
    """The value of an attribute as Python has it."""
    if attribute.kind == Kind.TEXTS:
        return list(attribute.values)
    (value,) = attribute.values
    if attribute.kind == Kind.TRUTH:
        return bool(value)
    return _EPOCH + timedelta(microseconds=int(value) // 1000) if attribute.kind == Kind.MOMENT else value


def checked_name(name: Any, owner: str) -> str:
    """The name.

    Raises:
        DefinitionError: an attribute cannot be called that.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > ATTRIBUTE_NAME_CHARS:
        raise DefinitionError(
            f"{owner}: an attribute is named by 1 to {ATTRIBUTE_NAME_CHARS} letters (a to z), digits and _.-, not "
            f"beginning with a digit or a sign, and {shown(name)} is not such a name"
        )
    return str.__str__(name)


def _attribute(name: Any, value: Any, owner: str, removable: bool) -> Attribute:
    name = checked_name(name, owner)
    if name.lower().startswith(_RESERVED):
        raise DefinitionError(f"{owner}: names that begin with {_RESERVED!r} are the engine's own, and {name!r} does")
    if value is None and removable:
        return Attribute(name, Kind.GONE)
    return Attribute(name, *_typed(value, f"{owner}: attribute {name}"))


def _typed(value: Any, owner: str) -> tuple[Kind, tuple[Value, ...]]:
    """The type and what is stored: of subclasses, as of an enum, the plain value, since that is what comes back."""
    match value:
        case bool():
            return Kind.TRUTH, (int(value),)
        case str():
            return Kind.TEXT, (_text(value, owner),)
        case int():
            if not -_LARGEST <= value < _LARGEST:
                raise DefinitionError(
                    f"{owner}: a whole number has at most 64 bits with its sign, and this one has {value.bit_length() + 1:,}"
                )
            return Kind.WHOLE, (int.__int__(value),)
        case float():
            if not math.isfinite(value):
                raise DefinitionError(f"{owner}: {value!r} is in no order with other numbers; leave it out")
            return Kind.FLOAT, (float.__float__(value),)
        case datetime():
            return Kind.MOMENT, (_moment(value, owner),)
        case list() | tuple() if value and all(isinstance(each, str) for each in value):
            if len(value) > ATTRIBUTE_TEXTS:
                raise DefinitionError(f"{owner}: {len(value)} texts; at most {ATTRIBUTE_TEXTS} are allowed")
            return Kind.TEXTS, tuple(dict.fromkeys(_text(each, owner) for each in value))
        case _:
            found = "an empty list" if isinstance(value, list | tuple) and not value else shown(value)
            raise DefinitionError(f"{owner}: expected {_TYPES}, found {found}")


def _text(value: str, owner: str) -> str:
    if len(value) > ATTRIBUTE_CHARS:
        raise DefinitionError(
            f"{owner}: a text of {len(value):,} characters; at most {ATTRIBUTE_CHARS} are searched, keep it in the memo"
        )
    if "\0" in value:
        raise DefinitionError(f"{owner}: {shown(value)} has a NUL in it, which not every database can hold")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DefinitionError(
            f"{owner}: {shown(value)} has half a character in it ({error.reason}), which UTF-8 cannot hold"
        ) from None
    return str.__str__(value)


def _moment(value: datetime, owner: str) -> int:
    if value.tzinfo is None or value.utcoffset() is None:
        raise DefinitionError(f"{owner}: {value!r} has no time zone; write datetime(..., tzinfo=UTC)")
    ns = (value - _EPOCH) // timedelta(microseconds=1) * 1000
    if not -_LARGEST <= ns < _LARGEST:
        raise DefinitionError(f"{owner}: {value.isoformat()} lies beyond the years that are searched, 1678 to 2261")
    return ns
