"""Work for other processes, by the calls of `routines/tasks.sql`: one step of one run, its attempts, and workers that take them.

Who owns the run is the matter of the other model: here it has one owner, which also looks for workers that are gone, as any would.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.model.protocol import Violation
from tests.model.server import CONFLICTS, Lock


class Rules(NamedTuple):
    ends_by: str = "attempt and worker"
    dedup: bool = True
    tells_losses: bool = True


class Setting(NamedTuple):
    workers: int = 2
    crashes: int = 0
    timeouts: int = 0
    burials: int = 0
    """How many workers may be taken for dead that live."""


class Task(NamedTuple):
    attempt: int
    worker: int = 0


class Call(NamedTuple):
    """An open transaction."""

    name: str
    who: int
    args: Any = ()
    pc: int = 0
    accepted: bool = False
    took: int = 0
    locks: frozenset[tuple[str, int, int]] = frozenset()
    writes: tuple[tuple[str, Any], ...] = ()


class Tables(NamedTuple):
    """`workers`: whether the row of each is there. `attempt`: the one that the run waits for, 0 when it has its result."""

    task: Task | None
    workers: tuple[bool, ...]
    mail: tuple[tuple[str, int], ...] = ()
    results: tuple[int, ...] = ()
    attempt: int = 1


class Worker(NamedTuple):
    lives: bool = True
    attempt: int = 0
    call: Call | None = None


class World(NamedTuple):
    tables: Tables
    workers: tuple[Worker, ...]
    owner: Call | None = None
    left: tuple[Call, ...] = ()
    crashes: int = 0
    timeouts: int = 0
    burials: int = 0


STATEMENTS = {"exchange": 3, "bury": 1, "lose": 1, "commit": 2}
Outcome = Call | list[Call] | str


class Tasks:
    def __init__(self, setting: Setting, rules: Rules | None = None) -> None:
        self.setting = setting
        self.rules = rules or Rules()

    def first(self) -> World:
        setting = self.setting
        tables = Tables(Task(1), (True,) * setting.workers)
        workers = (Worker(),) * setting.workers
        return World(tables, workers, None, (), setting.crashes, setting.timeouts, setting.burials)

    def is_good(self, world: World) -> bool:
        return bool(world.tables.results) and not world.tables.mail and not world.left

    def steps(self, world: World) -> Iterator[tuple[tuple[Any, ...], bool, World]]:
        calls = [each.call for each in world.workers if each.call is not None]
        calls += [world.owner] if world.owner is not None else []
        calls += world.left
        for place, call in enumerate(world.left):
            rest = world._replace(left=world.left[:place] + world.left[place + 1 :])
            yield (f"{call.name}: ROLLBACK", place), False, rest
            for label, after, ended in self._next(world, call, calls):
                now = rest._replace(tables=after)
                yield (
                    (label, place),
                    True,
                    now if isinstance(ended, str) or ended is None else now._replace(left=(*rest.left, ended)),
                )
        for place, worker in enumerate(world.workers):
            if worker.lives:
                yield from self._worker(world, place, worker, calls)
        if world.owner is None:
            yield from self._owner(world)
        else:
            for label, after, ended in self._next(world, world.owner, calls):
                yield (label, 0), True, world._replace(tables=after, owner=ended if isinstance(ended, Call) else None)

    def _worker(self, world: World, place: int, worker: Worker, calls: list[Call]) -> Iterator[Any]:
        if worker.call is None:
            call = Call("exchange", place + 1, worker.attempt)
            yield ("exchange", place), True, _worker(world, place, worker._replace(call=call))
        else:
            for label, after, ended in self._next(world, worker.call, calls):
                if isinstance(ended, Call):
                    now = worker._replace(call=ended)
                elif ended is not None:  # it is a worker no more
                    now = Worker(lives=False)
                else:
                    now = Worker(attempt=worker.call.took)
                yield (label, place), True, _worker(world._replace(tables=after), place, now)
        if world.crashes:
            left = world.left if worker.call is None else (*world.left, worker.call)
            crashed = world._replace(crashes=world.crashes - 1, left=left)
            yield ("crash", place), False, _worker(crashed, place, Worker(lives=False))

    def _owner(self, world: World) -> Iterator[Any]:
        tables = world.tables
        for letter in tables.mail:
            call = Call("commit", 0, (letter, *self._decided(tables, letter)))
            yield ("reads", 0, *letter), True, world._replace(owner=call)
        if world.timeouts and tables.attempt:
            call = Call("commit", 0, (None, tables.results, tables.attempt + 1))
            yield ("time is over", 0), False, world._replace(owner=call, timeouts=world.timeouts - 1)
        for place, worker in enumerate(world.workers):
            if tables.workers[place] and (world.burials or not worker.lives):
                burials = world.burials - worker.lives
                yield (
                    ("bury", 0, place + 1),
                    not worker.lives,
                    world._replace(owner=Call("bury", 0, place + 1), burials=burials),
                )
        task = tables.task
        if self.rules.tells_losses and task is not None and task.worker and not tables.workers[task.worker - 1]:
            yield ("lose", 0, *task), True, world._replace(owner=Call("lose", 0, task))

    def _decided(self, tables: Tables, letter: tuple[str, int]) -> tuple[tuple[int, ...], int]:
        """What the run makes of it: its results, and the attempt it waits for."""
        what, attempt = letter
        if attempt != tables.attempt and self.rules.dedup:
            return tables.results, tables.attempt
        return ((*tables.results, attempt), 0) if what == "ended" else (tables.results, attempt + 1)

    # calls

    def _next(self, world: World, call: Call, calls: list[Call]) -> Iterator[tuple[str, Tables, Call | str | None]]:
        """What is said of the next statement, what is committed after it, and the call: an error, or None, if it is over."""
        if call.pc == STATEMENTS[call.name]:
            yield f"{call.name}: COMMIT", self._checked(_committed(world.tables, call)), None
            return
        others = [each for each in calls if each is not call]
        outcome = getattr(self, f"_{call.name}")(world.tables, call, others)
        if isinstance(outcome, str):
            yield f"{call.name}: {outcome}", world.tables, outcome
        elif isinstance(outcome, Call):
            yield f"{call.name}: statement {call.pc + 1}", world.tables, outcome._replace(pc=call.pc + 1)

    def _exchange(self, tables: Tables, call: Call, others: list[Call]) -> Outcome:
        me, task = call.who, _seen(tables, call)
        if call.pc == 0:
            return _locked(call, others, "worker", me, Lock.KEY_SHARE) if tables.workers[me - 1] else "PD004"
        if call.pc == 1:
            mine = task == Task(call.args, me) if self.rules.ends_by == "attempt and worker" else task is not None
            if not call.args or not mine or task is None:
                return call
            outcome = _locked(call, others, "task", task.attempt, Lock.UPDATE)
            return _wrote(outcome, ("task", None), ("mail", ("ended", call.args)))
        if task is None or task.worker:
            return call
        outcome = _locked(call, others, "task", task.attempt, Lock.UPDATE)
        if isinstance(outcome, list):
            return call  # SKIP LOCKED
        return _wrote(outcome._replace(took=task.attempt), ("task", Task(task.attempt, me)))

    def _bury(self, tables: Tables, call: Call, others: list[Call]) -> Outcome:
        return _wrote(_locked(call, others, "worker", call.args, Lock.UPDATE), ("worker", call.args))

    def _lose(self, tables: Tables, call: Call, others: list[Call]) -> Outcome:
        task = tables.task
        if task is None or task != call.args:
            return call
        outcome = _locked(call, others, "task", task.attempt, Lock.UPDATE)
        return _wrote(outcome, ("task", None), ("mail", ("lost", call.args.attempt)))

    def _commit(self, tables: Tables, call: Call, others: list[Call]) -> Outcome:
        """The next attempt takes the place of the task that is there."""
        letter, results, attempt = call.args
        if call.pc == 0:
            return _wrote(call, ("read", letter), ("run", (results, attempt)))
        if attempt in (0, tables.attempt):
            return call
        outcome: Outcome = call
        if tables.task is not None:
            outcome = _locked(call, others, "task", tables.task.attempt, Lock.UPDATE)
        return _wrote(outcome, ("task", Task(attempt)))

    def _checked(self, tables: Tables) -> Tables:
        task = tables.task
        if len(tables.results) > 1:
            raise Violation(f"a step has two results, of attempts {tables.results}")
        attempts = {attempt for _, attempt in tables.mail} | ({task.attempt} if task is not None else set())
        if tables.attempt and tables.attempt not in attempts:
            raise Violation(f"attempt {tables.attempt} is nowhere: no task, and no letter that tells its end")
        if not tables.attempt and task is not None:
            raise Violation(f"a task is left of a step that has its result: {task}")
        return tables


def _worker(world: World, place: int, worker: Worker) -> World:
    return world._replace(workers=(*world.workers[:place], worker, *world.workers[place + 1 :]))


def _seen(tables: Tables, call: Call) -> Task | None:
    return next((value for what, value in reversed(call.writes) if what == "task"), tables.task)


def _locked(call: Call, others: list[Call], table: str, row: int, how: Lock) -> Call | list[Call]:
    holders = [
        other
        for other in others
        if any(held == table and of == row and CONFLICTS[how][by] for held, of, by in other.locks)
    ]
    return holders or call._replace(locks=call.locks | {(table, row, int(how))})


def _wrote(outcome: Outcome, *writes: tuple[str, Any]) -> Outcome:
    return outcome._replace(writes=(*outcome.writes, *writes)) if isinstance(outcome, Call) else outcome


def _committed(tables: Tables, call: Call) -> Tables:
    for what, value in call.writes:
        if what == "task":
            tables = tables._replace(task=value)
        elif what == "mail":
            tables = tables._replace(mail=tuple(sorted((*tables.mail, value))))
        elif what == "read":
            tables = tables._replace(mail=tuple(each for each in tables.mail if each != value))
        elif what == "worker":
            tables = tables._replace(workers=(*tables.workers[: value - 1], False, *tables.workers[value:]))
        else:
            tables = tables._replace(results=value[0], attempt=value[1])
    return tables
