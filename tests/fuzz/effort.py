"""How hard to try. As part of all tests: the same few hundred cases each time. `make fuzz MINUTES=10`: others each time.

What was found stays: as an `@example` beside the property that it broke.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

T = TypeVar("T")
LONG = os.environ.get("PERDURE_FUZZ") == "long"
"""Whether time is no object, nor is it the same each time."""


def fuzz(examples: int) -> Callable[[Any], Any]:
    """A property over so many cases; a hundred times as many if there is time."""
    return settings(
        max_examples=examples * 100 if LONG else examples,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def mutated(draw: Any, seeds: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were good: bits are flipped, parts left out, put in, repeated or cut off."""
    data = bytearray(draw(seeds))
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 6)):
            case 0:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                data[at] = draw(st.integers(0, 255))
            case 2:
                del data[at : at + draw(st.integers(1, 8))]
            case 3:
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case 4:
                del data[at:]
            case 5:
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case _:  # what means much in msgpack: nil, never used, false, the longest arrays, maps, bytes and texts
                data[at] = draw(st.sampled_from([0xC0, 0xC1, 0xC2, 0xDC, 0xDD, 0xDF, 0xC6, 0xDB, 0x91, 0x81, 0xFF]))
    return bytes(data)


def bad_bytes(seeds: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Good bytes that were changed, mostly; or any."""
    return st.one_of(mutated(seeds), mutated(seeds), mutated(seeds), st.binary(max_size=60))


odd_texts = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(), max_size=20),
    st.text(
        st.sampled_from("0123456789.,:;-+eE=<>!&|()[]{}\"'\\/%~ \t\n\0smhdw@#$*?_\u00b5\ud800\U0001f600"), max_size=40
    ),
    st.sampled_from(
        ["", " ", "..", ".", "~", "null", "true", "NaN", "-Infinity", "1e999", "0" * 400, "9" * 400, "[" * 5000]
    ),
)
"""Texts that somebody types, or a program that is wrong sends."""
