"""Nudges from other processes: a datagram socket in the temp folder, named after the database, for its owner and for each
worker of its queues.

Only a hint. Without it (no such socket, another temp folder, a full buffer) mail and tasks are found by polling.
"""

import contextlib
import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable

_NUDGE = b"!"
_JOIN_SECONDS = 1.0


def socket_path(database: str) -> str:
    """Where the owner of a database listens; short, since systems allow about 100 characters."""
    digest = hashlib.sha256(os.fsencode(database)).hexdigest()[:20]
    return os.path.join(tempfile.gettempdir(), f"perdure-{digest}")


def worker_socket_path(database: str, member: int) -> str:
    """Where a worker of its queues listens."""
    return f"{socket_path(database)}-{member}"


def remove_worker_socket(database: str, member: int) -> None:
    """What a worker leaves that has died."""
    with contextlib.suppress(OSError):
        os.unlink(worker_socket_path(database, member))


class Listener:
    """A thread that calls `on_nudge` when nudges have come to the socket of that path; several at once count as one."""

    def __init__(self, path: str, on_nudge: Callable[[], None]) -> None:
        self._path = path
        self._on_nudge = on_nudge
        self._closing = False
        self._socket = _bound(self._path)
        # It gets the socket here: it may come to run only when all is over.
        self._thread = threading.Thread(target=self._listen, args=(self._socket,), name="perdure-nudges", daemon=True)
        if self._socket is not None:
            self._thread.start()

    def _listen(self, sock: socket.socket) -> None:
        while True:
            try:
                sock.recv(16)
                with contextlib.suppress(BlockingIOError):
                    while not self._closing:
                        sock.recv(16, socket.MSG_DONTWAIT)
            except OSError:
                return
            if self._closing:
                return
            self._on_nudge()

    def close(self) -> None:
        """Stop listening. While this owner still has its lock, so that the socket cannot be its successor's."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self._closing = True
        with contextlib.suppress(OSError):
            sock.sendto(b"", self._path)
        with contextlib.suppress(OSError):  # wakes the thread even if the path is gone; not on every system
            sock.shutdown(socket.SHUT_RDWR)
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        sock.close()


def _bound(path: str) -> socket.socket | None:
    """The owner's socket; one that a dead owner left is replaced. None if there cannot be one."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock.bind(path)
    except OSError:
        sock.close()
        return None
    return sock


class Nudger:
    """The other end of all of them: never blocks and never fails."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def nudge(self, path: str) -> None:
        with contextlib.suppress(OSError), self._lock:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(_NUDGE, path)

    def close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
