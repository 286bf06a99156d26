"""The processes of the storm: easy to kill, to freeze and to look at, and gone when the driver is gone, however it ended."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EDITION = "PERDURE_CHAOS_EDITION"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _on_a_leash() -> None:
    """In the child: the system kills it when the driver dies. (The driver has no other threads when it forks.)"""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One process in a session of its own. What it says on either stream goes to its log.

    `edition`: of its code. `doomed`: it was killed, or told to end, and so may be gone. `frozen_until` is 0 unless it is stopped now.
    """

    def __init__(self, name: str, role: str, command: list[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.role = role
        self.log = log
        self.edition = int(env[EDITION])
        self.born_at = time.time()
        self.doomed = ""
        self.frozen_until = 0.0
        self.sizes: list[tuple[float, int, int]] = []
        """When, resident bytes, open descriptors."""
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env={**os.environ, **env},
                start_new_session=True,
                preexec_fn=_on_a_leash,
            )
        self.pid = self._process.pid

    @property
    def frozen(self) -> bool:
        return self.frozen_until > 0

    def exit_code(self) -> int | None:
        return self._process.poll()

    def is_ready(self) -> bool:
        """Whether it has said that it can be told to end."""
        return f"ready {self.pid}\n" in self.log.read_text(errors="replace")

    def kill(self) -> float:
        """SIGKILL, to it alone. Gives the time of death."""
        self.doomed = "killed"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        return time.time()

    def stop(self) -> None:
        """SIGTERM: it may finish what it does."""
        self.doomed = "stopped"
        self._process.send_signal(signal.SIGTERM)

    def freeze(self, until: float) -> None:
        self.frozen_until = until
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.frozen_until = 0.0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    def measure(self) -> None:
        """Note how large it is, where the system tells."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            descriptors = len(os.listdir(f"/proc/{self.pid}/fd"))
        except (OSError, IndexError):
            return
        self.sizes.append((time.time(), pages * os.sysconf("SC_PAGE_SIZE"), descriptors))


def left_of(sessions: set[int]) -> list[int]:
    """Processes that are still there of sessions whose leader is gone; [] where the system does not tell."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) in sessions and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found
