"""Payloads by a codec: what it makes is stored with its name, and what it does wrong is told."""

import pytest

from perdure.errors import PayloadNotDecodable, PayloadNotEncodable, PayloadTooLarge
from perdure.kernel.events import Payload
from perdure.kernel.limits import PAYLOAD_INLINE_BYTES
from perdure.payload import PLAIN, Coder


class Reversed:
    name = "reversed"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


class Swelling(Reversed):
    def encode(self, data: bytes) -> bytes:
        return data * 1_000


class Broken(Reversed):
    def encode(self, data: bytes) -> bytes:
        raise ValueError("no key")

    def decode(self, data: bytes) -> bytes:
        raise ValueError("no key")


def test_what_is_sealed_is_unsealed_and_names_its_codec():
    payload = Coder(Reversed()).seal(b'"abc"', {}.__setitem__, 100, "it")

    assert payload == Payload(b'"cba"', "reversed")
    assert Coder(Reversed()).unseal(payload, {}.__getitem__) == b'"abc"'


def test_large_bytes_are_kept_apart_as_the_codec_made_them():
    apart: dict[bytes, bytes] = {}
    data = b"a" + b"b" * PAYLOAD_INLINE_BYTES
    payload = Coder(Reversed()).seal(data, apart.__setitem__, 10**6, "it")

    assert payload.ref
    assert list(apart.values()) == [data[::-1]]
    assert Coder(Reversed()).unseal(payload, apart.__getitem__) == data


def test_the_limit_holds_before_and_after():
    for codec, data in ((Reversed(), b"x" * 101), (Swelling(), b"xx")):
        with pytest.raises(PayloadTooLarge, match="are more than the limit of 100"):
            Coder(codec).seal(data, {}.__setitem__, 100, "it")


def test_plain_payloads_are_read_with_any_codec():
    assert Coder(Broken()).unseal(Payload(b"1"), {}.__getitem__) == b"1"


def test_what_a_codec_raises_is_told_with_its_name():
    with pytest.raises(
        PayloadNotEncodable, match="it: the codec 'reversed' could not encode it, it raised ValueError: no key"
    ):
        Coder(Broken()).seal(b"1", {}.__setitem__, 100, "it")
    with pytest.raises(PayloadNotDecodable, match="could not decode it, it raised ValueError: no key"):
        Coder(Broken()).unseal(Payload(b"1", "reversed"), {}.__getitem__)


@pytest.mark.parametrize(("coder", "here"), [(PLAIN, "there is none here"), (Coder(Reversed()), "here is 'reversed'")])
def test_a_payload_of_another_codec_says_which_is_needed(coder: Coder, here: str):
    with pytest.raises(PayloadNotDecodable, match="written by the codec 'vault'") as refused:
        coder.unseal(Payload(b"1", "vault"), {}.__getitem__)

    assert here in str(refused.value)
