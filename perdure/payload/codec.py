"""One type, compiled: its values to bytes, checked, and back."""

import functools
import math
import types
import typing
from typing import Any

import msgspec

from perdure.errors import DefinitionError
from perdure.failures import text_of, type_name
from perdure.payload.encoder import ENCODER, from_json, is_pydantic
from perdure.payload.misfit import WORKS, Misfit, shown, type_text
from perdure.payload.parts import ATOMS, canonical, children, compare, not_finite, same
from perdure.payload.paths import follow, located
from perdure.payload.shape import Shape

_DEEP = "it is nested too deeply, or contains itself"
_JSON_ATOMS = ATOMS - {bytes}


class Codec:
    """`exact` holds the classes whose every instance fits, and comes back as it is without a check."""

    __slots__ = ("_decode", "exact", "hint", "shape", "text")

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        self.text = type_text(hint)
        self.shape = Shape.of(hint)
        self.exact = _exact(hint)
        self._decode = msgspec.json.Decoder(hint, dec_hook=from_json).decode

    def encode(self, value: Any) -> bytes:
        """The value as JSON, once it is known that it comes back.

        Raises:
            Misfit: it does not, or not as it was.
        """
        try:
            if type(value) in self.exact:
                data = _written(value)
                if data != b"null" or value is None:  # for msgspec NaN is null, too
                    return data
            return self._checked(value)
        except RecursionError:
            raise Misfit(_DEEP, unencodable=True) from None
        except Misfit as misfit:
            if misfit.alien and not misfit.path and not self.exact >= _JSON_ATOMS:
                raise Misfit(f"expected {self.text}, found {shown(value)}") from None
            raise

    def decode(self, data: bytes) -> Any:
        """The value of the bytes.

        Raises:
            Misfit: they are not JSON, or of another type.
        """
        try:
            return self._decode(data)
        except msgspec.ValidationError as error:
            raise self._misfit(error, data) from error.__cause__
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._no_json(error, data) from None
        except RecursionError:
            raise Misfit(_DEEP) from None
        except Exception as error:
            raise Misfit(f"making a {self.text} of it raised {type_name(type(error))}: {text_of(error)}") from error

    def _checked(self, value: Any) -> bytes:
        shape = self.shape
        data = _written(value, shape.loose)
        back = self._back(data, value)
        if shape.comparable and same(back, value):
            return _written(back, shape.sets) if shape.numeric else data
        if shape.open and not shape.loose:
            data = _written(value, True)
            back = self._back(data, value)
        compare(value, back, shape.open, shape.comparable)
        return _written(back, shape.loose)

    def _back(self, data: bytes, value: Any) -> Any:
        try:
            return self._decode(data)
        except msgspec.ValidationError as error:
            raise self._misfit(error, data, value) from error.__cause__
        except RecursionError:
            raise
        except Exception as error:
            raise Misfit(
                f"it could not be read again, that raised {type_name(type(error))}: {text_of(error)}"
            ) from error

    def _misfit(self, error: msgspec.ValidationError, data: bytes, *value: Any) -> Misfit:
        try:
            fault = located(error, self._decode, data)
        except (msgspec.DecodeError, UnicodeDecodeError) as worse:
            return self._no_json(worse, data)
        except RecursionError:
            return Misfit(_DEEP)
        found = follow(value[0], fault.steps, fault.found) if value and not fault.is_key else fault.found
        if isinstance(found, float) and not math.isfinite(found):
            return not_finite(found).within(fault.path)
        whole = not fault.path
        if fault.problem:
            expected = f"expected {self.text}, found" if whole else "found"
            return Misfit(f"{fault.problem}; {expected} {shown(found)}", fault.path)
        expected = self.text if whole and fault.expected.isidentifier() and not fault.is_key else fault.expected
        as_key = " as a key" if fault.is_key else ""
        return Misfit(f"expected {expected}{as_key}, found {shown(found)}", fault.path)

    def _no_json(self, error: Exception, data: bytes) -> Misfit:
        return Misfit(f"expected {self.text} as JSON, found {data[:80]!r} ({error})")


def _exact(hint: Any) -> frozenset[type]:
    if hint is None:
        return frozenset({types.NoneType})
    if hint is Any or hint is object:
        return _JSON_ATOMS
    if isinstance(hint, type) and hint in ATOMS:
        return frozenset({hint})
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return frozenset[type]().union(*map(_exact, typing.get_args(hint)))
    return frozenset()


def _written(value: Any, loose: bool = False) -> bytes:
    try:
        return ENCODER.encode(canonical(value) if loose else value)
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001  the user's class may raise anything when it is read
        raise _culprit(value, "", error) from None


def _culprit(value: Any, path: str, error: Exception) -> Misfit:
    """Which part of a value cannot be encoded, and why."""
    for step, child in children(value):
        try:
            ENCODER.encode(canonical(child))
        except RecursionError:
            raise
        except Exception as deeper:  # noqa: BLE001  as above
            return _culprit(child, path + step, deeper)
    if isinstance(value, dict):
        for key in value:
            if not _is_key(key):
                return Misfit(f"{shown(key)} cannot be a key; use texts or numbers", path, unencodable=True)
    if isinstance(value, str):
        problem = (
            f"{shown(value)} has half a character in it ({error}), which UTF-8 cannot hold; pass bytes, or replace it"
        )
        return Misfit(problem, path, unencodable=True)
    if isinstance(value, int):
        return Misfit(f"an int of {value.bit_length():,} bits is too large ({error})", path, unencodable=True)
    if is_pydantic(type(value)):
        return Misfit(f"{shown(value)} cannot be dumped as JSON: {error}", path, unencodable=True)
    return Misfit(f"{shown(value)} has no JSON form; what works: {WORKS}", path, alien=True)


def _is_key(key: Any) -> bool:
    try:
        ENCODER.encode({key: None})
    except Exception:  # noqa: BLE001  as above
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _compiled(hint: Any) -> Codec:
    return Codec(hint)


def codec_of(hint: Any, owner: str, what: str) -> Codec:
    """The codec of a type hint.

    Raises:
        DefinitionError: no value of that type can be encoded, or not told from others; it names `owner` and `what`.
    """
    try:
        try:
            return _compiled(hint)
        except TypeError:  # either the hint cannot be hashed, or msgspec refuses it, which it will do again
            return Codec(hint)
    except Misfit as misfit:
        of = "" if type_text(hint) in misfit.problem else f" in {type_text(hint)}"
        problem = f"{what}{misfit.path}{of}: {misfit.problem}; what works: {WORKS}"
    except Exception as error:  # noqa: BLE001  evaluating the hints of a class may raise anything
        problem = f"{what}, {type_text(hint)}: {_advice(error)}"
    raise DefinitionError(f"{owner}: {problem}") from None


def _advice(error: Exception) -> str:
    text = str(error).partition(" - type ")[0].rstrip(".")
    if isinstance(error, NameError):
        return f"a type hint in it cannot be resolved ({text}); import what it names at the top of the module"
    if "union" not in text.lower():
        return f"{text}; what works: {WORKS}"
    if "custom type" in text:
        return f"{text}; a pydantic model may be joined with None only, put the union into a field of a model"
    if "str-like" in text:
        return f"{text}: in JSON all of them are texts; use one of them, or a class with a field for each"
    return (
        f"JSON cannot tell the members of this union apart ({text}); make them msgspec.Struct classes with tag=True, "
        "or one dataclass with optional fields"
    )
