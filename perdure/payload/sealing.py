"""Large payloads apart: bytes above a size are kept under their digest, and the digest takes their place."""

import hashlib
from collections.abc import Callable

from perdure.errors import PayloadNotDecodable, PayloadTooLarge
from perdure.kernel.events import Payload
from perdure.kernel.limits import PAYLOAD_INLINE_BYTES


def seal(data: bytes, put: Callable[[bytes, bytes], None], max_bytes: int, what: str) -> Payload:
    """A payload of the bytes; above PAYLOAD_INLINE_BYTES they are handed to `put` under their SHA-256 digest.

    Raises:
        PayloadTooLarge: they are more than `max_bytes`; `what` they are is named.
    """
    if len(data) <= PAYLOAD_INLINE_BYTES and len(data) <= max_bytes:
        return Payload(data)  # nearly all
    demand_size(data, max_bytes, what)
    data, ref = kept(data, put)
    return Payload(data, ref=ref)


def demand_size(data: bytes, max_bytes: int, what: str) -> None:
    """Raises PayloadTooLarge if there are more than so many bytes."""
    if len(data) > max_bytes:
        raise PayloadTooLarge(
            f"{what}: {len(data):,} bytes are more than the limit of {max_bytes:,}; store them elsewhere and pass a "
            "reference, or raise the limit: Engine(payload_max_bytes=...)"
        )


def kept(data: bytes, put: Callable[[bytes, bytes], None]) -> tuple[bytes, bool]:
    """What a payload holds of the bytes: themselves, or the digest under which they were handed to `put`."""
    if len(data) <= PAYLOAD_INLINE_BYTES:
        return data, False
    digest = hashlib.sha256(data).digest()
    put(digest, data)
    return digest, True


def unseal(payload: Payload, get: Callable[[bytes], bytes]) -> bytes:
    """The bytes of a payload; `get` finds those that are kept under a digest.

    Raises:
        PayloadNotDecodable: they are in an encoding that this version does not read.
    """
    if payload.encoding:
        raise PayloadNotDecodable(
            f"expected JSON, found a payload in the encoding {payload.encoding!r}; read it with the codec that wrote it: "
            "codec=..."
        )
    return get(payload.data) if payload.ref else payload.data
