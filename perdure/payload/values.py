"""The type of a result: a value to bytes and back."""

from collections.abc import Callable
from typing import Any

from perdure.errors import PayloadNotDecodable, PayloadNotEncodable
from perdure.payload.codec import Codec, codec_of
from perdure.payload.hints import resolved
from perdure.payload.misfit import Misfit
from perdure.payload.schema import described


class ValueType:
    """A type, compiled, and whose result it is the type of."""

    __slots__ = ("_codec", "_noun", "_owner")

    def __init__(self, codec: Codec, owner: str, noun: str = "the result") -> None:
        self._codec = codec
        self._owner = owner
        self._noun = noun

    @classmethod
    def of(cls, type: Any, *, owner: str, noun: str = "the result") -> "ValueType":
        """Of a type hint; `owner` says in messages whose result it is, or whatever else it is of it.

        Raises:
            DefinitionError: no value of that type can be encoded.
        """
        return cls(codec_of(type, owner, noun), owner, noun)

    @classmethod
    def result_of(cls, fn: Callable[..., Any], *, owner: str) -> "ValueType":
        """Of what a function, or the coroutine of an `async def`, returns. Without a hint it is Any; of a class it
        is the class.

        Raises:
            DefinitionError: the hint cannot be resolved, or no value of that type can be encoded.
        """
        hint = fn if isinstance(fn, type) else resolved(fn, owner, ["return"]).get("return", Any)
        return cls.of(hint, owner=owner)

    def encode(self, value: Any) -> bytes:
        """The value as JSON.

        Raises:
            PayloadNotEncodable: it is not of the type, or has no JSON form, or would be changed by it.
        """
        try:
            return self._codec.encode(value)
        except Misfit as misfit:
            raise PayloadNotEncodable(
                f"{self._owner}: {self._noun}{misfit.path}: {misfit.problem}"
            ) from misfit.__cause__

    def decode(self, data: bytes) -> Any:
        """The value of the bytes.

        Raises:
            PayloadNotDecodable: they are not JSON, or of another type.
        """
        try:
            return self._codec.decode(data)
        except Misfit as misfit:
            raise PayloadNotDecodable(
                f"{self._owner}: {self._noun}{misfit.path}: {misfit.problem}"
            ) from misfit.__cause__

    def schema(self) -> dict[str, Any]:
        """A JSON schema; {} if none can describe the type."""
        (schema,), components = described([self._codec.hint])
        return {**schema, "$defs": components} if components else schema
