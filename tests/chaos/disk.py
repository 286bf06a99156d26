"""A small disk of one's own, that can be filled; and files that may not grow."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path


class Disk:
    """Where the database lies: a file system of its own of that size if this user may mount one, else a plain folder, which
    nobody can fill. `name` says which."""

    def __init__(self, folder: Path, size_bytes: int | None) -> None:
        folder.mkdir()
        self.folder = folder
        self._ballast = folder / "ballast"
        self.can_be_filled = False
        self.name = "the folder's own"
        if size_bytes is not None and sys.platform == "linux" and os.geteuid() == 0:
            self.can_be_filled = _runs(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)])
        if self.can_be_filled:
            self.name = f"a tmpfs of {(size_bytes or 0) >> 20} MiB"

    def fill(self) -> None:
        """Take what is free, to the last page."""
        with self._ballast.open("ab", buffering=0) as file:
            with contextlib.suppress(OSError):
                block = bytes(1 << 20)
                while True:
                    file.write(block)
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def size(self, name: str) -> int:
        """Of a file that may not be there."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """The mount goes with all that is in it."""
        if self.can_be_filled:
            _runs(["umount", "-l", str(self.folder)])
            self.can_be_filled = False


def cap_files(pid: int, size_bytes: int | None) -> bool:
    """Let the files that a process writes not grow over so many bytes; None takes that back. Whether it could be done."""
    try:
        import resource

        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))
    except (ImportError, AttributeError, OSError):
        return False
    return True


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False
