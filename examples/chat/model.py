"""A stand-in for a language model: a server on this machine that answers token by token, the same each time.

    POST /chat  {"messages": [{"role": ..., "text": ...}, ...]}
    -> lines of JSON: {"token": ...}, or {"tool": ..., "arguments": {...}}, and {"end": true} at last

It knows two tools, asks for them when a question needs one, and says something nice about what they gave.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CITY = re.compile(r"weather in (\w+)", re.IGNORECASE)
SUM = re.compile(r"(\d+)\s*\+\s*(\d+)")


def answer(messages: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The lines of an answer to the last message."""
    last = messages[-1]
    if last["role"] == "user" and (city := CITY.search(last["text"])):
        return [{"tool": "weather", "arguments": {"city": city[1]}}]
    if last["role"] == "user" and (numbers := SUM.search(last["text"])):
        return [{"tool": "add", "arguments": {"a": int(numbers[1]), "b": int(numbers[2])}}]
    if last["role"] == "tool":
        text = f"I have looked it up for you, so that you do not have to: {last['text']}. Is there anything else?"
    else:
        text = "I am only a few lines of Python, and yet I would say: yes, but not before lunch."
    return [{"token": token} for token in re.findall(r"\S+\s*", text)]


class Model:
    """`asked` counts the requests, `address` is where it listens. A token comes every `pause` seconds."""

    def __init__(self, pause: float) -> None:
        self.asked = 0
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
                model.asked += 1
                self.send_response(200)
                self.send_header("Content-Type", "application/x-ndjson")
                self.end_headers()
                try:
                    for line in [*answer(messages), {"end": True}]:
                        self.wfile.write(json.dumps(line).encode() + b"\n")
                        time.sleep(pause)
                except ConnectionError:
                    return  # whoever asked is gone

            def log_message(self, format: str, *args: Any) -> None:
                """The terminal belongs to the chat."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def listening(self) -> "Iterator[Model]":
        thread = threading.Thread(target=self._server.serve_forever, name="model", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
