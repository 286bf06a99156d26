"""Texts as PostgreSQL takes them, which knows no character NUL. What people choose (an id, a name, an attribute) was refused with one
before it comes here; what is written for people to read (a note, the message of an exception) shows its sign instead."""

import re
from typing import Any

import msgspec

NUL_SIGN = "\u2400"

_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_encoder = msgspec.json.Encoder()


def legible(text: str) -> str:
    return text.replace("\0", NUL_SIGN) if "\0" in text else text


def to_json(value: Any) -> str:
    """Bytes as base64.

    Raises:
        UnicodeEncodeError: half a character is in it, which is no text at all.
    """
    data = _encoder.encode(value)
    if b"\\u0000" in data:
        data = _NUL.sub(rb"\1" + NUL_SIGN.encode(), data)
    return data.decode()
