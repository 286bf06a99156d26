"""The parts of a value: which it has, in which order, and whether all of them come back."""

import copy
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from operator import is_
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect as nodes

from perdure.payload.encoder import ENCODER, is_pydantic
from perdure.payload.misfit import Misfit, at_key, shown, type_text
from perdure.payload.shape import Shape

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_UNKNOWN: Any = object()
"""Stands for what came back where it cannot be told which part that is: an element of a set."""


class Field(NamedTuple):
    """Of a class: its name in Python and in JSON, and whether its type has a place for anything."""

    name: str
    durable: str
    open: bool


@functools.lru_cache(maxsize=1024)
def fields(kind: type) -> tuple[Field, ...]:
    """The declared fields of a class; none if it is not such a class."""
    if issubclass(kind, msgspec.Struct):
        names = list(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    elif dataclasses.is_dataclass(kind):
        names = [(field.name, field.name) for field in dataclasses.fields(kind)]
    else:
        names = [(field.name, field.name) for field in getattr(kind, "__attrs_attrs__", ())]
    closed = _closed_fields(kind) if names else set()
    return tuple(Field(name, durable, name not in closed) for name, durable in names)


def _closed_fields(kind: type) -> set[str]:
    try:
        node = nodes.type_info(kind)
        assert isinstance(node, nodes.StructType | nodes.DataclassType)
        return {field.name for field in node.fields if not Shape(field.type).open}
    except Exception:  # noqa: BLE001  given for Any, its hints may be anything, even unresolvable
        return set()


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with the step that leads to it."""
    if isinstance(value, Mapping):
        yield from ((at_key(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from (("", item) for item in value)
    else:
        yield from ((f".{field.name}", getattr(value, field.name, None)) for field in fields(type(value)))


def canonical(value: Any) -> Any:
    """The form that equal values share; the value itself if it has it already.

    Sets are sorted lists in it. Dataclasses have all of their fields: msgspec leaves a default that it did not read to
    the class, and would then not write it.
    """
    if type(value) in ATOMS:
        return value
    if isinstance(value, set | frozenset):
        elements = [element if type(element) in ATOMS else canonical(element) for element in value]
        kinds = set(map(type, elements))
        return sorted(elements, key=None if kinds in ({int}, {str}) else ENCODER.encode)
    if isinstance(value, dict):
        changed = {
            key: new for key, item in value.items() if type(item) not in ATOMS and (new := canonical(item)) is not item
        }
        return {**value, **changed} if changed else value
    if isinstance(value, list | tuple):
        items = [item if type(item) in ATOMS else canonical(item) for item in value]
        return value if all(map(is_, items, value)) else items
    return _canonical_fields(value)


def _canonical_fields(value: Any) -> Any:
    kind = type(value)
    stored = getattr(value, "__dict__", None) if hasattr(kind, "__dataclass_fields__") else None
    if stored is not None and len(stored) == len(fields(kind)) and ATOMS.issuperset(map(type, stored.values())):
        return value
    changed: dict[str, Any] = {}
    for name, _, _ in fields(kind):
        item = getattr(value, name, msgspec.UNSET)
        new = item if type(item) in ATOMS else canonical(item)
        if new is not item or (stored is not None and name not in stored and item is not msgspec.UNSET):
            changed[name] = new
    return _with(value, changed) if changed else value


def _with(value: Any, changed: dict[str, Any]) -> Any:
    """A copy with other fields, whatever the class would say to them."""
    twin = copy.copy(value)
    set_field = msgspec.structs.force_setattr if isinstance(value, msgspec.Struct) else object.__setattr__
    for name, item in changed.items():
        set_field(twin, name, item)
    return twin


def same(back: Any, value: Any) -> bool:
    try:
        return bool(back == value)
    except Exception:  # noqa: BLE001  the user's __eq__ may raise anything; then the parts are compared
        return False


def compare(value: Any, back: Any, open: bool, quick: bool) -> None:
    """Compare a value with what came back, part by part.

    Args:
        value: as it was given.
        back: as it was decoded.
        open: the place they are in may hold anything.
        quick: what is equal as a whole needs no look at its parts.

    Raises:
        Misfit: a part is lost or changed, other than by the rules of this package.
    """
    kind = type(value)
    if kind in ATOMS and type(back) is kind and back == value:
        return
    match value:
        case float() if not math.isfinite(value):
            raise not_finite(value)
        case dict() | list() | tuple() if is_pydantic(type(back)):
            _compare_with_model(value, back)
        case dict():
            _compare_dict(value, back, open, quick)
        case list() | tuple():
            _compare_items(value, back, open, quick)
        case set() | frozenset():
            _compare_set(value, back, open)
        case _ if fields(kind):
            _compare_fields(value, back, open, quick)
        case _ if back is not _UNKNOWN and not same(back, value):
            _compare_leaf(value, back, open)


def not_finite(value: float) -> Misfit:
    """Of what msgspec would write as null."""
    return Misfit(f"{shown(value)} has no JSON form; leave it out, or pass None or a text", unencodable=True)


def _compare_dict(value: dict[Any, Any], back: Any, open: bool, quick: bool) -> None:
    if quick and same(back, value):
        return
    for key, item in value.items():
        part = _under_key(back, key)
        try:
            compare(item, part, open, quick)
        except Misfit as misfit:
            raise misfit.within(at_key(key)) from None


def _compare_with_model(value: Any, back: Any) -> None:
    """JSON with the pydantic model that was made of it: how a part is read is up to the model, but no key may get lost."""
    if getattr(type(back), "__pydantic_root_model__", False):
        back = back.root
    if isinstance(value, dict) and (isinstance(back, dict) or is_pydantic(type(back))):
        parts = [(at_key(key), item, _under_key(back, key)) for key, item in value.items()]
    elif isinstance(value, list | tuple) and isinstance(back, list | tuple):
        parts = [(f"[{index}]", item, part) for index, (item, part) in enumerate(zip(value, back, strict=False))]
    else:
        parts = []
    for step, item, part in parts:
        try:
            _compare_with_model(item, part)
        except Misfit as misfit:
            raise misfit.within(step) from None


def _under_name(model: Any, key: str) -> Any:
    """What a pydantic model holds for a key of its JSON form.

    Raises:
        Misfit: nothing.
    """
    for name, field in type(model).model_fields.items():
        alias = field.validation_alias  # a text, a path of them, or a choice of both
        choices = [getattr(each, "path", [each])[0] for each in getattr(alias, "choices", [alias])]
        if name in model.model_fields_set and key in (name, *choices):
            return getattr(model, name)
    if key in (model.model_extra or {}):
        return _UNKNOWN
    raise Misfit(f"{key!r} is not known here and would be lost")


def _under_key(back: Any, key: Any) -> Any:
    """What came back for the item of a dict."""
    if back is _UNKNOWN:
        return _UNKNOWN
    if is_pydantic(type(back)):
        return _under_name(back, key)
    if isinstance(back, dict):
        if key in back:
            return back[key]
        if not isinstance(key, str):
            hint = f"dict[{type_text(type(key))}, ...]"
            problem = f"the key {shown(key)} would come back as a text; say so with a hint such as {hint}, or use texts"
            raise Misfit(problem, unencodable=True)
        if any(not isinstance(other, str) for other in back):
            return _UNKNOWN  # the JSON form of a key
    for field in fields(type(back)):
        if field.durable == key:
            return getattr(back, field.name, _UNKNOWN)
    if isinstance(back, msgspec.Struct) and key == back.__struct_config__.tag_field:
        return _UNKNOWN
    raise Misfit(f"{key!r} is not known here and would be lost")


def _compare_items(value: Any, back: Any, open: bool, quick: bool) -> None:
    if quick and isinstance(back, list | tuple) and same([*back], [*value]):
        return
    if back is _UNKNOWN or isinstance(back, set | frozenset):
        parts = [_UNKNOWN] * len(value if back is _UNKNOWN else back)
    else:
        parts = [part for _, part in children(back)]
    if len(parts) != len(value):
        raise Misfit(f"{len(value)} elements would come back as {len(parts)}")
    for index, (item, part) in enumerate(zip(value, parts, strict=True)):
        try:
            compare(item, part, open, quick)
        except Misfit as misfit:
            raise misfit.within(f"[{index}]") from None


def _compare_set(value: Any, back: Any, open: bool) -> None:
    if isinstance(back, set | frozenset):
        if not same(back, value):
            raise _changed(value, back)
    elif not open and back is not _UNKNOWN:
        raise Misfit(f"expected {type_text(type(back))}, found {shown(value)}")
    for item in value:
        compare(item, _UNKNOWN, open, False)


def _compare_fields(value: Any, back: Any, open: bool, quick: bool) -> None:
    kind = type(value)
    if type(back) is not kind and back is not _UNKNOWN and (not open or fields(type(back))):
        raise Misfit(f"expected {type_text(type(back))}, found {shown(value)}")
    for field in fields(kind):
        item = getattr(value, field.name, msgspec.UNSET)
        if item is msgspec.UNSET:
            continue
        part = getattr(back, field.name, _UNKNOWN) if type(back) is kind else _UNKNOWN
        try:
            if isinstance(back, dict):
                if field.durable not in back and not isinstance(value, msgspec.Struct):  # that may leave out defaults
                    raise Misfit(f"{shown(item)} is not written and would be lost")
                part = back.get(field.durable, _UNKNOWN)
            compare(item, part, field.open or type(back) is not kind, quick)
        except Misfit as misfit:
            raise misfit.within(f".{field.name}") from None


def _compare_leaf(value: Any, back: Any, open: bool) -> None:
    """Of two things that are not equal."""
    if is_pydantic(type(value)) and type(back) is type(value):
        return  # has been compared when it was dumped
    if type(value) is type(back):
        if same(value, value):
            raise _changed(value, back)
    elif value is None or isinstance(value, bool | int | float | str):
        if isinstance(value, int | float) and isinstance(back, int | float):
            raise _changed(value, back)
        if isinstance(back, bytes | bytearray):
            raise Misfit(f"expected {type_text(type(back))}, found {shown(value)}; encode it")
    elif not open:
        raise Misfit(f"expected {type_text(type(back))}, found {shown(value)}")


def _changed(value: Any, back: Any) -> Misfit:
    return Misfit(f"{shown(value)} would come back as {shown(back)}", unencodable=True)
