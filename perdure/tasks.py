"""What asks people: `task` in a workflow, what people are told of it, and what comes of it with whoever has done it."""

from perdure.languages.python.human import HumanTask, TaskNotice, TaskOutcome, task

__all__ = ["HumanTask", "TaskNotice", "TaskOutcome", "task"]
