"""An engine in a process of its own that is started anew when its files change; and the watch over these files.

        begin                    told Ready
idle ──────────► starting ─────────────────────► running ──┐ ended by itself
  ▲                 │ told Broken, or ended                │
  │                 ▼                                      ▼
  └──── end ──── waiting for a change ◄──────── (again at once, if it had run for a while)
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

import msgspec

from perdure.cli.dev import said
from perdure.cli.dev_engine import Broken, Owns, Ready, Told
from perdure.cli.options import Settings

PATIENCE_S = 15.0
"""How long an engine that is asked to end may take before it is killed: it drains for five seconds."""

SETTLED_S = 5.0
"""An engine that dies sooner after its start would die again: it waits for a change."""

COARSE_NS = 20_000_000
"""So much may the clock of a file system be behind."""

_decoder = msgspec.json.Decoder(Told)


class Said(NamedTuple):
    """An engine's process, by its number, says something; None when it says nothing any more."""

    number: int
    what: Told | None


class Changed(NamedTuple):
    """Files that are watched were written."""

    paths: list[str]


class Reloading:
    """The engine of `perdure dev`. All that happens comes through the queue, and is given to `take` by its reader."""

    def __init__(
        self, settings: Settings, events: "SimpleQueue[Any]", address: str, places: Iterable[str], watches: bool
    ) -> None:
        self._settings = settings
        self._events = events
        self._address = address
        self._places = list(places)
        self._watches = watches
        self._process: Process | None = None
        self._watch: Watch | None = None
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._leave_files()
        if self._process is not None:
            self._process.kill()

    def begin(self) -> None:
        self._number += 1
        self._process = Process(self._number, self._address, self._places, self._events)

    def end(self, hurried: Callable[[], bool]) -> None:
        """Let it finish; `hurried` is asked whether there is no time for that."""
        self._leave_files()
        process, self._process = self._process, None
        if process is not None and not process.end(hurried):
            said(self._settings, "failed", ("the engine did not end and was killed", "failed"))

    def take(self, event: Any) -> None:
        """React to something that has happened."""
        match event:
            case Changed(paths) if not self._has_seen(paths):
                self._reload(paths)
            case Said(number, what) if number == self._number and self._process is not None:
                if what is None:
                    self._ended(self._process)
                else:
                    self._heard(self._process, what)

    def _heard(self, process: "Process", what: Told) -> None:
        match what:
            case Ready():
                process.is_ready = True
                self._look_after(process, what.files)
                self._say_ready(process, what)
            case Owns():
                said(self._settings, "running", ("the engine owns the database now", ""))
            case Broken():
                process.is_broken = True
                self._look_after(process, what.files)
                self._say_broken(what)

    def _say_ready(self, process: "Process", ready: Ready) -> None:
        counts = f"{_counted(ready.workflows, 'workflow')}, {_counted(ready.activities, 'activity', 'activities')}"
        watching = f"   watching {_counted(len(ready.files), 'file')}" if self._watches else ""
        build = f"   build {ready.build[:7]}   process {process.pid}"
        self._settings.narrate([("  engine            ", "dim"), (counts, ""), (build + watching, "dim")])
        if not ready.owns:
            self._settings.narrate(
                [("  another engine holds this database; this one stands by until that is gone", "held")]
            )

    def _say_broken(self, broken: Broken) -> None:
        said(self._settings, "failed", (broken.message, "failed"))
        for fact in broken.facts:
            self._settings.narrate([(f"             {fact}", "dim")])
        if broken.hint:
            self._settings.narrate([("             hint", "hint"), (f": {broken.hint}", "")])
        self._say_waiting()

    def _say_waiting(self) -> None:
        what = "waiting for a change" if self._watches else "start  perdure dev  again when it is mended"
        self._settings.narrate([(f"             {what}", "dim")])

    def _ended(self, process: "Process") -> None:
        """It has ended although nobody has asked it to."""
        self._process = None
        ending = process.ending()
        if process.is_broken:
            return
        said(self._settings, "failed", (f"the engine's process has ended: {ending}", "failed"))
        if process.is_ready and time.monotonic() - process.began >= SETTLED_S:
            self.begin()
        else:
            self._say_waiting()

    def _reload(self, paths: list[str]) -> None:
        names = ", ".join(sorted({_short(path) for path in paths})[:3])
        said(self._settings, "retrying", (f"{names} changed", "bold"), ("  starting the engine anew", "dim"))
        process, self._process = self._process, None
        if process is not None and not process.end(lambda: False):
            said(self._settings, "failed", ("the old engine did not end and was killed", "failed"))
        self.begin()

    def _has_seen(self, paths: list[str]) -> bool:
        """Whether the engine was started after the files were written."""
        process = self._process
        return process is not None and all(0 < _written_ns(path) <= process.began_ns for path in paths)

    def _look_after(self, process: "Process", files: list[str]) -> None:
        """Watch the files of the engine that was started last; one that was written meanwhile has changed."""
        if not self._watches:
            return
        self._leave_files()
        self._watch = Watch(files, self._events)
        late = [path for path in files if _written_ns(path) > process.began_ns]
        if late:
            self._events.put(Changed(late))

    def _leave_files(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None


class Process:
    """One engine's process, from its start to its end."""

    def __init__(self, number: int, address: str, places: list[str], events: "SimpleQueue[Any]") -> None:
        self.began = time.monotonic()
        self.began_ns = time.time_ns() - COARSE_NS
        self.is_ready = False
        self.is_broken = False
        self._link, theirs = socket.socketpair()
        command = [sys.executable, "-m", "perdure.cli.dev_engine", str(theirs.fileno()), *places]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True
            )
        with contextlib.suppress(OSError):  # it has died already, which is heard
            self._link.sendall(f"{address}\n".encode())
        threading.Thread(target=self._listen, args=(number, events), name="perdure-dev-engine", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _listen(self, number: int, events: "SimpleQueue[Any]") -> None:
        with contextlib.suppress(OSError), self._link.makefile("rb") as lines:
            for line in lines:
                events.put(Said(number, _decoder.decode(line)))
        self._process.wait()
        events.put(Said(number, None))

    def end(self, hurried: Callable[[], bool]) -> bool:
        """Ask it to end and wait for that; false if it had to be killed."""
        self._process.terminate()
        patience = time.monotonic() + PATIENCE_S
        while time.monotonic() < patience and not hurried():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                return True
        return self.kill()

    def kill(self) -> bool:
        """End it at once; true if it had ended."""
        if self._process.poll() is not None:
            return True
        self._process.kill()
        self._process.wait()
        return False

    def ending(self) -> str:
        code = self._process.wait()
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


class Watch:
    """Tells when one of the files is written, replaced or removed."""

    def __init__(self, files: Iterable[str], events: "SimpleQueue[Any]") -> None:
        self._files = {os.path.realpath(file) for file in files}
        self._events = events
        self._written = {file: _written_ns(file) for file in self._files}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="perdure-dev-watch", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        from watchfiles import watch

        folders = {str(Path(file).parent) for file in self._files}
        folders = {folder for folder in folders if os.path.isdir(folder)}
        if not folders:
            return
        is_first = True
        for changes in watch(*folders, recursive=False, watch_filter=self._is_ours, stop_event=self._ended, step=50,
                             debounce=400, rust_timeout=500, yield_on_timeout=True, raise_interrupt=False):  # fmt: skip
            paths = {path for _, path in changes}
            if is_first:  # what was written while the watch was being set up
                paths |= {file for file, written in self._written.items() if _written_ns(file) != written}
                is_first = False
            if paths:
                self._events.put(Changed(sorted(paths)))

    def _is_ours(self, change: Any, path: str) -> bool:
        return os.path.realpath(path) in self._files

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def _written_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _counted(number: int, one: str, many: str = "") -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {many or one + 's'}"
