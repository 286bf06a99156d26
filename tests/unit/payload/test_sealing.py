"""Large payloads are kept apart under their digest, and too large ones refused."""

import hashlib

import pytest

from perdure.errors import PayloadNotDecodable, PayloadTooLarge
from perdure.kernel.events import Payload
from perdure.kernel.limits import PAYLOAD_INLINE_BYTES
from perdure.payload import seal, unseal

LIMIT = 2 * PAYLOAD_INLINE_BYTES


def test_a_small_payload_stays_where_it_is():
    kept: dict[bytes, bytes] = {}
    data = b"x" * PAYLOAD_INLINE_BYTES

    payload = seal(data, kept.__setitem__, LIMIT, "the result")
    assert payload == Payload(data)
    assert kept == {}
    assert unseal(payload, kept.__getitem__) == data


def test_a_large_payload_is_kept_under_its_digest():
    kept: dict[bytes, bytes] = {}
    data = b"x" * (PAYLOAD_INLINE_BYTES + 1)

    payload = seal(data, kept.__setitem__, LIMIT, "the result")
    assert payload == Payload(hashlib.sha256(data).digest(), ref=True)
    assert kept == {payload.data: data}
    assert unseal(payload, kept.__getitem__) == data


@pytest.mark.parametrize("limit", [LIMIT, 10])
def test_a_payload_above_the_limit_is_refused_and_not_kept(limit):
    kept: dict[bytes, bytes] = {}

    with pytest.raises(PayloadTooLarge) as refused:
        seal(b"x" * (limit + 1), kept.__setitem__, limit, "the result of activity fetch")

    assert str(refused.value) == (
        f"the result of activity fetch: {limit + 1:,} bytes are more than the limit of {limit:,}; store them elsewhere "
        "and pass a reference, or raise the limit: Engine(payload_max_bytes=...)"
    )
    assert kept == {}
    assert seal(b"x" * limit, kept.__setitem__, limit, "").ref is (limit > PAYLOAD_INLINE_BYTES)


def test_a_payload_in_a_foreign_encoding_is_not_read():
    with pytest.raises(PayloadNotDecodable, match="found a payload in the encoding 'binary/encrypted'"):
        unseal(Payload(b"...", "binary/encrypted"), {}.__getitem__)
