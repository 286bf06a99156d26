"""The end of the log is torn off, or holds garbage: the database is what it was after some commit, and its runs go on.

With PERDURE_SOAK=1 everything is tried, and not only some of it.
"""

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from perdure import Engine, activity, workflow
from tests.disks import vfs
from tests.disks.lives import SOAK
from tests.disks.machine import NAME, content_in, machine_in

pytestmark = pytest.mark.skipif(not vfs.is_possible(), reason="this Python hides its SQLite")

LOG = f"{NAME}-wal"
HEADER, FRAME_HEADER, PAGE = 32, 24, 4_096
FRAME = FRAME_HEADER + PAGE
TAIL_COMMITS = 3


@activity
async def note(n: int) -> int:
    return n * n


@workflow
async def sums(count: int) -> int:
    total = 0
    for n in range(count):
        total += await note(n)
        await asyncio.sleep(0.001)
    return total + sum(await asyncio.gather(*[note(n) for n in range(count)]))


ALL = [sums, note]
COUNT, OUTCOME = 4, 28


class Copied(NamedTuple):
    """A database with its log, and after how many bytes of that there was which content."""

    files: dict[str, bytes]
    contents: dict[int, str]

    @property
    def log(self) -> bytes:
        return self.files[LOG]

    def with_log(self, log: bytes) -> dict[str, bytes]:
        return {**self.files, LOG: log}

    def after(self, size: int) -> str:
        """The content that the first so many bytes of the log make."""
        return self.contents[max(end for end in self.contents if end <= size)]

    @property
    def tail(self) -> range:
        """The bytes of the last commits."""
        return range(sorted(self.contents)[-TAIL_COMMITS - 1], len(self.log))


def commits_in(log: bytes) -> list[int]:
    """Where the commits of a log end: frames that say how large the database is after them."""
    frames = range(HEADER, len(log) - FRAME + 1, FRAME)
    return [at + FRAME for at in frames if struct.unpack_from(">I", log, at + 4)[0]]


@pytest.fixture(scope="module")
def copied() -> Copied:
    """As it is when a run has ended and the engine has not."""
    with machine_in() as machine, Engine(machine.new(), ALL) as engine:
        assert engine.run(sums(COUNT), id="sums").wait() == OUTCOME
        files = machine.disk.seen_at(len(machine.disk.steps))
    log = files[LOG]
    ends = [HEADER, *commits_in(log)]
    contents = {end: content_in({**files, LOG: log[:end]}) for end in ends}
    assert len(set(contents.values())) == len(ends) > 8
    return Copied(files, contents)


def places(copied: Copied, all_of_them: bool = False) -> Iterator[int]:
    """Bytes of the tail: those at the seams, and some of the others."""
    for at in copied.tail:
        in_frame = (at - HEADER) % FRAME
        if all_of_them or in_frame in (0, 4, 8, 16, 23, 24, FRAME - 1) or at % (7 if SOAK else 1_999) == 0:
            yield at


def test_a_log_that_ends_anywhere_is_read_up_to_the_last_commit_that_is_whole(copied: Copied):
    wrong = [
        size for size in places(copied, SOAK) if content_in(copied.with_log(copied.log[:size])) != copied.after(size)
    ]

    assert wrong == []


@pytest.mark.parametrize("what", ["a bit", "zeros", "garbage"])
def test_a_commit_with_a_wrong_byte_counts_as_none_and_so_does_what_follows(what: str, copied: Copied):
    chance = Random(what)
    wrong: list[int] = []
    for at in places(copied):
        log = bytearray(copied.log)
        if what == "a bit":
            log[at] ^= 1 << chance.randrange(8)
        elif what == "zeros":
            log[at:] = bytes(len(log) - at)
        else:
            log[at:] = chance.randbytes(len(log) - at + chance.randrange(3 * FRAME))
        differs = next((n for n in range(at, len(copied.log)) if log[n] != copied.log[n]), len(copied.log))
        if content_in(copied.with_log(bytes(log))) != copied.after(differs):
            wrong.append(at)

    assert wrong == []


def test_what_lies_behind_the_last_commit_does_not_count(copied: Copied):
    junk = [Random(n).randbytes(n * 777) for n in range(1, 9)] + [copied.log[-FRAME:], bytes(FRAME)]

    assert {content_in(copied.with_log(copied.log + each)) for each in junk} == {copied.after(len(copied.log))}


def test_from_each_commit_on_the_run_comes_to_the_right_end(copied: Copied, tmp_path: Path):
    torn = Random("torn")
    for n, end in enumerate(copied.contents):
        folder = tmp_path / str(n)
        folder.mkdir()
        for name, content in copied.with_log(copied.log[: end + torn.randrange(FRAME)]).items():
            (folder / name).write_bytes(content)
        with Engine(f"sqlite:///{folder}/{NAME}", ALL) as engine:
            before = engine.store.admin.check()
            outcome = engine.run(sums(COUNT), id="sums").wait()  # the same run, if it is there

            assert (before, outcome) == ([], OUTCOME), f"after {end} bytes"
            assert engine.store.admin.check() == [], f"after {end} bytes"
