"""Tasks of a store in memory: what it means to take an attempt, and to end it."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from perdure.kernel.messages import TaskTaken
from perdure.kernel.project import TaskRow
from perdure.stores import base
from perdure.stores.orphans import loss_of

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf


class MemoryTasks:
    def __init__(self, shelf: "Shelf") -> None:
        self._shelf = shelf

    def join(self, host: str, pid: int, build: str, now: int, queues: Sequence[str], names: Sequence[str]) -> int:
        with self._shelf.lock:
            member = self._shelf.new_member(host, pid, build, now)
            self._shelf.workers[member] = base.WorkerRow(member, tuple(queues), tuple(names), 0, build)
            self._shelf.leases[member] = self._shelf.lease_of_workers()
            return member

    def exchange(
        self,
        member: int,
        endings: Sequence[base.Ending],
        queues: Sequence[str],
        wants: Sequence[base.Want],
        now: int,
    ) -> base.Exchanged:
        with self._shelf.lock:
            self._demand(member)
            accepted = [self._end(member, ending) for ending in endings]
            chosen = {id(task) for want in wants for task in self._oldest(queues, want, now)}
            waiting = [task for task in self._shelf.tasks.values() if id(task) in chosen]
            return base.Exchanged(accepted, [self._take(member, task, now) for task in waiting])

    def _end(self, member: int, ending: base.Ending) -> bool:
        shelf, message = self._shelf, ending.message
        task = shelf.tasks.get((ending.run, message.id))
        if task is None or task.attempt != message.attempt or task.member != member:
            return False
        del shelf.tasks[ending.run, message.id]
        for blob in ending.blobs:
            shelf.blobs.setdefault((blob.run, blob.digest), blob.data)
        shelf.put_mail(base.MailRow(0, ending.run, message))
        return True

    def _oldest(self, queues: Sequence[str], want: base.Want, now: int) -> list[TaskRow]:
        fit = [task for task in self._shelf.tasks.values() if self._waits(task, queues, want)]
        in_time = [task for task in fit if task.start_by is None or task.start_by > now + base.START_MARGIN_NS]
        return in_time[: want.limit]

    def _take(self, member: int, task: TaskRow, now: int) -> TaskRow:
        task.member, task.claimed_at = member, now
        self._shelf.used_members.add(member)
        if task.start_by is not None:
            self._shelf.put_mail(base.MailRow(0, task.run, TaskTaken(task.step, task.attempt, member)))
        return msgspec.structs.replace(task)

    def _waits(self, task: TaskRow, queues: Sequence[str], want: base.Want) -> bool:
        if task.member or task.queue not in queues or task.name not in want.names:
            return False
        if want.own is None or task.queue != want.own.queue:
            return True
        run = self._shelf.runs.get(task.run)
        return run is not None and run.workflow in want.own.workflows and run.pinned in ("", want.own.build)

    def look(self, member: int, queues: Sequence[str]) -> base.Look:
        shelf = self._shelf
        with shelf.lock:
            self._demand(member)
            taken = {(task.run, task.step, task.attempt) for task in self._taken(member)}
            return base.Look(self.waiting(queues), taken, min(shelf.leases[member], shelf.lease_of_workers()))

    def beat(self, member: int, queues: Sequence[str], details: Sequence[tuple[int, str, int, bytes]]) -> base.Look:
        with self._shelf.lock:
            self._demand(member)
            self._shelf.workers[member].beat += 1
            self._shelf.leases[member] = self._shelf.lease_of_workers()
            new = {(run, step, attempt): data for run, step, attempt, data in details}
            for task in self._taken(member):
                task.details = new.get((task.run, task.step, task.attempt), task.details)
            return self.look(member, queues)

    def _taken(self, member: int) -> list[TaskRow]:
        return [task for task in self._shelf.tasks.values() if task.member == member]

    def _demand(self, member: int) -> None:
        if member not in self._shelf.workers:
            raise base.WorkerGone(f"member {member} is no worker (any more)")

    def waiting(self, queues: Sequence[str]) -> list[str]:
        with self._shelf.lock:
            return sorted(
                {task.name for task in self._shelf.tasks.values() if not task.member and task.queue in queues}
            )

    def leave(self, member: int) -> None:
        self.bury(member)

    def listen(self, member: int, on_nudge: Callable[[], None]) -> None:
        self._shelf.listeners[member] = on_nudge

    def nudge(self, members: Iterable[int]) -> None:
        for member in members:
            on_nudge = self._shelf.listeners.get(member)
            if on_nudge is not None:
                on_nudge()

    def dead(self, members: Iterable[int]) -> list[int]:
        return []  # threads of one process die together

    def bury(self, member: int, beat: int | None = None) -> bool:
        with self._shelf.lock:
            worker = self._shelf.workers.get(member)
            if beat is not None and (worker is None or worker.beat != beat):
                return False
            self._shelf.listeners.pop(member, None)
            if self._shelf.workers.pop(member, None) is not None:
                if self._shelf.shared:
                    self._tell_losses(member)
                self._shelf.forget_unless_used(member)
            return True

    def _tell_losses(self, member: int) -> None:
        """Whoever owns the run, or will: where it reads of it, it is told once."""
        shelf = self._shelf
        for task in self._taken(member):
            del shelf.tasks[task.run, task.step]
            shelf.put_mail(base.MailRow(0, task.run, loss_of(_orphan(task))))

    def orphans(self) -> list[base.Orphan]:
        shelf = self._shelf
        with shelf.lock:
            return [_orphan(task) for task in shelf.tasks.values() if task.member and task.member not in shelf.workers]


def _orphan(task: TaskRow) -> base.Orphan:
    return base.Orphan(task.run, task.step, task.attempt, task.member, task.claimed_at or 0, task.details)
