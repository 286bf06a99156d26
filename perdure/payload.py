"""Values and bytes: arguments and results as JSON by their type hints, and where large ones go.

What is encoded is checked by decoding it again with the decoder that will read it, so that bytes which were accepted
are known to come back as the value they were made from.
"""

import copy
import dataclasses
import functools
import hashlib
import inspect
import itertools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import is_
from typing import Any, NoReturn

import msgspec
import msgspec.inspect as shapes

from perdure.errors import (
    DefinitionError,
    InvalidArguments,
    PayloadNotDecodable,
    PayloadNotEncodable,
    PayloadTooLarge,
)
from perdure.kernel.events import Payload
from perdure.kernel.limits import PAYLOAD_INLINE_BYTES

WORKS = (
    "None, bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, UUID, Enum, Literal, list, tuple, "
    "set, frozenset, dict, dataclasses, NamedTuple, TypedDict, msgspec.Struct, attrs and pydantic classes, and Any"
)
_ABSENT: Any = object()
_EMPTY = inspect.Parameter.empty
_ATOMS = frozenset({type(None), bool, int, float, str, bytes})


class _Misfit(Exception):
    """Why a value and a hint do not agree, and where (".lines[2].qty"); `unencodable` if no hint would take it."""

    def __init__(self, path: str, problem: str, unencodable: bool = False) -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem
        self.unencodable = unencodable


# What JSON does not know by itself


def _to_json(value: Any) -> Any:
    """Subclasses of str, int and float as what they are, pydantic models by their own rules."""
    if _is_pydantic(type(value)):
        return _dumped(value)
    for kind, plain in ((str, str.__str__), (int, int.__index__), (float, float.__float__)):
        if isinstance(value, kind):
            return plain(value)
    raise TypeError(f"{type_text(type(value))} has no JSON form")


def _from_json(kind: Any, value: Any) -> Any:
    if kind is object:
        return value
    try:
        return kind.model_validate_json(_ENCODER.encode(value))
    except ValueError as error:
        raise ValueError(_pydantic_text(error)) from None


def _is_pydantic(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


def _dumped(model: Any) -> Any:
    """A pydantic model as JSON values, if it comes back from them as it was."""
    value = model.model_dump(mode="json", by_alias=True)
    data = _ENCODER.encode(value)
    if b"[" in data:
        value = _sorted_like(value, model.model_dump(by_alias=True))
    back = type(model).model_validate_json(data)
    for name, field in type(model).model_fields.items():
        if not field.exclude and getattr(back, name) != getattr(model, name):
            raise TypeError(f"its field {name} comes back as {_shown(getattr(back, name))}")
    return value


def _sorted_like(value: Any, source: Any) -> Any:
    """JSON values with those lists sorted that were sets."""
    if isinstance(source, set | frozenset):
        return sorted(value, key=_ENCODER.encode)
    if isinstance(value, dict) and isinstance(source, dict):
        return {key: _sorted_like(item, source.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(source, list | tuple):
        return [_sorted_like(item, of) for item, of in zip(value, source, strict=False)]
    return value


def _pydantic_text(error: Any) -> str:
    if not hasattr(error, "errors"):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, found['loc'])) or 'the whole'}: {found['msg']}, found {_shown(found['input'])}"
        for found in error.errors(include_url=False)[:5]
    )


_ENCODER = msgspec.json.Encoder(enc_hook=_to_json)


# Texts


_DOTTED = re.compile(r"""('[^']*'|"[^"]*")|(?:\w+\.(?:<locals>\.)?)+(?=\w)""")


def type_text(hint: Any) -> str:
    """A type as one writes it, without the modules it comes from."""
    if hint is None or hint is types.NoneType:
        return "None"
    text = hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else repr(hint)
    return _DOTTED.sub(lambda match: match[1] or "", text)


def _shown(value: Any) -> str:
    """A value and its type, briefly: 'ten' (str)."""
    if value is None:
        return "None"
    try:
        text = repr(value)
    except Exception as broken:  # noqa: BLE001  the user's __repr__ may raise anything
        text = f"(its repr raises {type(broken).__name__})"
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type_text(type(value))})"


# The parts of a value


@functools.lru_cache(maxsize=1024)
def _fields(kind: type) -> tuple[tuple[str, str], ...] | None:
    """Names of a class's fields, in Python and in JSON; None if it is no class with declared fields."""
    if issubclass(kind, msgspec.Struct):
        return tuple(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    if dataclasses.is_dataclass(kind):
        return tuple((field.name, field.name) for field in dataclasses.fields(kind))
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else tuple((field.name, field.name) for field in attributes)


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        for name, _ in _fields(type(value)) or ():
            yield f".{name}", getattr(value, name, None)


def _ordered(value: Any) -> Any:
    """The same value with lists in an order of their own in place of sets; itself if there are none in it."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, set | frozenset):
        elements = [_ordered(element) for element in value]
        kinds = set(map(type, elements))
        return sorted(elements, key=None if len(kinds) == 1 and kinds <= {int, str} else _ENCODER.encode)
    if isinstance(value, dict):
        changed = {key: new for key, item in value.items() if (new := _ordered(item)) is not item}
        return {**value, **changed} if changed else value
    if isinstance(value, list | tuple):
        items = [_ordered(item) for item in value]
        return value if all(map(is_, items, value)) else items
    parts = {name: getattr(value, name, None) for name, _ in _fields(type(value)) or ()}
    changed = {name: new for name, item in parts.items() if (new := _ordered(item)) is not item}
    return _with(value, changed) if changed else value


def _with(value: Any, changed: dict[str, Any]) -> Any:
    """A copy with other fields, past whatever the class checks."""
    twin = copy.copy(value)
    set_field = msgspec.structs.force_setattr if isinstance(value, msgspec.Struct) else object.__setattr__
    for name, item in changed.items():
        set_field(twin, name, item)
    return twin


def _compare(value: Any, back: Any, path: str) -> None:
    """Raise _Misfit where something of the value is lost or changed in what comes back.

    The durable form may be given for the value (a text for a date, a dict for a dataclass); and Any gives back
    what JSON holds.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise _Misfit(path, f"{value!r} has no JSON form; leave it out, or pass None or a text", True)
    if isinstance(value, int | float) and isinstance(back, int | float) and value != back:
        raise _Misfit(path, f"{_shown(value)} would come back as {_shown(back)}", True)
    if isinstance(value, Mapping):
        for key, item in value.items():
            _compare(item, _entry(back, key, key, path), f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        if isinstance(back, list | tuple) or _fields(type(back)):
            counterparts = (item for _, item in _children(back))
        else:
            counterparts = itertools.repeat(_ABSENT)
        for index, (item, of) in enumerate(zip(value, counterparts, strict=False)):
            _compare(item, of, f"{path}[{index}]")
    elif isinstance(value, set | frozenset):
        if isinstance(back, set | frozenset) and back != value:
            raise _Misfit(path, f"{_shown(value)} would come back as {_shown(back)}", True)
        for item in value:
            _compare(item, _ABSENT, path)
    elif fields := _fields(type(value)):
        omits = isinstance(value, msgspec.Struct) and value.__struct_config__.omit_defaults
        for name, durable in fields:
            item = getattr(value, name, msgspec.UNSET)
            if item is not msgspec.UNSET and not (omits and isinstance(back, dict) and durable not in back):
                _compare(item, _entry(back, name, durable, path), f"{path}.{name}")
    elif back is not _ABSENT and type(back) is type(value) and back != value:
        raise _Misfit(path, f"{_shown(value)} would come back as {_shown(back)}", True)


def _entry(back: Any, key: Any, durable: Any, path: str) -> Any:
    """What came back for one key or field."""
    if back is _ABSENT:
        return back
    if isinstance(back, Mapping):
        found = back.get(key, _ABSENT)
        if found is _ABSENT:
            found = back.get(durable, _ABSENT)
    else:
        names = {of: name for name, of in _fields(type(back)) or ()}
        found = getattr(back, names.get(durable, str(key)), _ABSENT)
    if found is not _ABSENT:
        return found
    if not isinstance(key, str):
        raise _Misfit(
            path, f"the key {_shown(key)} would come back as text; give a hint such as dict[{type_text(type(key))}, ...]"
            " or use texts as keys", True,
        )  # fmt: skip
    raise _Misfit(path, f"{key} is not part of {type_text(type(back))} and would be lost")


def _equal(back: Any, value: Any) -> bool:
    try:
        return bool(back == value)
    except Exception:  # noqa: BLE001  the user's __eq__ may raise anything; then it is compared part by part
        return False


# Hints


class _Shape:
    """What of a hint matters for the checks of its values. `plain` is without classes of the user's own."""

    __slots__ = ("floats", "open", "plain", "seen", "sets", "times")

    def __init__(self, hint: Any) -> None:
        self.floats = self.open = self.sets = self.times = False
        self.plain = True
        self.seen: set[int] = set()
        self._look(shapes.type_info(hint), "")

    def _look(self, node: shapes.Type, path: str) -> None:
        if id(node) in self.seen:
            return
        self.seen.add(id(node))
        match node:
            case shapes.CustomType():
                self._look_at_class(node.cls, path)
            case shapes.AnyType() | shapes.RawType():
                self.open = True
            case shapes.FloatType():
                self.floats = True
            case shapes.SetType() | shapes.FrozenSetType():
                self.sets = True
            case shapes.DateTimeType() | shapes.TimeType():
                self.times = True
            case shapes.DictType():
                self._look_at_key(node.key_type, path)
            case shapes.StructType() | shapes.DataclassType():
                self.plain = False
        for name in node.__struct_fields__:
            part = getattr(node, name)
            for item in part if isinstance(part, tuple) else (part,):
                if isinstance(item, shapes.Type):
                    self._look(item, path)
                elif isinstance(item, shapes.Field):
                    self._look(item.type, f"{path}.{item.name}")

    def _look_at_class(self, kind: type, path: str) -> None:
        if kind is object:
            self.open = True
        elif _is_pydantic(kind):
            self.plain = False
        elif kind is not msgspec.UnsetType:
            raise _Misfit(path, f"{type_text(kind)} has no JSON form")

    def _look_at_key(self, node: shapes.Type, path: str) -> None:
        for kind in node.types if isinstance(node, shapes.UnionType) else (node,):
            if isinstance(kind, _NO_KEYS):
                raise _Misfit(path, "a key of a dict must be a text, a number or what is written as one")


_NO_KEYS = (
    shapes.ListType, shapes.TupleType, shapes.VarTupleType, shapes.SetType, shapes.FrozenSetType, shapes.DictType,
    shapes.CollectionType, shapes.StructType, shapes.DataclassType, shapes.NamedTupleType, shapes.TypedDictType,
    shapes.NoneType, shapes.BoolType, shapes.CustomType,
)  # fmt: skip


def _exact(hint: Any) -> frozenset[type]:
    """The classes whose every instance fits the hint and comes back as it is."""
    if hint is None:
        return frozenset({types.NoneType})
    if hint is Any or hint is object:
        return _ATOMS - {bytes}
    if isinstance(hint, type) and hint in _ATOMS:
        return frozenset({hint})
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return frozenset().union(*map(_exact, typing.get_args(hint)))
    return frozenset()


class _Codec:
    """One hint, compiled."""

    __slots__ = ("decoder", "exact", "hint", "shape", "text")

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        self.text = type_text(hint)
        self.shape = _Shape(hint)
        self.exact = _exact(hint)
        self.decoder = msgspec.json.Decoder(hint, dec_hook=_from_json)

    def encode(self, value: Any) -> bytes:
        """Raises _Misfit."""
        try:
            if type(value) in self.exact:
                data = _written(value)
                if data != b"null" or value is None:
                    return data
            return self._checked(value)
        except RecursionError:
            raise _Misfit("", "it is nested too deeply, or contains itself", True) from None

    def _checked(self, value: Any) -> bytes:
        shape = self.shape
        data = _written(value, shape.sets)
        back = self._back(data, value)
        trusted = shape.plain and _equal(back, value)
        if shape.open and not trusted and not shape.sets and b"[" in data:
            data = _written(value, True)
            back = self._back(data, value)
        again = _written(back, shape.sets)
        if not trusted and (shape.open or shape.times or again != data or b"null" in data):
            _compare(value, back, "")
        return again

    def _back(self, data: bytes, value: Any) -> Any:
        try:
            return self.decoder.decode(data)
        except msgspec.ValidationError as error:
            raise self._misfit(error, data, value) from None
        except msgspec.DecodeError as error:
            raise _Misfit("", str(error), True) from None

    def decode(self, data: bytes) -> Any:
        """Raises _Misfit."""
        try:
            return self.decoder.decode(data)
        except msgspec.ValidationError as error:
            raise self._misfit(error, data, _ABSENT) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Misfit("", f"no JSON: {error}; found {data[:80]!r}") from None
        except RecursionError:
            raise _Misfit("", "it is nested too deeply") from None

    def _misfit(self, error: msgspec.ValidationError, data: bytes, value: Any) -> _Misfit:
        problem, path = _where(error)
        if value is _ABSENT:
            value = _untyped(data)
        found = _at(value, path)
        expected = re.match(r"Expected `(.+?)`, got `.+?`$", problem)
        if expected is None:
            return _Misfit(path, f"{problem}, found {_shown(found)}")
        return _Misfit(
            path, f"expected {_WORDS.get(expected[1], expected[1]) if path else self.text}, found {_shown(found)}"
        )


_WORDS = {"null": "None", "array": "a list", "object": "an object with named fields"}


def _written(value: Any, sets: bool = False) -> bytes:
    try:
        return _ENCODER.encode(_ordered(value) if sets else value)
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001  a user's class may raise anything when it is read
        raise _culprit(value, "", error) from None


def _culprit(value: Any, path: str, error: Exception) -> _Misfit:
    """Which part of a value cannot be encoded, and why."""
    for step, child in _children(value):
        try:
            _ENCODER.encode(_ordered(child))
        except RecursionError:
            raise
        except Exception as deeper:  # noqa: BLE001  as above
            return _culprit(child, path + step, deeper)
    if isinstance(value, Mapping):
        for key in value:
            if not _is_key(key):
                return _Misfit(path, f"{_shown(key)} cannot be a key; use texts or numbers", True)
    if isinstance(error, UnicodeEncodeError):
        return _Misfit(
            path, f"{_shown(value)} has a lone surrogate, which UTF-8 cannot hold; pass bytes, or replace it", True
        )
    if type(value) in _ATOMS:
        return _Misfit(path, f"{_shown(value)} cannot be encoded: {error}", True)
    reason = f" ({error})" if _is_pydantic(type(value)) else ""
    return _Misfit(path, f"{_shown(value)} has no JSON form{reason}; what works: {WORKS}", True)


def _is_key(key: Any) -> bool:
    try:
        _ENCODER.encode({key: None})
    except Exception:  # noqa: BLE001  as above
        return False
    return True


def _where(error: msgspec.ValidationError) -> tuple[str, str]:
    """msgspec's message and path: `Expected ... - at `$[0].lines[2].qty``."""
    problem, _, place = str(error).partition(" - at `")
    key, _, inside = place.rpartition("` in `")
    return f"{problem} as key" if key else problem, inside.rstrip("`").removeprefix("$")


_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def _at(value: Any, path: str) -> Any:
    """The part of a value at a path; the whole if it cannot be followed."""
    for name, index in _STEP.findall(path):
        if name:
            part = value.get(name, _ABSENT) if isinstance(value, Mapping) else getattr(value, name, _ABSENT)
        elif index != "..." and isinstance(value, list | tuple) and int(index) < len(value):
            part = value[int(index)]
        else:
            part = _ABSENT
        if part is _ABSENT:
            return value
        value = part
    return value


def _untyped(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return data


@functools.lru_cache(maxsize=1024)
def _cached(hint: Any) -> _Codec:
    return _Codec(hint)


def _codec(hint: Any, owner: str, what: str) -> _Codec:
    try:
        hash(hint)
    except TypeError:
        make: Callable[[Any], _Codec] = _Codec
    else:
        make = _cached
    try:
        return make(hint)
    except _Misfit as misfit:
        raise DefinitionError(
            f"{owner}: {what}{misfit.path} is {type_text(hint)}, and {misfit.problem}; what works: {WORKS}"
        ) from None
    except (TypeError, NameError) as error:
        raise DefinitionError(f"{owner}: {what} is {type_text(hint)}: {_advice(error)}; what works: {WORKS}") from None


def _advice(error: Exception) -> str:
    text = str(error).partition(" - type ")[0]
    if "union" in text.lower():
        return f"JSON cannot tell its members apart ({text}); use msgspec.Struct classes with tag=True, or one dataclass with optional fields"
    return text


def _hints(fn: Any, owner: str) -> dict[str, Any]:
    """Resolved hints by name; "return" is the result's."""
    found: dict[str, Any] = getattr(fn, "__annotations__", None) or {}
    try:
        return typing.get_type_hints(fn, include_extras=True) if found and not isinstance(fn, type) else {}
    except Exception as error:
        for name, hint in found.items():
            alone = types.SimpleNamespace(__annotations__={name: hint})
            try:
                typing.get_type_hints(alone, getattr(inspect.unwrap(fn), "__globals__", {}), include_extras=True)
            except Exception as why:  # noqa: BLE001  evaluating a hint runs any code
                what = "the result" if name == "return" else f"parameter {name}"
                raise DefinitionError(
                    f"{owner}: the type hint {hint!r} of {what} cannot be resolved ({why}); import the type at the "
                    "top of the module, not under TYPE_CHECKING, and do not define it inside a function"
                ) from None
        raise DefinitionError(f"{owner}: its type hints cannot be resolved ({error})") from None


# The public names


class ValueType:
    """A result's type, compiled."""

    __slots__ = ("_codec", "_owner")

    def __init__(self, codec: _Codec, owner: str) -> None:
        self._codec = codec
        self._owner = owner

    @classmethod
    def of(cls, type: Any, *, owner: str) -> "ValueType":
        """Of a type hint.

        Raises:
            DefinitionError: values of that type cannot be encoded.
        """
        return cls(_codec(type, owner, "the result"), owner)

    @classmethod
    def result_of(cls, fn: Callable[..., Any], *, owner: str) -> "ValueType":
        """Of what a function returns, or the coroutine of an `async def`; without a hint it is Any."""
        return cls.of(_hints(fn, owner).get("return", Any), owner=owner)

    def encode(self, value: Any) -> bytes:
        try:
            return self._codec.encode(value)
        except _Misfit as misfit:
            raise PayloadNotEncodable(f"{self._owner}: the result{misfit.path}: {misfit.problem}") from None

    def decode(self, data: bytes) -> Any:
        try:
            return self._codec.decode(data)
        except _Misfit as misfit:
            raise PayloadNotDecodable(f"{self._owner}: the result{misfit.path}: {misfit.problem}") from None

    def schema(self) -> dict[str, Any]:
        """A JSON schema; {} for what none can describe."""
        return _schema([self._codec.hint])[0][0]


def _schema(hints: list[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    described, components = [], {}
    for hint in hints:
        try:
            (schema,), parts = msgspec.json.schema_components(
                [hint], schema_hook=_class_schema, ref_template="#/$defs/{name}"
            )
        except Exception:  # noqa: BLE001  what cannot be described is not
            schema, parts = {}, {}
        described.append(schema)
        components.update(parts)
    return described, components


def _class_schema(kind: Any) -> dict[str, Any]:
    return kind.model_json_schema() if _is_pydantic(kind) else {}


class _Parameter:
    __slots__ = ("codec", "default", "kind", "name")

    def __init__(self, name: str, kind: Any, default: Any, codec: _Codec) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.codec = codec


class Parameters:
    """The parameters of a function, compiled."""

    __slots__ = (
        "_by_name", "_exact", "_extra", "_floats", "_nulls", "_owner", "_parameters", "_positional", "_rest", "_signature", "_whole",
    )  # fmt: skip

    def __init__(self, owner: str, parameters: list[inspect.Parameter], hints: dict[str, Any]) -> None:
        self._owner = owner
        self._signature = _signature(parameters, hints)
        compiled = []
        self._rest: _Parameter | None = None
        self._extra: _Parameter | None = None
        for parameter in parameters:
            hint = hints.get(parameter.name, Any)
            if parameter.kind is parameter.VAR_POSITIONAL:
                hint = list[hint]
            elif parameter.kind is parameter.VAR_KEYWORD:
                hint = dict[str, hint]
            codec = _codec(hint, owner, f"parameter {parameter.name}")
            each = _Parameter(parameter.name, parameter.kind, parameter.default, codec)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = each
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._extra = each
            else:
                compiled.append(each)
        self._parameters: tuple[_Parameter, ...] = tuple(compiled)
        self._positional = sum(each.kind is not _KEYWORD_ONLY for each in compiled)
        self._by_name = self._extra is not None or (self._rest is not None and self._positional < len(compiled))
        simple = self._rest is None and self._extra is None
        self._whole = (
            msgspec.json.Decoder(tuple[tuple(each.codec.hint for each in compiled)], dec_hook=_from_json).decode
            if simple
            else None
        )
        choices = [each.codec.exact for each in compiled]
        count = math.prod(map(len, choices))
        self._exact = frozenset(itertools.product(*choices)) if simple and 0 < count <= 256 else frozenset()
        self._nulls = not any(float in exact for exact in choices)
        for each in compiled:
            if each.default is not _EMPTY:
                self._encode_one(each, each.default, DefinitionError)

    @classmethod
    def of(cls, fn: Callable[..., Any], *, owner: str, skip_first: bool = False) -> "Parameters":
        """Of a function; of a method, without its first parameter.

        Raises:
            DefinitionError: a hint cannot be resolved, or names what cannot be encoded.
        """
        parameters = list(inspect.signature(fn).parameters.values())
        return cls(owner, parameters[1:] if skip_first else parameters, _hints(fn, owner))

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        if not kwargs and tuple(map(type, args)) in self._exact and len(args) == self._positional:
            try:
                data = _ENCODER.encode(args)
            except Exception:  # noqa: BLE001  said below, with its place
                data = b"null"
            if (self._nulls and data != b"null") or b"null" not in data:
                return data
        values, rest, extra = self._bind(args, kwargs)
        parts = [self._encode_one(each, value) for each, value in zip(self._parameters, values, strict=True)]
        if self._by_name:
            named = {each.name: msgspec.Raw(part) for each, part in zip(self._parameters, parts, strict=True)}
            if self._rest is not None and rest:
                named[self._rest.name] = msgspec.Raw(self._encode_one(self._rest, list(rest)))
            if self._extra is not None and extra:
                named.update(msgspec.json.decode(self._encode_one(self._extra, extra), type=dict[str, msgspec.Raw]))
            return _ENCODER.encode(named)
        if self._rest is not None and rest:
            parts.append(self._encode_one(self._rest, list(rest))[1:-1])
        return b"[" + b",".join(parts) + b"]"

    def _encode_one(self, parameter: _Parameter, value: Any, error: Any = InvalidArguments) -> bytes:
        try:
            return parameter.codec.encode(value)
        except _Misfit as misfit:
            kind = PayloadNotEncodable if misfit.unencodable and error is InvalidArguments else error
            raise kind(
                f"{self._owner}: {parameter.name}{misfit.path}: {misfit.problem}; the signature is {self._signature}"
            ) from None

    def _bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], tuple[Any, ...], dict[str, Any]]:
        count = self._positional
        if len(args) > count and self._rest is None:
            self._refuse(f"takes {count} positional arguments, found {len(args)}: {_shown(args[count])} is surplus")
        values = list(args[:count])
        unused = dict(kwargs)
        missing = []
        for each in self._parameters[len(values) :]:
            value = unused.pop(each.name, _ABSENT) if each.kind is not _POSITIONAL_ONLY else _ABSENT
            if value is _ABSENT:
                value = each.default
                if value is _EMPTY:
                    missing.append(each.name)
            values.append(value)
        for name in unused:
            self._demand_known(name, len(args))
        if missing:
            self._refuse(f"{', '.join(missing)} missing")
        return values, args[count:], unused

    def _demand_known(self, name: str, given: int) -> None:
        names = [each.name for each in self._parameters]
        if name in names:
            self._refuse(f"{name} is given twice, or by name though it is positional only")
        if self._extra is None:
            self._refuse(f"there is no parameter {name}{_did_you_mean(name, names)}")
        if self._rest is not None and name == self._rest.name:
            self._refuse(f"{name} cannot be given by name")

    def _refuse(self, problem: str) -> NoReturn:
        raise InvalidArguments(f"{self._owner}: {problem}; the signature is {self._signature}")

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._whole is not None:
            try:
                values = self._whole(data)
            except (ValueError, RecursionError):
                pass
            else:
                return self._split(values)
        try:
            raw = msgspec.json.decode(data, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PayloadNotDecodable(
                f"{self._owner}: arguments are a JSON array or object, found {data[:80]!r} ({error})"
            ) from None
        return self._decode_named(raw) if isinstance(raw, dict) else self._decode_listed(raw)

    def _split(self, values: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        count = self._positional
        if count == len(self._parameters):
            return values, {}
        return values[:count], {
            each.name: value for each, value in zip(self._parameters[count:], values[count:], strict=True)
        }

    def _decode_listed(self, raw: list[msgspec.Raw]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        parameters = self._parameters if self._rest is None else self._parameters[: self._positional]
        surplus = raw[len(parameters) :]
        if surplus and self._rest is None:
            self._undecodable("", f"{len(raw)} arguments for at most {len(parameters)}")
        values = [self._decode_one(each, part) for each, part in zip(parameters, raw, strict=False)]
        values += [self._default(each) for each in self._parameters[len(values) :]]
        args, kwargs = self._split(tuple(values))
        if self._rest is not None and surplus:
            args += tuple(self._decode_one(self._rest, msgspec.Raw(_ENCODER.encode(surplus))))
        return args, kwargs

    def _decode_named(self, raw: dict[str, msgspec.Raw]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        values = [
            self._decode_one(each, raw.pop(each.name)) if each.name in raw else self._default(each)
            for each in self._parameters
        ]
        args, kwargs = self._split(tuple(values))
        if self._rest is not None and self._rest.name in raw:
            args += tuple(self._decode_one(self._rest, raw.pop(self._rest.name)))
        if self._extra is not None:
            kwargs.update(self._decode_one(self._extra, msgspec.Raw(_ENCODER.encode(raw))))
        elif raw:
            name = next(iter(raw))
            self._undecodable(
                "", f"there is no parameter {name}{_did_you_mean(name, [p.name for p in self._parameters])}"
            )
        return args, kwargs

    def _decode_one(self, parameter: _Parameter, data: msgspec.Raw) -> Any:
        try:
            return parameter.codec.decode(bytes(data))
        except _Misfit as misfit:
            self._undecodable(f"{parameter.name}{misfit.path}: ", misfit.problem)

    def _default(self, parameter: _Parameter) -> Any:
        if parameter.default is _EMPTY:
            self._undecodable("", f"{parameter.name} missing")
        return parameter.default

    def _undecodable(self, place: str, problem: str) -> NoReturn:
        raise PayloadNotDecodable(f"{self._owner}: {place}{problem}; the signature is {self._signature}")

    def published(self) -> dict[str, Any]:
        """What clients without the code need: names, how many are required, and a JSON schema."""
        schemas, components = _schema([each.codec.hint for each in self._parameters])
        properties = {}
        for each, schema in zip(self._parameters, schemas, strict=True):
            if each.default is not _EMPTY:
                schema = {**schema, "default": msgspec.json.decode(each.codec.encode(each.default))}
            properties[each.name] = schema
        required = [each.name for each in self._parameters if each.default is _EMPTY]
        schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
        if components:
            schema["$defs"] = components
        return {"names": list(properties), "required": len(required), "schema": schema}


_KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY


def _signature(parameters: list[inspect.Parameter], hints: dict[str, Any]) -> str:
    known = [
        parameter.replace(annotation=_Text(type_text(hints[parameter.name]))) if parameter.name in hints else parameter
        for parameter in parameters
    ]
    return str(inspect.Signature(known))


class _Text:
    """An annotation that is shown as its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]}?" if close else ""


def seal(data: bytes, put: Callable[[bytes, bytes], None], max_bytes: int, what: str) -> Payload:
    """A payload of bytes: inline, or above PAYLOAD_INLINE_BYTES as a digest after the bytes were put under it.

    Raises:
        PayloadTooLarge: above `max_bytes`.
    """
    if len(data) <= PAYLOAD_INLINE_BYTES and len(data) <= max_bytes:
        return Payload(data)
    if len(data) > max_bytes:
        raise PayloadTooLarge(
            f"{what}: {len(data):,} bytes are more than the limit of {max_bytes:,}; store it elsewhere and pass a "
            "reference to it, or raise the limit: Engine(payload_max_bytes=...)"
        )
    digest = hashlib.sha256(data).digest()
    put(digest, data)
    return Payload(digest, ref=True)


def unseal(payload: Payload, get: Callable[[bytes], bytes]) -> bytes:
    """The bytes of a payload.

    Raises:
        PayloadNotDecodable: they have an encoding that this version does not read.
    """
    if payload.encoding:
        raise PayloadNotDecodable(
            f'a payload has the encoding "{payload.encoding}", and this version reads JSON only; '
            "read it with what has written it"
        )
    return get(payload.data) if payload.ref else payload.data


def encode_untyped(
    published: Mapping[str, Any] | None, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, owner: str
) -> bytes:
    """Arguments as bytes where the code is not at hand: checked against what its engine published, if it did."""
    if published is None:
        if args and kwargs:
            raise InvalidArguments(
                f"{owner}: give all arguments by position or all by name, its parameters are not known"
            )
        return _untyped_bytes(dict(kwargs) if kwargs else list(args), owner)
    names: list[str] = published["names"]
    schema: dict[str, Any] = published.get("schema", {})
    properties: dict[str, Any] = schema.get("properties", {})
    required = schema.get("required", names[: published["required"]])
    if len(args) > len(names):
        raise InvalidArguments(f"{owner}: takes {len(names)} arguments ({', '.join(names)}), found {len(args)}")
    given = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name in given:
            raise InvalidArguments(f"{owner}: {name} is given twice")
        if name not in names:
            raise InvalidArguments(f"{owner}: there is no parameter {name}{_did_you_mean(name, names)}")
        given[name] = value
    missing = [name for name in required if name not in given]
    if missing:
        raise InvalidArguments(f"{owner}: {', '.join(missing)} missing; it takes {', '.join(names)}")
    for name in names:
        if name not in given and "default" in properties.get(name, {}):
            given[name] = properties[name]["default"]
    values = [given[name] for name in names if name in given]
    if list(given) and [name for name in names if name in given] != names[: len(values)]:
        return _untyped_bytes(given, owner)
    return _untyped_bytes(values, owner)


def _untyped_bytes(values: Any, owner: str) -> bytes:
    try:
        return _codec(Any, owner, "").encode(values)
    except _Misfit as misfit:
        raise PayloadNotEncodable(f"{owner}: {misfit.path}: {misfit.problem}") from None
