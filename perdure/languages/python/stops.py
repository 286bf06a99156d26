"""Why a workflow cannot go on, beside its bugs."""

from collections.abc import Sequence

from perdure.kernel.commands import Command
from perdure.kernel.program import ProgramBlocked
from perdure.languages.python.loop import WorkflowLoop, block_by
from perdure.languages.python.places import raised_at, waits_at


def pardon(error: BaseException, commands: Sequence[Command]) -> ProgramBlocked:
    """What the answer to an event is if the bug counts as a failure: sagas react to those."""
    blocked = block_by(error)
    blocked.raised_earlier = blocked.goes_on = True
    blocked.commands = commands
    return blocked


def deadlock(loop: WorkflowLoop, source: str) -> ProgramBlocked:
    """Nothing is under way that could wake the workflow. `source` is where it is defined."""
    stuck = loop.main
    assert stuck is not None
    if stuck.done():
        stuck = next(task for task in loop.tasks.values() if task.sagas)
    place = waits_at(stuck.coro) or source
    return ProgramBlocked(
        "bug",
        f"the workflow waits at {place} for something that can never happen: "
        "no activity, no timer and no child is under way that could wake it",
        "set the event, put into the queue or finish the task it waits for, from the workflow itself",
        source=place,
    )


def stuck(loop: WorkflowLoop, interrupted: BaseException, source: str) -> ProgramBlocked:
    """The watchdog has interrupted it."""
    main = loop.main
    place = raised_at(interrupted) or str(interrupted) or (main and waits_at(main.coro)) or source
    return ProgramBlocked(
        "stuck",
        f"the workflow did not come to an await in time and was interrupted at {place}",
        "move long computing into an activity, and await something in loops that wait",
        source=place,
    )
