"""A codec of the user's between payloads and what is stored of them: encryption, compression.

JSON is what a codec gets, and what it must give back. What it makes is stored with the codec's name, so that a payload
tells how it is to be read, and those written before there was a codec stay readable.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from perdure.errors import DefinitionError, PayloadNotDecodable, PayloadNotEncodable
from perdure.kernel.events import Payload
from perdure.payload.sealing import demand_size, kept, seal, unseal

NO_CODEC = "there is none here"


@runtime_checkable
class PayloadCodec(Protocol):
    """Makes other bytes of the bytes of a payload, and back. Called from many threads at once, and may block: never on the
    thread that moves workflows.

    `name` is stored with each payload; a codec that changes what it writes takes another one, or reads both.
    """

    name: str

    def encode(self, data: bytes) -> bytes: ...

    def decode(self, data: bytes) -> bytes: ...


class Coder:
    """Payloads by a codec, or plain without one.

    Raises:
        DefinitionError: it is no codec.
    """

    __slots__ = ("codec",)

    def __init__(self, codec: PayloadCodec | None = None) -> None:
        if codec is not None and not (isinstance(codec, PayloadCodec) and isinstance(codec.name, str) and codec.name):
            raise DefinitionError(
                f"a codec has a name (a text), encode(data) and decode(data), and {codec!r} has not all of them"
            )
        self.codec = codec

    def seal(self, data: bytes, put: Callable[[bytes, bytes], None], max_bytes: int, what: str) -> Payload:
        """As `sealing.seal`, of the bytes that the codec makes.

        Raises:
            PayloadTooLarge: they are more than `max_bytes`, before or after. PayloadNotEncodable: the codec raises.
        """
        codec = self.codec
        if codec is None:
            return seal(data, put, max_bytes, what)
        demand_size(data, max_bytes, what)
        try:
            encoded = codec.encode(data)
        except Exception as error:
            raise PayloadNotEncodable(f"{what}: the codec {codec.name!r} {_raised('encode', error)}") from error
        if not isinstance(encoded, bytes):
            raise PayloadNotEncodable(f"{what}: the codec {codec.name!r} gave {type(encoded).__name__}, not bytes")
        demand_size(encoded, max_bytes, what)
        data, ref = kept(encoded, put)
        return Payload(data, codec.name, ref)

    def seal_whole(self, data: bytes, max_bytes: int, what: str) -> Payload:
        """The same with the bytes in the payload, however many: it travels in a message, whose reader sets them apart."""
        apart: dict[bytes, bytes] = {}
        payload = self.seal(data, apart.__setitem__, max_bytes, what)
        return Payload(apart[payload.data], payload.encoding) if payload.ref else payload

    def unseal(self, payload: Payload, get: Callable[[bytes], bytes]) -> bytes:
        """As `sealing.unseal`, and decoded.

        Raises:
            PayloadNotDecodable: the codec raises, or is another than the one that wrote it.
        """
        if not payload.encoding:
            return unseal(payload, get)
        codec = self.codec
        if codec is None or codec.name != payload.encoding:
            ours = NO_CODEC if codec is None else f"the one here is {codec.name!r}"
            raise unreadable(
                f"a payload was written by the codec {payload.encoding!r}, and {ours}; give the same one: codec=..."
            )
        data = get(payload.data) if payload.ref else payload.data
        try:
            decoded = codec.decode(data)
        except Exception as error:
            raise unreadable(f"the codec {codec.name!r} {_raised('decode', error)}") from error
        if not isinstance(decoded, bytes):
            raise unreadable(f"the codec {codec.name!r} gave {type(decoded).__name__}, not bytes")
        return decoded


def unreadable(message: str) -> PayloadNotDecodable:
    """It is the codec that has to be seen to, not a type."""
    error = PayloadNotDecodable(message)
    error.hint = "see to the codec, then: perdure retry"
    return error


def _raised(verb: str, error: Exception) -> str:
    return f"could not {verb} it, it raised {type(error).__name__}: {error}"


PLAIN = Coder()
"""Without a codec."""
