"""Poolers in transaction mode: each transaction may get another connection of the server.

`OwnPooler` is one of the tests' own, the worst there can be: it takes another connection for each transaction, whenever it has
one, so that what a session keeps is never found again. `PgBouncer` is the one everybody uses, where it is installed.
"""

import os
import pwd
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Self

import psycopg

from tests.postgres.server import Missing, Server, free_port

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
SESSION_STATE = """
SELECT (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()),
       (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
       (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relnamespace = pg_my_temp_schema()),
       (SELECT count(*) FROM pg_settings WHERE source = 'session')
"""
"""What a session of the server keeps, if anything: prepared statements, channels, locks, tables, settings."""


class OwnPooler:
    """Speaks as much of the protocol as it takes to know where a transaction ends. `size`: connections to the server."""

    def __init__(self, server: Server, database: str, size: int = 5) -> None:
        self._target = server.port
        self._database = database
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._free: deque[socket.socket] = deque()
        self._changed = threading.Condition()
        self._size = size
        self._made = 0

    def address(self) -> str:
        return f"postgresql://perdure@127.0.0.1:{self.port}/{self._database}?sslmode=disable&gssencmode=disable"

    def session_states(self) -> list[list[int]]:
        """Of each of its connections, when nobody uses them."""
        with self._changed:
            free = list(self._free)
        return [_ask(server, SESSION_STATE) for server in free]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        with self._changed:
            for server in self._free:
                server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        try:
            if not self._greet(client):
                return
            while True:
                kind, message = _read(client)
                if kind == b"X":
                    return
                server = server or self._taken()
                server.sendall(message)
                if self._relayed(client, server):
                    self._give_back(server)
                    server = None
        except OSError:
            pass
        finally:
            client.close()
            if server is not None:  # in the middle of a transaction, which ends with its connection
                self._drop(server)

    def _greet(self, client: socket.socket) -> bool:
        while True:
            size, code = struct.unpack("!II", _exactly(client, 8))
            _exactly(client, size - 8)
            if code == _CANCEL:
                return False
            if code not in (_SSL, _GSS):
                break
            client.sendall(b"N")
        settings = {"server_version": "15.0", "client_encoding": "UTF8", "standard_conforming_strings": "on"}
        settings |= {"integer_datetimes": "on", "DateStyle": "ISO, MDY", "server_encoding": "UTF8", "TimeZone": "UTC"}
        told = b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in settings.items())
        client.sendall(_message(b"R", struct.pack("!I", 0)) + told + _message(b"Z", b"I"))
        return True

    def _relayed(self, client: socket.socket, server: socket.socket) -> bool:
        """Pass on what there is from both, until the transaction is over, or the client has to say more."""
        while True:
            readable, _, _ = select.select([client, server], [], [])
            if server in readable:
                kind, message = _read(server)
                client.sendall(message)
                if kind == b"Z":
                    return message[-1:] == b"I"
            elif client in readable:
                kind, message = _read(client)
                if kind == b"X":
                    raise OSError("the client has left")
                server.sendall(message)

    def _taken(self) -> socket.socket:
        """The one that was not used for longest, and a new one as long as there may be more."""
        with self._changed:
            while self._made >= self._size and not self._free:
                self._changed.wait()
            if self._made >= self._size:
                return self._free.popleft()
            self._made += 1
        try:
            return self._connected()
        except OSError:
            with self._changed:
                self._made -= 1
            raise

    def _give_back(self, server: socket.socket) -> None:
        with self._changed:
            self._free.append(server)
            self._changed.notify()

    def _drop(self, server: socket.socket) -> None:
        server.close()
        with self._changed:
            self._made -= 1
            self._changed.notify()

    def _connected(self) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", self._target))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = f"user\0perdure\0database\0{self._database}\0\0".encode()
        server.sendall(struct.pack("!II", len(said) + 8, 3 << 16) + said)
        while (read := _read(server))[0] != b"Z":
            if read[0] == b"E":
                raise OSError(read[1].decode(errors="replace"))
        return server


class PgBouncer:
    """The real one, in transaction mode.

    Raises:
        Missing: it is not installed here.
    """

    def __init__(self, server: Server, database: str, size: int = 5) -> None:
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise Missing("no pgbouncer on this machine")
        self._database = database
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="perdure-pgbouncer-"))
        user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
        config = self._folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n{database} = host=127.0.0.1 port={server.port} dbname={database} user=perdure\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = transaction\ndefault_pool_size = {size}\nserver_round_robin = 1\nserver_login_retry = 0.1\nlogfile = {self._folder}/log\n"
        )
        self._folder.chmod(0o777)
        config.chmod(0o644)
        self._process = subprocess.Popen(
            [program, "-q", str(config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user,
        )  # fmt: skip

    def address(self) -> str:
        return f"postgresql://perdure@127.0.0.1:{self.port}/{self._database}"

    def __enter__(self) -> Self:
        while self._process.poll() is None:
            try:
                psycopg.connect(self.address(), connect_timeout=2).close()
                return self
            except psycopg.OperationalError:
                continue
        raise Missing(f"pgbouncer ended at once: {(self._folder / 'log').read_text()[-1_000:]}")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _read(end: socket.socket) -> tuple[bytes, bytes]:
    """One message: its kind, and all of it."""
    head = _exactly(end, 5)
    (size,) = struct.unpack("!I", head[1:])
    return head[:1], head + _exactly(end, size - 4)


def _exactly(end: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = end.recv(size - len(got))
        if not more:
            raise OSError("the other end has closed")
        got += more
    return got


def _ask(server: socket.socket, sql: str) -> list[int]:
    """The numbers of the one row that a question has as its answer."""
    server.sendall(_message(b"Q", sql.encode() + b"\0"))
    numbers: list[int] = []
    while (read := _read(server))[0] != b"Z":
        kind, message = read
        if kind == b"D":
            (count,), rest = struct.unpack("!H", message[5:7]), message[7:]
            for _ in range(count):
                (size,), rest = struct.unpack("!i", rest[:4]), rest[4:]
                numbers.append(int(rest[:size]))
                rest = rest[size:]
    return numbers
