"""The command line in processes of its own: in pipes, and in a terminal."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PERDURE = [sys.executable, "-m", "perdure.cli.main"]
PATIENCE_S = 300.0
"""How long to wait for what must happen before a test gives up; only what hangs takes so long."""


def wait_for(what: Callable[[], object], name: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, f"{name} did not happen within {PATIENCE_S:g} s"
        time.sleep(0.01)


class Place:
    """A working folder with a database, in which commands are called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE))),
            "PERDURE_DB": f"sqlite:///{folder / 'runs.db'}",
            "TERM": "xterm-256color",
        }
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED"):
            self.env.pop(name, None)
        self.started: list[subprocess.Popen[str]] = []

    def perdure(self, *arguments: str, input: str = "") -> "subprocess.CompletedProcess[str]":
        """Call a command and wait for its end."""
        return subprocess.run([*PERDURE, *arguments], cwd=self.folder, env=self.env, input=input,
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)  # fmt: skip

    def begin(self, *command: str) -> "subprocess.Popen[str]":
        """Start a program and go on."""
        process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        self.started.append(process)
        return process

    def engine(self) -> "subprocess.Popen[str]":
        """Start an engine in a process of its own, and wait until it is there."""
        process = self.begin(sys.executable, str(HERE / "engine.py"))
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    def ledger(self) -> list[str]:
        file = self.folder / "ledger"
        return file.read_text().split() if file.exists() else []

    def wait_at_gate(self) -> None:
        """Wait until a workflow stands before the gate."""
        wait_for((self.folder / "gate.waits").exists, "waiting at the gate")

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


SHOP = str(HERE / "shop.py")


class Terminal:
    """A command in a terminal of 100 by 30 cells."""

    def __init__(self, place: Place, *arguments: str) -> None:
        self.screen, keyboard = pty.openpty()
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            [*PERDURE, *arguments], cwd=place.folder, env=place.env, stdin=keyboard, stdout=keyboard, stderr=keyboard,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(keyboard, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(keyboard)
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read until the terminal was shown a text that it was not shown before this call."""
        begin, end = len(self.shown), time.monotonic() + PATIENCE_S
        while text not in plain(self.shown[begin:]):
            assert time.monotonic() < end, f"{text!r} was not shown within {PATIENCE_S:g} s, but: {plain(self.shown)}"
            assert self._read(), f"{text!r} was not shown, but: {plain(self.shown)}"

    def ended(self) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + PATIENCE_S
        while self._read():
            assert time.monotonic() < end, f"the command did not end within {PATIENCE_S:g} s: {plain(self.shown)}"
        return self.process.wait(PATIENCE_S)

    def _read(self) -> bool:
        """Take what was written meanwhile; false when the command has closed its side, and everything is read."""
        ready, _, _ = select.select([self.screen], [], [], 0.1)
        if not ready:
            return True
        try:
            data = os.read(self.screen, 65_536)
        except OSError:  # the other side is closed
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


def plain(shown: str) -> str:
    """What was shown, without the codes that move the cursor and change colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "")


@pytest.fixture
def terminal(place: Place) -> Iterator[Callable[..., Terminal]]:
    """Starts commands in terminals."""
    terminals: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        terminals.append(Terminal(place, *arguments))
        return terminals[-1]

    yield start
    for each in terminals:
        each.close()
