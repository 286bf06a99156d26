"""Another process: an engine, or a client. `python -m tests.engine.child ROLE ADDRESS`, where the role is
"engine", "engine that dies" (when nothing can be interrupted any more) or "client".

It says "ready" (`lives=False` does not wait for that: one that dies of its first run may not come to it), takes an
expression in Python from each line, in which `here` is the engine or client, and says what that gives, or which error;
it ends when its input does.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """Such a process, seen from the test."""

    def __init__(self, role: str, address: str, *, lives: bool = True, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.child", role, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **environment},
            text=True,
        )
        if lives:
            self.wait_for("ready")

    def wait_for(self, line: str) -> None:
        assert self._process.stdout is not None
        for found in self._process.stdout:
            if found.rstrip() == line:
                return
        assert self._process.stderr is not None
        raise AssertionError(f"the process ended without {line!r}: {self._process.stderr.read()}")

    def tell(self, expression: str) -> None:
        """Have something evaluated, without waiting for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{expression}\n")
        self._process.stdin.flush()

    def ask(self, expression: str) -> str:
        """Have something evaluated; its repr, or the class and text of its error."""
        self.tell(expression)
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ended(self) -> tuple[int, str]:
        """Wait for its end, which it comes to by itself: the exit status, and what it wrote to standard error."""
        assert self._process.stdout is not None and self._process.stderr is not None
        self._process.stdout.read()
        return self._process.wait(), self._process.stderr.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.communicate()


def main(role: str, address: str) -> None:
    from perdure import Client, Engine
    from tests.engine import deeds

    limits: dict[str, Any] = {"stuck_after": 0.5, "kill_when_hung": 2.0} if role == "engine that dies" else {}
    engine = Engine(address, deeds.ALL, **limits)
    here: Any
    with Client(address, create=True) if role == "client" else engine as here:
        print("ready", flush=True)
        for line in sys.stdin:
            try:
                answer = repr(eval(line, {"here": here, "deeds": deeds}))
            except Exception as error:  # noqa: BLE001  the test reads which one
                answer = f"{type(error).__name__}: {error}"
            print(answer, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
