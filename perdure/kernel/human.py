"""Human tasks of a run: what people are asked, who has it, and what the clock does meanwhile.

    TaskOpened ──► open ◄──claim, release──► claimed
                    │ ▲                        │
                    │ └─reminders, overdue─────┤
                    ▼                          ▼
        completed | expired | cancelled (withdrawn, or the run has ended)

What is here folds events, as `evolve` does, and cannot fail.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from perdure.kernel import events as ev
from perdure.kernel.limits import END_OF_TIME, TASK_PERSON_CHARS, TASK_REMINDERS

if TYPE_CHECKING:
    from perdure.kernel.run import Run


class HumanTask:
    """One that is open. `claimed_by` is "" while nobody has it; `remind_at` when the next reminder is due."""

    __slots__ = (
        "assignees",
        "claimed_at",
        "claimed_by",
        "data",
        "due_at",
        "expires_at",
        "form",
        "id",
        "opened_at",
        "overdue",
        "remind_at",
        "remind_ns",
        "reminders",
        "title",
    )

    def __init__(self, event: ev.TaskOpened) -> None:
        self.id = event.id
        self.title = event.title
        self.form = event.form
        self.data = event.data
        self.assignees = event.assignees
        self.opened_at = event.at
        self.due_at = event.due_at
        self.remind_ns = event.remind_ns
        self.expires_at = event.expires_at
        self.claimed_by = ""
        self.claimed_at = 0
        self.reminders = 0
        self.overdue = False
        self.remind_at: int | None = None
        self.remind_after(event.at)

    def remind_after(self, at: int) -> None:
        """The next reminder is the first whole number of intervals after the opening that is later: those that were missed
        while nobody could be reminded come to one."""
        ns = self.remind_ns
        if ns is None or ns <= 0 or self.reminders >= TASK_REMINDERS:  # 0 only if it was damaged
            self.remind_at = None
        else:
            self.remind_at = min(self.opened_at + ((at - self.opened_at) // ns + 1) * ns, END_OF_TIME)

    def claim(self, event: ev.TaskClaimed | ev.TaskReleased) -> None:
        taken = type(event) is ev.TaskClaimed
        self.claimed_by, self.claimed_at = (event.by, event.at) if taken else ("", 0)

    def remind(self, event: ev.TaskReminded) -> None:
        if event.kind == "overdue":
            self.overdue = True
        else:
            self.reminders += 1
        self.remind_after(event.at)

    def deadlines(self) -> list[int]:
        """All that the clock will do to the task."""
        due_at = None if self.overdue else self.due_at
        return [at for at in (due_at, self.remind_at, self.expires_at) if at is not None]

    def is_for(self, by: str, groups: tuple[str, ...]) -> bool:
        """Whether somebody, who belongs to these groups, is among the assignees."""
        assignees = self.assignees
        return not assignees or by in assignees or any(f"group:{group}" in assignees for group in groups)


def is_person(name: Any) -> bool:
    """Whether somebody, or a group, may have that name."""
    return isinstance(name, str) and 0 < len(name) <= TASK_PERSON_CHARS and name.isprintable() and name == name.strip()


class Closing(NamedTuple):
    """How a task has ended: "completed", "expired" or "cancelled"."""

    title: str
    how: str
    by: str = ""
    request_id: str = ""


class People:
    """The human tasks of a run that has ever had one, by id."""

    __slots__ = ("closed", "open")

    def __init__(self) -> None:
        self.open: dict[str, HumanTask] = {}
        self.closed: dict[str, Closing] = {}

    def close(self, id: str, how: str, by: str = "", request_id: str = "") -> None:
        task = self.open.pop(id, None)
        if task is not None:
            self.closed[id] = Closing(task.title, how, by, request_id)


def opened(run: "Run", event: ev.TaskOpened) -> None:
    run.seq += 1
    if run.people is None:
        run.people = People()
    task = run.people.open[event.id] = HumanTask(event)
    run.remind(task, *task.deadlines())


def claimed(run: "Run", event: ev.TaskClaimed | ev.TaskReleased) -> None:
    run.seq += 1
    task = run.human_task(event.id)
    if task is not None:
        task.claim(event)


def reminded(run: "Run", event: ev.TaskReminded) -> None:
    run.seq += 1
    task = run.human_task(event.id)
    if task is not None:
        task.remind(event)
        run.remind(task, task.remind_at)


def closed(run: "Run", event: ev.TaskCompleted | ev.TaskExpired | ev.TaskWithdrawn) -> None:
    run.seq += 1
    if run.people is None:
        return
    if type(event) is ev.TaskCompleted:
        run.people.close(event.id, "completed", event.by, event.request_id)
    else:
        run.people.close(event.id, "expired" if type(event) is ev.TaskExpired else "cancelled")


def run_ended(run: "Run") -> None:
    """No task is open of a run that has ended."""
    if run.people is not None:
        for id in list(run.people.open):
            run.people.close(id, "cancelled")
