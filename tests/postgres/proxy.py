"""A network between engines and their server that a test can break: `with Proxy(server.port) as proxy: proxy.address("name")`."""

import socket
import struct
import threading
import time
from typing import Literal, Self

Side = Literal["request", "answer"]
_RESET = struct.pack("ii", 1, 0)
_TAIL = 64


class Proxy:
    """Passes on what comes, between its port and that of a server, until it is told otherwise."""

    def __init__(self, port: int, at: int = 0) -> None:
        """`at`: its own port, else a free one."""
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", at))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._closed = False
        self._rules: list[tuple[bytes, Side]] = []
        self.flows = threading.Event()
        self.flows.set()
        self.delay_seconds = 0.0
        self.lost = threading.Semaphore(0)
        """Released for each message that was lost."""

    def address(self, database: str) -> str:
        return f"postgresql://perdure@127.0.0.1:{self.port}/{database}"

    def lead_to(self, port: int) -> None:
        """To another server, from now on."""
        self._target = ("127.0.0.1", port)

    def cut(self) -> None:
        """All connections there are: both ends see a reset."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.cut()

    def swallow(self) -> None:
        """Nothing passes any more, and nobody is told: connections are taken and never answered."""
        self.flows.clear()

    def flow(self) -> None:
        """It passes again, and so does what was held meanwhile, as packets that are sent again do."""
        self.flows.set()

    def lose(self, text: str, side: Side) -> None:
        """Cut the connection that asks the next question with this text in it: before the server has got it, or when its answer
        is there."""
        with self._lock:
            self._rules.append((text.encode(), side))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._listener.close()
        self.flow()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                _reset(client)
                continue
            pair = _Pair(self, client, server)
            with self._lock:
                self._pairs.add(pair)
            pair.begin()

    def forget(self, pair: "_Pair") -> None:
        with self._lock:
            self._pairs.discard(pair)

    def rule_for(self, data: bytes) -> Side | None:
        """What becomes of a question; a rule is followed once."""
        with self._lock:
            for rule in self._rules:
                if rule[0] in data:
                    self._rules.remove(rule)
                    return rule[1]
        return None


class _Pair:
    """One connection on its way through."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._ends_after_answer = False

    def begin(self) -> None:
        for pump in (self._up, self._down):
            threading.Thread(target=pump, daemon=True).start()

    def cut(self) -> None:
        self._proxy.forget(self)
        for end in (self._client, self._server):
            _reset(end)

    def _up(self) -> None:
        tail = b""
        try:
            while data := self._client.recv(65_536):
                self._pass()
                match self._proxy.rule_for(tail + data):
                    case "request":
                        return self._proxy.lost.release() and None
                    case "answer":
                        self._ends_after_answer = True
                    case None:
                        pass
                tail = data[-_TAIL:]
                self._server.sendall(data)
        except OSError:
            pass
        finally:
            self.cut()

    def _down(self) -> None:
        try:
            while data := self._server.recv(65_536):
                if self._ends_after_answer:  # it is made whole by the server, and nobody hears of it
                    while not data.endswith(b"Z\x00\x00\x00\x05I"):
                        more = self._server.recv(65_536)
                        if not more:
                            break
                        data += more
                    self._proxy.lost.release()
                    return
                self._pass()
                self._client.sendall(data)
        except OSError:
            pass
        finally:
            self.cut()

    def _pass(self) -> None:
        self._proxy.flows.wait()
        if self._proxy.delay_seconds:
            time.sleep(self._proxy.delay_seconds)


def _reset(end: socket.socket) -> None:
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()
