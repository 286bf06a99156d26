"""A way to a server on which an answer is lost, or a question comes late: `with Gate(server.port) as gate: gate.address(...)`."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Gate:
    """Passes bytes on in both directions, but for the one question that was named before it comes: by a part of its text."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._lose = b""
        self._hold = b""
        self._let_go = threading.Event()
        self._arrived = threading.Event()

    def address(self, database: str) -> str:
        return f"postgresql://perdure@127.0.0.1:{self._door.getsockname()[1]}/{database}"

    def lose_answer_to(self, text: str) -> None:
        """The server answers the next question with this text, and whoever has asked only sees that the connection is gone."""
        self._lose = text.encode()

    def hold(self, text: str) -> None:
        """The connection of whoever asks the next question with this text breaks, and the server has not heard it yet."""
        self._hold = text.encode()

    @property
    def armed(self) -> bool:
        """Whether the question that was named has not come yet."""
        return bool(self._lose or self._hold)

    def let_go(self) -> None:
        """Now the server hears what was held, and has answered it."""
        self._let_go.set()
        self._arrived.wait()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.create_connection(self._server)
                lost = threading.Event()
                for act, *ends in ((self._up, client, server), (self._down, server, client)):
                    threading.Thread(target=act, args=(*ends, lost), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self._lose and self._lose in data:
                    self._lose = b""
                    lost.set()
                elif self._hold and self._hold in data:
                    self._hold = b""
                    lost.set()
                    client.shutdown(socket.SHUT_RDWR)
                    self._let_go.wait()
                    server.sendall(data)
                    return
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if lost.is_set():
                    while data and not data.endswith(b"Z\x00\x00\x00\x05I"):  # it is ready for another question
                        data = data[-5:] + server.recv(1 << 16)
                    server.shutdown(socket.SHUT_RDWR)
                    self._arrived.set()
                    break
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
