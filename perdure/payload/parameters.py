"""The parameters of a function: arguments to bytes and back."""

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import msgspec

from perdure.errors import DefinitionError, InvalidArguments, PayloadNotDecodable, PayloadNotEncodable
from perdure.payload.codec import Codec, codec_of
from perdure.payload.encoder import ENCODER, from_json
from perdure.payload.hints import resolved
from perdure.payload.misfit import Misfit, did_you_mean, shown, type_text
from perdure.payload.schema import described

_EMPTY = inspect.Parameter.empty
_EXACT_COMBINATIONS = 256


class _Parameter(NamedTuple):
    name: str
    codec: Codec
    default: Any
    positional: bool
    named: bool


class Parameters:
    """The parameters of a function, compiled.

    The bytes are a JSON array of all arguments in the order of the signature; of a function with `*args` or `**kwargs`
    an object by name, in which `*args` are a list. Both forms are read for every function.
    """

    __slots__ = (
        "_count",
        "_exact",
        "_extra",
        "_has_floats",
        "_owner",
        "_parameters",
        "_published",
        "_rest",
        "_signature",
        "_whole",
    )

    def __init__(self, signature: inspect.Signature, hints: Mapping[str, Any], owner: str) -> None:
        self._owner = owner
        self._signature = _text(signature, hints)
        self._parameters: list[_Parameter] = []
        self._rest: _Parameter | None = None
        self._extra: _Parameter | None = None
        self._published: dict[str, Any] | None = None
        for parameter in signature.parameters.values():
            self._add(parameter, hints.get(parameter.name, Any))
        self._count = sum(each.positional for each in self._parameters)
        self._compile()
        self._demand_defaults_that_fit()

    @classmethod
    def of(cls, fn: Callable[..., Any], *, owner: str, skip: int = 0) -> "Parameters":
        """Of a function, without the first `skip` parameters: of a method that is its `self`. `owner` names it in messages.

        Raises:
            DefinitionError: a hint cannot be resolved, no value of that type can be encoded, or a default does not fit.
        """
        signature = inspect.signature(fn)
        parameters = list(signature.parameters.values())[skip:]
        signature = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
        return cls(signature, resolved(fn, owner, signature.parameters), owner)

    def _add(self, parameter: inspect.Parameter, hint: Any) -> None:
        kind = parameter.kind
        if kind is parameter.VAR_POSITIONAL:
            hint = list[hint]
        elif kind is parameter.VAR_KEYWORD:
            hint = dict[str, hint]
        codec = codec_of(hint, self._owner, f"parameter {parameter.name}")
        positional = kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        each = _Parameter(parameter.name, codec, parameter.default, positional, kind is not parameter.POSITIONAL_ONLY)
        if kind is parameter.VAR_POSITIONAL:
            self._rest = each
        elif kind is parameter.VAR_KEYWORD:
            self._extra = each
        else:
            self._parameters.append(each)

    def _compile(self) -> None:
        """The ways of the usual call: arguments whose classes alone say that they fit, and bytes that have them all."""
        self._whole: Callable[[bytes], Any] | None = None
        self._exact: frozenset[tuple[type, ...]] = frozenset()
        self._has_floats = any(float in each.codec.exact for each in self._parameters)
        if self._rest is None and self._extra is None:
            whole = tuple[tuple(each.codec.hint for each in self._parameters)]
            self._whole = msgspec.json.Decoder(whole, dec_hook=from_json).decode
            exact = [each.codec.exact for each in self._parameters]
            if self._count == len(exact) and math.prod(map(len, exact)) <= _EXACT_COMBINATIONS:
                self._exact = frozenset(itertools.product(*exact))

    def _demand_defaults_that_fit(self) -> None:
        for each in self._parameters:
            if each.default is not _EMPTY:
                try:
                    each.codec.encode(each.default)
                except Misfit as misfit:
                    optional = f"; write {each.codec.text} | None" if each.default is None else ""
                    raise DefinitionError(
                        f"{self._owner}: the default of parameter {each.name}{misfit.path}: {misfit.problem}{optional}"
                    ) from misfit.__cause__

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The arguments of a call as JSON, defaults filled in.

        Raises:
            InvalidArguments: they do not fit the signature or its hints.
            PayloadNotEncodable: one of them has no JSON form, or would be changed by it.
        """
        if not kwargs and tuple(map(type, args)) in self._exact:
            try:
                data = ENCODER.encode(args)
            except Exception:  # noqa: BLE001  which argument it was is found below
                data = b"null"
            if b"null" not in data or not (self._has_floats or data == b"null"):  # for msgspec NaN is null, too
                return data
        values, rest, extra = self._bind(args, kwargs)
        parts = [self._encoded(each, value) for each, value in zip(self._parameters, values, strict=True)]
        if self._rest is None and self._extra is None:
            return b"[" + b",".join(parts) + b"]"
        named = {each.name: msgspec.Raw(part) for each, part in zip(self._parameters, parts, strict=True)}
        if self._rest is not None and rest:
            named[self._rest.name] = msgspec.Raw(self._encoded(self._rest, rest))
        if self._extra is not None and extra:
            named.update(msgspec.json.decode(self._encoded(self._extra, extra), type=dict[str, msgspec.Raw]))
        return ENCODER.encode(named)

    def _encoded(self, parameter: _Parameter, value: Any) -> bytes:
        try:
            return parameter.codec.encode(value)
        except Misfit as misfit:
            problem = f"{self._owner}: argument {parameter.name}{misfit.path}: {misfit.problem}"
            if misfit.unencodable:
                raise PayloadNotEncodable(problem) from misfit.__cause__
            raise InvalidArguments(f"{problem}; the signature is {self._signature}") from misfit.__cause__

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], list[Any], dict[str, Any]]:
        """Values for the parameters, and what goes into `*args` and `**kwargs`."""
        count = self._count
        if len(args) > count and self._rest is None:
            takes = f"at most {count} by position" if count else "none by position"
            self._refuse(f"expected {takes}, found {len(args)} arguments; surplus from {shown(args[count])} on")
        values = list(args[:count])
        extra = dict(kwargs)
        missing: list[str] = []
        for each in self._parameters[len(values) :]:
            if each.named and each.name in extra:
                values.append(extra.pop(each.name))
            elif each.default is not _EMPTY:
                values.append(each.default)
            else:
                missing.append(each.name)
        for name in extra:
            self._demand_extra(name, args)
        if missing:
            self._refuse(f"missing: {', '.join(missing)}")
        return values, list(args[count:]), extra

    def _demand_extra(self, name: str, args: Sequence[Any]) -> None:
        """Refuse the name of an argument that is that of no parameter, unless there is `**kwargs`."""
        names = [each.name for each in self._parameters]
        if name in names[: len(args)]:
            self._refuse(f"{name} is given by position and by name; leave one out")
        if name in names or (self._rest is not None and name == self._rest.name):
            self._refuse(f"{name} can be given by position only")
        if self._extra is None:
            self._refuse(f"there is no parameter {name}{did_you_mean(name, names)}")

    def _refuse(self, problem: str) -> NoReturn:
        raise InvalidArguments(f"{self._owner}: {problem}; the signature is {self._signature}")

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named arguments of a JSON array, by position, or object, by name; what is missing is the default.

        Raises:
            PayloadNotDecodable: the bytes are neither, or do not fit the signature or its hints.
        """
        if self._whole is not None:
            try:
                values = self._whole(data)
            except Exception:  # noqa: BLE001  another form than the usual, or what is wrong is found below
                values = None
            if values is not None:
                return self._split(values)
        try:
            parts = msgspec.json.decode(data, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._undecodable("", f"expected arguments as a JSON array or object, found {data[:80]!r} ({error})")
        return self._decoded_names(parts) if isinstance(parts, dict) else self._decoded_list(parts)

    def _split(self, values: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        count = self._count
        if count == len(values):
            return values, {}
        names = [each.name for each in self._parameters[count:]]
        return values[:count], dict(zip(names, values[count:], strict=True))

    def _decoded_list(self, parts: list[msgspec.Raw]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        parameters = self._parameters if self._rest is None else self._parameters[: self._count]
        surplus = parts[len(parameters) :]
        if surplus and self._rest is None:
            self._undecodable("", f"expected at most {len(parameters)} arguments, found {len(parts)}")
        values = [self._decoded(each, part) for each, part in zip(parameters, parts, strict=False)]
        values += [self._default(each) for each in self._parameters[len(values) :]]
        args, kwargs = self._split(tuple(values))
        if self._rest is not None and surplus:
            args += tuple(self._decoded(self._rest, ENCODER.encode(surplus)))
        return args, kwargs

    def _decoded_names(self, parts: dict[str, msgspec.Raw]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        values = [
            self._decoded(each, parts.pop(each.name)) if each.name in parts else self._default(each)
            for each in self._parameters
        ]
        args, kwargs = self._split(tuple(values))
        if self._rest is not None and self._rest.name in parts:
            args += tuple(self._decoded(self._rest, parts.pop(self._rest.name)))
        if self._extra is not None:
            kwargs.update(self._decoded(self._extra, ENCODER.encode(parts)))
        elif parts:
            name = next(iter(parts))
            names = [each.name for each in self._parameters]
            self._undecodable("", f"there is no parameter {name}{did_you_mean(name, names)}")
        return args, kwargs

    def _decoded(self, parameter: _Parameter, data: Any) -> Any:
        try:
            return parameter.codec.decode(bytes(data))
        except Misfit as misfit:
            self._undecodable(f"argument {parameter.name}{misfit.path}: ", misfit.problem, misfit.__cause__)

    def _default(self, parameter: _Parameter) -> Any:
        if parameter.default is _EMPTY:
            self._undecodable("", f"missing: {parameter.name}")
        return parameter.default

    def _undecodable(self, place: str, problem: str, cause: BaseException | None = None) -> NoReturn:
        message = f"{self._owner}: {place}{problem}; the signature is {self._signature}"
        raise PayloadNotDecodable(message) from cause

    def published(self) -> dict[str, Any]:
        """What a client without the code must know: names in order, how many are required, a JSON schema.

        In the schema, `*args` are a property that is not among the names, `**kwargs` additional properties. It is made once, and
        whoever gets it only reads it.
        """
        if self._published is None:
            self._published = self._described()
        return self._published

    def _described(self) -> dict[str, Any]:
        everything = [each for each in (*self._parameters, self._rest, self._extra) if each is not None]
        schemas, components = described([each.codec.hint for each in everything])
        properties: dict[str, Any] = {}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        for each, of in zip(everything, schemas, strict=True):
            if each is self._extra:
                schema["additionalProperties"] = of.get("additionalProperties", {})
                continue
            default = each.default is not _EMPTY
            extra = {"default": msgspec.json.decode(each.codec.encode(each.default))} if default else {}
            properties[each.name] = {**of, **extra}
        required = [each.name for each in self._parameters if each.default is _EMPTY]
        schema["required"] = required
        if components:
            schema["$defs"] = components
        return {"names": [each.name for each in self._parameters], "required": len(required), "schema": schema}


def _text(signature: inspect.Signature, hints: Mapping[str, Any]) -> str:
    """The signature as one writes it."""
    parameters = [
        parameter.replace(annotation=_Written(type_text(hints[parameter.name])))
        if parameter.name in hints
        else parameter
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters))


class _Written:
    """An annotation that is shown as its text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text
