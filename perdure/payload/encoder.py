"""The encoder of all payloads, and the two hooks for what JSON does not know: pydantic models, plain subclasses."""

from typing import Any

import msgspec

from perdure.payload.misfit import shown, type_text

_PLAIN: tuple[tuple[type, Any], ...] = ((str, str.__str__), (int, int.__index__), (float, float.__float__))
_ERRORS_SHOWN = 5


def is_pydantic(kind: Any) -> bool:
    """Known by what it has: pydantic is never imported here."""
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


def to_json(value: Any) -> Any:
    """Subclasses of str, int and float as what they are, pydantic models by their own rules."""
    if is_pydantic(type(value)):
        return _dumped(value)
    for kind, plain in _PLAIN:
        if isinstance(value, kind):
            return plain(value)
    raise TypeError(f"{type_text(type(value))} has no JSON form")


def from_json(kind: Any, value: Any) -> Any:
    """The other way, called with the class a hint names and the JSON value in its place."""
    if kind is object:
        return value
    try:
        return kind.model_validate_json(ENCODER.encode(value))
    except ValueError as error:
        raise ValueError(_readable(error)) from None


ENCODER = msgspec.json.Encoder(enc_hook=to_json)


def _dumped(model: Any) -> Any:
    """A pydantic model as JSON values, provided that it comes back from them as it was."""
    value = model.model_dump(mode="json", by_alias=True)
    data = ENCODER.encode(value)
    if b"[" in data:
        value = _sorted_like(model.model_dump(by_alias=True), value)
    kind = type(model)
    try:
        back = kind.model_validate_json(data)
    except ValueError as error:
        raise TypeError(f"it cannot be read again: {_readable(error)}") from None
    for name, field in kind.model_fields.items():
        if not field.exclude and getattr(back, name) != getattr(model, name):
            raise TypeError(f"its field {name}, {shown(getattr(model, name))}, comes back as {getattr(back, name)!r}")
    return value


def _sorted_like(source: Any, value: Any) -> Any:
    """JSON values, of which those lists are sorted that were sets in the source."""
    if isinstance(source, set | frozenset):
        return sorted(value, key=ENCODER.encode)
    if isinstance(source, dict) and isinstance(value, dict):
        pairs = zip(value.items(), source.values(), strict=False)
        return {key: _sorted_like(of, item) for (key, item), of in pairs}
    if isinstance(source, list | tuple) and isinstance(value, list):
        return [_sorted_like(of, item) for item, of in zip(value, source, strict=False)]
    return value


def _readable(error: Any) -> str:
    """pydantic's errors on one line."""
    if not hasattr(error, "errors"):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, found['loc'])) or 'as a whole'}: {found['msg']}, found {shown(found['input'])}"
        for found in error.errors(include_url=False)[:_ERRORS_SHOWN]
    )
