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
    size = len(data)
    if size > max_bytes:
        raise PayloadTooLarge(
            f"{what}: {size:,} bytes are more than the limit of {max_bytes:,}; store them elsewhere and pass a reference, "
            "or raise the limit: Engine(payload_max_bytes=...)"
        )
    if size <= PAYLOAD_INLINE_BYTES:
        return Payload(data)
    digest = hashlib.sha256(data).digest()
    put(digest, data)
    return Payload(digest, ref=True)


def unseal(payload: Payload, get: Callable[[bytes], bytes]) -> bytes:
    """The bytes of a payload; `get` finds those that are kept under a digest.

    Raises:
        PayloadNotDecodable: they are in an encoding that this version does not read.
    """
    if payload.encoding:
        raise PayloadNotDecodable(
            f"expected JSON, found a payload in the encoding {payload.encoding!r}, which this version cannot read; "
            "read it with the system that wrote it"
        )
    return get(payload.data) if payload.ref else payload.data
