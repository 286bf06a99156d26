"""Lines of the user's code: where an exception was raised, where a coroutine waits."""

import asyncio
import os
from types import CodeType, TracebackType
from typing import Any

_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_ASYNCIO = os.path.dirname(os.path.abspath(asyncio.__file__)) + os.sep


def is_user_code(code: CodeType) -> bool:
    """Whether the code is neither ours nor asyncio's."""
    return not code.co_filename.startswith((_OURS, _ASYNCIO))


def raised_at(error: BaseException) -> str:
    """`file:line` of the innermost of the user's frames an exception came through, or "".

    One in Python's own library only if there is no other: that is not where anybody looks for a mistake.
    """
    place = in_library = ""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_user_code(code):
            here = f"{code.co_filename}:{traceback.tb_lineno}"
            if code.co_filename.startswith(_LIBRARY) and "-packages" not in code.co_filename:
                in_library = here
            else:
                place = here
        traceback = traceback.tb_next
    return place or in_library


def waits_at(coro: Any) -> str:
    """`file:line` of the innermost of the user's awaits a suspended coroutine stands at, or ""."""
    place = ""
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None) or getattr(coro, "ag_frame", None)
        if frame is not None and is_user_code(frame.f_code):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None) or getattr(coro, "ag_await", None)
    return place
