"""How a run begins that was spoken to before: its program is shown the messages together with its beginning.

Channels have them from the start; methods hear them when the main line waits for the first time, or has come to its end.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from perdure.errors import is_bug
from perdure.kernel.commands import Command

if TYPE_CHECKING:
    from perdure.languages.python.machine import PythonProgram


class Beginning:
    """`coming` messages are still to be shown until the main line begins. `early`: it has begun before, so that a validator could
    look at the first of them."""

    __slots__ = ("coming", "early", "input", "spoken")

    def __init__(self, input: Any) -> None:
        self.input = input
        self.coming = 0
        self.early = False
        self.spoken: list[tuple[bool, Callable[[], None]]] = []

    def comes(self, by_channel: bool, say: Callable[[], None]) -> bool:
        """One of them; whether the main line is to begin now."""
        self.spoken.append((by_channel, say))
        self.coming -= 1
        return not self.coming and not self.early

    def hear(self, program: "PythonProgram") -> None:
        """Run the main line, and have the messages heard, unless a bug has ended it. It may want to wait for their handlers."""
        loop, main, early = program.loop, program.loop.main, self.early
        assert main is not None
        for by_channel, say in () if early else self.spoken:
            if by_channel:
                say()
            else:
                loop.handling += 1
        if not early:
            length, loop.length = loop.length, 1  # as long as the history is where it begins
            loop.drain()
            loop.length = length
        for by_channel, say in self.spoken:
            if not by_channel and loop.blocked is None and bug_of(main) is None:
                loop.stopped = False
                loop.handling -= 1
                say()
                loop.drain()
        if main.done():
            loop.end_unless_undoing()


def demand_sound(program: "PythonProgram") -> Sequence[Command]:
    """Whether the main line can go on as far as it has come. Raises `ProgramBlocked` if not."""
    loop = program.loop
    if loop.blocked is not None:
        raise loop.blocked
    bug = None if loop.main is None else bug_of(loop.main)
    if bug is not None:
        raise program.blocked_by(bug, ())
    return ()


def bug_of(main: "asyncio.Task[Any]") -> BaseException | None:
    """The one that has ended a task."""
    error = main.exception() if main.done() and not main.cancelled() else None
    return error if error is not None and is_bug(error) else None
