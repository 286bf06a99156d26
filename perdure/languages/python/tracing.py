"""Tells in which turn an exception was raised: a program that is traced is replayed slowly, to find that out."""

import sys
from types import FrameType
from typing import Any

from perdure.errors import parts_of
from perdure.languages.python.places import is_user_code


class Tracer:
    """Sees each exception the first time it passes through the user's code."""

    __slots__ = ("_previous", "_seen", "turn")

    def __init__(self) -> None:
        self.turn = 0
        # The exceptions are held, so that no later one can have the same identity.
        self._seen: dict[int, tuple[BaseException, int]] = {}
        self._previous: Any = None

    def begin(self) -> None:
        self.turn += 1
        self._previous = sys.gettrace()
        sys.settrace(self._call)

    def end(self) -> None:
        sys.settrace(self._previous)

    def saw_earlier(self, error: BaseException) -> bool:
        """Whether the exception, or a part of the group it is, was raised in a turn before the latest."""
        return any(id(part) in self._seen and self._seen[id(part)][1] < self.turn for part in parts_of(error))

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not is_user_code(frame.f_code):
            return None
        frame.f_trace_lines = False
        return self._local

    def _local(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "exception" and isinstance(arg[1], BaseException):
            self._seen.setdefault(id(arg[1]), (arg[1], self.turn))
        return self._local
