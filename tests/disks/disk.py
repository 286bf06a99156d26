"""A disk that is simulated: what is written to it is there for whoever reads, and survives a power failure once it is synced.

The files themselves are what the operating system shows its processes. A `Platter` follows what is done to them, and knows
what would be left if the power failed now.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from tests.disks.vfs import IOERR, OK, What, watching

SECTOR = 512
"""What a disk writes whole, or not at all; but the one it is at when the power fails may hold anything."""

Done = Literal["make", "write", "truncate", "sync", "delete"]

Fates = Literal["nothing", "everything", "some", "torn", "first"]
"""What becomes of that which was written and not synced: each write survives or does not; or each of its sectors; or those up
to a moment, the last of them torn."""

FATES: tuple[Fates, ...] = ("nothing", "everything", "some", "torn", "first")


class Step(NamedTuple):
    """What was done to a file. `size` is where a write begins, what a file is cut to; or whether entries of the folder are
    made durable by it."""

    what: Done
    name: str
    size: int = 0
    data: bytes = b""


class _File:
    """What is on the platter, what everybody sees, and the writes between the two."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.seen = bytearray(content)
        self.pending: list[Step] = []

    def left(self, chance: Random, fate: Fates) -> bytes:
        content = bytearray(self.durable)
        last = chance.randrange(len(self.pending) + 1)
        for n, step in enumerate(self.pending):
            if fate == "everything" or (fate == "some" and chance.random() < 0.5) or (fate == "first" and n < last):
                _do(content, step)
            elif fate == "torn" or (fate == "first" and n == last):
                _do_torn(content, step, chance)
        return bytes(content)


def _do(content: bytearray, step: Step) -> None:
    if step.what == "truncate":
        del content[step.size :]
        content.extend(bytes(step.size - len(content)))
        return
    end = step.size + len(step.data)
    content.extend(bytes(max(end - len(content), 0)))
    content[step.size : end] = step.data


def _do_torn(content: bytearray, step: Step, chance: Random) -> None:
    """Each sector of a write by itself; of one there may be garbage."""
    if step.what == "truncate":
        return
    garbled = chance.randrange(len(step.data) * 4)
    for begin in range(0, len(step.data), SECTOR):
        part = step.data[begin : begin + SECTOR]
        if begin <= garbled < begin + SECTOR:
            _do(content, Step("write", step.name, step.size + begin, chance.randbytes(len(part))))
        elif chance.random() < 0.5:
            _do(content, Step("write", step.name, step.size + begin, part))


class Platter:
    """Files of a folder, and the names under which they are found: of those, too, some are durable and some are not yet.

    `honest`: whether a sync makes anything durable."""

    def __init__(self, files: Mapping[str, bytes], honest: bool = True) -> None:
        self._honest = honest
        self._entries = {name: _File(content) for name, content in files.items()}
        self._durable = dict(self._entries)

    def do(self, step: Step) -> None:
        if step.what == "make":
            self._entries[step.name] = _File()
            return
        if step.what == "delete":
            del self._entries[step.name]
            if step.size and self._honest:
                self._durable = dict(self._entries)
            return
        file = self._entries[step.name]
        if step.what == "sync":
            if self._honest:
                for each in file.pending:
                    _do(file.durable, each)
                file.pending.clear()
                if step.size:
                    self._durable = dict(self._entries)
        else:
            _do(file.seen, step)
            file.pending.append(step)

    def fail_sync(self, name: str, chance: Random) -> None:
        """The system takes what was to be written for written, and will not try again; each write got there or did not."""
        file = self._entries[name]
        file.durable = bytearray(file.left(chance, "some"))
        file.pending.clear()

    def seen(self) -> dict[str, bytes]:
        """What processes see, and go on with if only they die."""
        return {name: bytes(file.seen) for name, file in self._entries.items()}

    def left(self, chance: Random, fate: Fates) -> dict[str, bytes]:
        """What is there when the power has failed now and is back."""
        left: dict[str, bytes] = {}
        for name in sorted({*self._entries, *self._durable}):
            found = (self._durable if chance.random() < 0.5 else self._entries).get(name)
            if found is not None:
                left[name] = found.left(chance, fate)
        return left


class Disk:
    """What happens to the files of a folder, one generation: from when the power comes on until it fails.

    `cut` is asked at each step whether the power fails there: that step is under way. `trouble` gives a result code for what
    SQLite wants to do, `wait` is told of each step, and of pauses that SQLite makes."""

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, bytes],
        chance: Random,
        cut: Callable[[], bool] = lambda: False,
        trouble: Callable[[What, str], int] = lambda what, name: OK,
        wait: Callable[[What, float], None] = lambda what, seconds: None,
        honest: bool = True,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        self.power = True
        self.steps: list[Step] = []
        self.began_with = dict(files)
        self.platter = Platter(files, honest)
        self.watching = watching(os.fspath(folder), self)
        self._chance = chance
        self._cut = cut
        self._trouble = trouble
        self._wait = wait
        self._syncs_entry: set[str] = set()

    def seen_at(self, position: int) -> dict[str, bytes]:
        """What processes saw after so many steps."""
        platter = Platter(self.began_with)
        for step in self.steps[:position]:
            platter.do(step)
        return platter.seen()

    # what SQLite does

    def asked(self, what: What, name: str) -> int:
        if not self.power:
            return IOERR
        return self._trouble(what, name)

    def opened(self, name: str, made: bool, syncs_entry: bool) -> None:
        if made and self.power:
            self._do(Step("make", name))
            if syncs_entry:
                self._syncs_entry.add(name)

    def deleted(self, name: str, synced: bool) -> int:
        code = self._begin("delete", name)
        if code == OK and (self.folder / name).exists():
            return self._do(Step("delete", name, synced))
        return code

    def written(self, name: str, offset: int, data: bytes) -> tuple[int, int]:
        code = self._begin("write", name)
        if code and self.power:
            part = len(data) // 2  # it got so far
            self._do(Step("write", name, offset, data[:part]))
            return code, part
        if code or self._do(Step("write", name, offset, data)):
            return IOERR, 0
        return OK, len(data)

    def truncated(self, name: str, size: int) -> int:
        return self._begin("truncate", name) or self._do(Step("truncate", name, size))

    def synced(self, name: str) -> int:
        code = self._begin("sync", name)
        if code == OK:
            entry = name in self._syncs_entry
            self._syncs_entry.discard(name)
            code = self._do(Step("sync", name, entry))
        elif self.power:
            self.platter.fail_sync(name, self._chance)
        return code

    def slept(self, seconds: float) -> bool:
        self._wait("lock", seconds)
        return True

    def _begin(self, what: What, name: str) -> int:
        code = self.asked(what, name)
        if code == OK:
            self._wait(what, 0.0)
        return code

    def _do(self, step: Step) -> int:
        """A step. If the power fails in it, a sync has not come to its end, and anything else may have."""
        cut = self._cut()
        if not cut or step.what in ("write", "truncate"):
            self.steps.append(step)
            self.platter.do(step)
        if cut:
            self.power = False
            return IOERR
        return OK
