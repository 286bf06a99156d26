"""Tells in which turn an exception was raised: a program that is traced is replayed slowly, to find that out."""

import sys
from types import FrameType
from typing import Any

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
        """Whether the exception, or a leaf of the group it is, was raised in a turn before the latest."""
        if isinstance(error, BaseExceptionGroup) and any(self.saw_earlier(leaf) for leaf in error.exceptions):
            return True
        seen = self._seen.get(id(error))
        return seen is not None and seen[1] < self.turn

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not is_user_code(frame.f_code):
            return None
        frame.f_trace_lines = False
        return self._local

    def _local(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "exception" and isinstance(arg[1], BaseException):
            self._seen.setdefault(id(arg[1]), (arg[1], self.turn))
        return self._local
