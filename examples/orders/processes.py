"""Child processes of the demo: easy to kill, and gone when the driver is gone, however it ended."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The directory that holds `examples` (and, in a clone, `perdure`)."""


def end_with_parent() -> None:
    """End this process when its standard input ends: the driver holds the other end, and drops it even if killed.

    Without a driver (standard input is no pipe) nothing happens.
    """
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


class Child:
    """A Python module that runs in a process group of its own; what it says on stderr goes to a log file."""

    def __init__(self, name: str, module: str, arguments: list[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._first_line = ""
        self._spoke = threading.Event()
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
                env={**os.environ, **env},
                start_new_session=True,  # Ctrl-C is for the driver, which then cleans up
            )
        self.pid = self._process.pid
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        self._first_line = self._process.stdout.readline().decode().strip()
        self._spoke.set()
        while self._process.stdout.read(65536):
            pass

    def said(self, timeout: float = 20.0) -> str:
        """Its first line on stdout, by which each of our processes says that it is ready.

        Raises:
            ChildFailed: it ended or was silent for `timeout` seconds instead.
        """
        if not self._spoke.wait(timeout):
            raise ChildFailed(f"{self.name} said nothing for {timeout:g} s", self)
        if not self._first_line:
            raise ChildFailed(f"{self.name} ended before it was ready", self)
        return self._first_line

    @property
    def is_ready(self) -> bool:
        return self._spoke.is_set() and bool(self._first_line)

    def exit_code(self, timeout: float = 0.0) -> int | None:
        """Its exit code, or None if it still runs after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> float:
        """SIGKILL to the whole group: no warning, no cleanup. Returns the time of death."""
        died_at = time.time()
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return died_at


class ChildFailed(Exception):
    """A child process did not do what it is for; the message ends with the last lines of its log."""

    def __init__(self, what: str, child: Child) -> None:
        lines = child.log.read_text(errors="replace").splitlines()[-25:]
        super().__init__("\n".join([f"{what} (log: {child.log})", *(f"    {line}" for line in lines)]))
