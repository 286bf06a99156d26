"""What comes over the socket of a child process: messages, or what somebody else has written to its descriptor."""

import socket

from hypothesis import example, given
from hypothesis import strategies as st

from perdure.kernel.events import Failure, LogRecord, Payload
from perdure.runtime.child_wire import Beat, Ended, Line, Logged, Ready, Told, Wrote, framed, read_stored, stored_order
from tests.fuzz.effort import bad_bytes, fuzz

SAID: list[Told] = [
    Ready(),
    Beat(5, Payload(b"[1]")),
    Logged(5, LogRecord(1, 20, "logger", "text")),
    Wrote(5, "out", b'"x"'),
    Ended(Payload(b"digest", ref=True), b"large" * 10),
    Ended(failure=Failure("ValueError", "no", "Traceback")),
]
some_said = st.lists(st.sampled_from(SAID), min_size=1, max_size=3).map(lambda said: b"".join(map(framed, said)))


@given(bad_bytes(some_said), st.integers(0, 40))
@example(b"a library prints this, and more than the eight bytes of a length", 0)
@example(framed(Ready()) + b"\xff" * 8 + b"x", 9)
@fuzz(200)
def test_what_a_child_says_is_understood_or_ends_the_line(data: bytes, cut: int) -> None:
    parent, child = socket.socketpair()
    try:
        line = Line(parent)
        told: list[Told] = []
        for part in (data[:cut], data[cut:]):
            if part and not line.over:
                child.sendall(part)
                told += line.receive()
        child.close()
        while not line.over:
            told += line.receive()
    finally:
        parent.close()
        child.close()

    assert all(isinstance(each, Told) for each in told)


def test_text_that_somebody_prints_into_the_line_is_not_waited_for() -> None:
    parent, child = socket.socketpair()
    with parent, child:
        line = Line(parent)
        child.sendall(b"warning: a library has found a descriptor")
        line.receive()

        assert line.over and line.garbled


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
@fuzz(100)
def test_orders_about_stored_bytes_are_told_from_others(order: int, serial: int) -> None:
    size = read_stored(order, serial)

    assert size is None or 0 <= size < 1 << 47
    told = int.from_bytes(stored_order(serial, order))
    assert read_stored(told, serial) == min(order, (1 << 47) - 1)
