"""A client's way of asking: again and again under the same name, until there is an answer, and all of it is written down.

The diary is what the client says that it was told. It outlives the client: one that was killed goes on with the job that it
was at, from its beginning, with the same requests.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from perdure import Client, errors

T = TypeVar("T")

UNCERTAIN = (errors.StoreError, errors.EngineNotRunning, errors.WaitedTooLong)
"""Whoever gets one of these does not know what became of the request, and makes it again."""

PAUSE = 0.1


class Stopped(Exception):
    """The client is to end, and the storm is not over: the job is left to whoever comes after it."""


class Diary:
    """Lines of JSON in a file of one client's own; each is there when `note` returns, whoever is killed then."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self.folder = path.parent
        self.lines = list(read(path))
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")  # who was before has not come to the end of its line

    def note(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"kind": kind, "at": time.time(), **fields}) + "\n"
        with self._lock:
            os.write(self._file, line.encode())


def all_read(folder: Path) -> list[dict[str, Any]]:
    """The lines of all clients."""
    return [line for path in sorted(folder.glob("client-*.jsonl")) for line in read(path)]


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a diary, without one that was not written to its end."""
    found: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


class Caller:
    """Asks for one role of a client. `begun` is its last job that was begun, `done` the last that is finished."""

    def __init__(self, name: str, role: str, address: str, diary: Diary, over: threading.Event, left: threading.Event):
        self.name = name
        self.role = role
        self.address = address
        self.diary = diary
        self.over = over
        self._left = left
        self.client = self._opened()
        self.begun, self.done = self._last("begun"), self._last("done")

    def _last(self, kind: str) -> int:
        lines = self.diary.lines
        return max((line["n"] for line in lines if line["kind"] == kind and line["role"] == self.role), default=-1)

    def _opened(self) -> Client:
        while True:
            try:
                return Client(self.address)
            except errors.StoreError:
                self.pause()

    def pause(self, seconds: float = PAUSE) -> None:
        if self._left.wait(seconds):
            raise Stopped

    def insist(self, ask: Callable[[], T]) -> T:
        """The answer to what is asked until there is one."""
        while True:
            try:
                return ask()
            except UNCERTAIN:
                self.pause()

    def start(self, workflow: str, id: str, args: list[Any], **options: Any) -> Any:
        """Start a run, once, and note that it was accepted."""
        options.setdefault("request_id", f"start-{id}")
        handle = self.insist(lambda: self.client.start(workflow, args, id=id, **options).wait())
        self.diary.note("started", id=id, workflow=workflow, run_id=handle.run_id)
        return handle

    def end_of(self, id: str) -> Any:
        """Wait for the end of a run and note it: its result, or the code of the error it has ended with."""

        def ask() -> tuple[str, Any]:
            try:
                return "result", self.client.handle(id).result(timeout=2).wait()
            except errors.RunBlocked as blocked:  # by an engine of the first edition, after one of the second
                raise errors.WaitedTooLong(str(blocked)) from blocked
            except errors.RunDidNotComplete as error:
                return error.code, str(error)

        how, value = self.insist(ask)
        self.diary.note("ended", id=id, how=how, value=value)
        return value if how == "result" else None
