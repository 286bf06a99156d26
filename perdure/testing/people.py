"""Those who stand in for people in a test: who answers which human task, with what, and after how much skipped time.

    engine.people.answer("Approve the loan of *", {"approved": True}, by="ann", after="3 hours")

They answer as people do, by `engine.tasks.complete`, while somebody waits for a run or in `engine.sleep`, and no attempt runs.
"""

import contextlib
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from perdure.client.human_view import TaskDetails, TaskSummary
from perdure.durations import duration_ns
from perdure.errors import DefinitionError, EngineNotRunning, TaskClosed, TaskNotFound
from perdure.kernel.human import is_person
from perdure.kernel.human_rows import HumanTaskRow
from perdure.options import Duration

if TYPE_CHECKING:
    from perdure.testing.engine import TestEngine

SOMEBODY = "somebody"
"""Who answers a task that names nobody in person, unless a test says who."""


class GivenAnswer(msgspec.Struct, frozen=True):
    """An answer that was given: to the task of that id and title, by whom, and when by the engine's clock."""

    id: str
    title: str
    answer: Any
    by: str
    at: datetime


class _Rule:
    """Who answers which tasks, and how. `left`: how many more of them; None is all."""

    def __init__(
        self,
        title: str,
        run: str,
        answer: Any,
        by: str | None,
        groups: tuple[str, ...],
        after_ns: int,
        left: int | None,
    ) -> None:
        self.title = title
        self.answer = answer
        self.by = by
        self.groups = groups
        self.after_ns = after_ns
        self.left = left
        self._titles = _pattern(title)
        self._runs = _pattern(run)

    def fits(self, run: str, task: HumanTaskRow | TaskSummary) -> bool:
        return self.left != 0 and bool(self._titles.fullmatch(task.title) and self._runs.fullmatch(run))

    def who(self, task: TaskDetails) -> tuple[str, tuple[str, ...]]:
        """Who answers, and which groups that person belongs to."""
        if self.by is not None:
            return self.by, self.groups
        people = [each for each in task.assignees if not each.startswith("group:")]
        groups = tuple(each.removeprefix("group:") for each in task.assignees if each.startswith("group:"))
        return task.claimed_by or (people[0] if people else SOMEBODY), (*self.groups, *groups)


class People:
    """Of a `TestEngine`: `engine.people`. Nobody answers before a test says so."""

    def __init__(self, engine: "TestEngine") -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._given: list[GivenAnswer] = []
        self._taken: set[tuple[int, str]] = set()
        self._answering = False
        self._failure: Exception | None = None

    def answer(
        self,
        title: str,
        answer: Any = None,
        *,
        by: str | None = None,
        groups: Iterable[str] = (),
        after: Duration = 0,
        times: int | None = None,
        run: str = "*",
    ) -> None:
        """Have somebody answer the tasks of a title, from now on. Of several such rules the first counts that fits and has
        answers left.

        Args:
            title: that of the tasks; * stands for any text.
            answer: a value of the form's type, or its JSON form; or a function of the task (`perdure.testing.TaskDetails`: its
                title, data, form ...) that gives it.
            by: who answers; if None whoever has claimed it, else the first person it is for, else "somebody" who belongs to
                the groups it is for.
            groups: those that person belongs to.
            after: how long that takes from when the task is opened, by the engine's clock (a duration).
            times: how many tasks; all, if None.
            run: the id of their run; * stands for any text.

        An answer that is refused (it does not fit the form, or is by somebody the task is not for) is raised where the test
        waits.

        Raises:
            errors.DefinitionError: one of these makes no sense.
        """
        _demand(isinstance(title, str) and bool(title), f"a title is a text, or * for any, not {title!r}")
        _demand(isinstance(run, str) and bool(run), f"run is the id of a run, or * for any, not {run!r}")
        _demand(by is None or is_person(by), f"by is the name of somebody, not {by!r}")
        _demand(not isinstance(groups, str), f"groups is a list of names, not {groups!r}")
        named = tuple(groups)
        for each in named:
            _demand(is_person(each), f"a group has a name, not {each!r}")
        _demand(
            times is None or (isinstance(times, int) and not isinstance(times, bool) and times > 0),
            f"times is a whole number from 1 on, or None, not {times!r}",
        )
        rule = _Rule(title, run, answer, by, named, duration_ns(after), times)
        with self._lock:
            self._rules.append(rule)

    def answer_all(self, answers: Mapping[str, Any]) -> None:
        """The same for several titles: each with its answer, or the function that gives it."""
        _demand(isinstance(answers, Mapping), f"people= are answers by the title of their tasks, not {answers!r}")
        for title, answer in answers.items():
            self.answer(title, answer)

    @property
    def given(self) -> list[GivenAnswer]:
        """The answers so far, in their order."""
        with self._lock:
            return list(self._given)

    # for the engine's clock

    @property
    def answering(self) -> bool:
        return self._answering

    @property
    def are_there(self) -> bool:
        """Whether anybody might answer anything."""
        return bool(self._rules)

    def failure(self) -> Exception | None:
        """Why an answer was refused, told once."""
        with self._lock:
            failure, self._failure = self._failure, None
        return failure

    def next(self, tasks: Iterable[tuple[str, HumanTaskRow]]) -> "tuple[int, Callable[[], None]] | None":
        """Of open tasks, each with the id of its run, the one that is answered next: when, and what begins to do that."""
        with self._lock:
            found = [
                (task.opened_at + rule.after_ns, number, run, task, rule)
                for number, (run, task) in enumerate(tasks)
                if (task.run, task.step) not in self._taken
                for rule in [next((each for each in self._rules if each.fits(run, task)), None)]
                if rule is not None
            ]
        if not found:
            return None
        at, _, run, task, rule = min(found, key=lambda each: each[:2])
        return at, lambda: self._begin(f"{run}/{task.step}", (task.run, task.step), rule)

    def _begin(self, id: str, place: tuple[int, str], rule: _Rule) -> None:
        self._taken.add(place)
        self._answering = True
        if rule.left is not None:
            rule.left -= 1
        threading.Thread(target=self._answer, args=(id, rule), name="perdure-people", daemon=True).start()

    def _answer(self, id: str, rule: _Rule) -> None:
        given: GivenAnswer | None = None
        try:
            task = self._engine.tasks.get(id).wait()
            answer = rule.answer(task) if callable(rule.answer) else rule.answer
            by, groups = rule.who(task)
            given = GivenAnswer(id, task.title, answer, by, self._engine.now())
            with self._lock:
                self._given.append(given)  # whoever waits for the run may look before this thread goes on
            self._engine.tasks.complete(id, answer, by=by, groups=groups, run_id=task.run_id).wait()
        except Exception as error:  # noqa: BLE001  whatever it is, the test that waits is told
            with self._lock:
                self._given = [each for each in self._given if each is not given]
                if not isinstance(error, _TOO_LATE):
                    error.add_note(f"(engine.people answered task {id} so, as told by the rule for {rule.title!r})")
                    self._failure = error
        finally:
            self._answering = False
            self._engine.wake()


_TOO_LATE = (TaskClosed, TaskNotFound, EngineNotRunning)
"""Somebody was quicker, or all is over."""


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


LOOKS = 10_000
"""So often somebody who answers in a crash test looks at what is asked, in one life of the engine."""


def answering(answers: Mapping[str, Any], *, every: Duration = "1h") -> Callable[[Any, Any], Awaitable[None]]:
    """A script for `crash_everywhere` in which people answer: it looks at what is asked, again and again, until the run has
    ended, and bears to begin anew.

    Args:
        answers: by the title of the tasks (* stands for any text): a value, or a function of the task that gives it.
        every: how long it waits before each look, by the engine's clock (a duration).

    Raises:
        errors.DefinitionError: one of these makes no sense.
    """
    _demand(isinstance(answers, Mapping), f"answers are given by the title of their tasks, not as {answers!r}")
    pause = duration_ns(every) / 1e9
    _demand(pause > 0, f"every must be longer than nothing, not {every!r}")
    rules = [_Rule(title, "*", answer, None, (), 0, None) for title, answer in answers.items()]

    async def answer(engine: Any, run: Any) -> None:
        for _ in range(LOOKS):
            await engine.sleep(pause)
            for asked in await engine.tasks.list(limit=LOOKS):
                rule = next((each for each in rules if each.fits(asked.run, asked)), None)
                if rule is not None:
                    await _answer_once(engine, asked, rule)
            told = await run.describe()
            if told.closed_at is not None or told.block is not None:
                return

    return answer


async def _answer_once(engine: Any, asked: TaskSummary, rule: _Rule) -> None:
    details = await engine.tasks.get(asked.id, run_id=asked.run_id)
    answer = rule.answer(details) if callable(rule.answer) else rule.answer
    by, groups = rule.who(details)
    with contextlib.suppress(TaskClosed):  # its time has run out, or it was answered in the life before
        await engine.tasks.complete(
            asked.id, answer, by=by, groups=groups, request_id=f"{asked.run_id} {asked.id}"[:200], run_id=asked.run_id
        )


def _demand(holds: bool, problem: str) -> None:
    if not holds:
        raise DefinitionError(f"engine.people.answer: {problem}")
