"""What is asked for becomes trials, and trials become a report."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from perdure.activities import ActivityDefinition
from perdure.calls import Call
from perdure.client.answer import Answer
from perdure.errors import DefinitionError
from perdure.runtime.threads import Threads
from perdure.testing.crashing.findings import FACTS, Finding, Findings
from perdure.testing.crashing.judge import KEY_HINT, Judge, Verdict, blocked, broken, unended, unlike
from perdure.testing.crashing.life import Script
from perdure.testing.crashing.points import Point, point_of, points_of, sample
from perdure.testing.crashing.report import CrashReport
from perdure.testing.crashing.table import AGAIN, FINE, OTHER, WRONG
from perdure.testing.crashing.trial import BEGINNING, Setting, Trial, listed_definitions, tried
from perdure.testing.simulation.life import STORES
from perdure.workflows import WorkflowDefinition

MAX_POINTS = 1_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def crash_everywhere(
    workflow: Call[Any],
    *,
    definitions: Iterable[Any] | None = None,
    activities: Mapping[ActivityDefinition[..., Any], Callable[..., Any]] | None = None,
    state: Callable[[], Any] | None = None,
    reset: Callable[[], Any] | None = None,
    accept: Callable[[Any], bool] | None = None,
    script: Script | None = None,
    crash_at: str | Iterable[str] | None = None,
    twice: bool = False,
    store: str = "memory",
    max_points: int = MAX_POINTS,
    seed: int = 0,
    start: datetime | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Answer[CrashReport]:
    """Run a workflow again and again, and each time let the engine die somewhere else: before, inside and after every
    commit, and before every call of an activity; or a worker of queues, whenever it writes. Another one takes over; what
    comes out is compared with a run without a crash. `report = crash_everywhere(process_order(10, "acct")).wait()`, or with `await`.

    Activities run really, or what stands in for them, one after the other, on a loop of the tool's own; sleeps take no
    time. Of each promise of the engine it is checked that it is kept: no step whose end is recorded is called again.

    Args:
        workflow: a call, `process_order(10, "acct")`.
        definitions: workflows, activities and modules; by default those that the code of it and its children can name.
        activities: stand-ins, by the activity they are called for.
        state: gives what the world is like, as a value that can be compared: what was charged, say. Called after each run.
        reset: puts the world back to where it was. Called before each run.
        accept: whether an outcome that is not that of the run without a crash is fine as well. It is given the result, or
            the exception that `handle.result()` raises.
        script: `async def script(engine, handle)`, which does what somebody outside does: cancels, or lets time pass
            (`await engine.sleep("1 day")`). After a crash it begins anew, as a client does that has died with its engine.
        crash_at: only there: "before commit 7", or several of these.
        twice: let the one that takes over die as well, in its first commit or exchange.
        store: "memory", or "sqlite" for a file in a folder for temporary files: slower, and the real thing.
        max_points: at most so many crash points, evenly from all there are, chosen by the `seed`.
        start: what the clock shows when a run begins; 2023-11-14, if None.
        progress: show on stderr how far it is; None does so on a terminal.
        options: further options of an engine.

    Raises:
        errors.DefinitionError: definitions, stand-ins or options make no sense; `crash_at` names no place.
    """
    if not isinstance(workflow, Call) or not isinstance(workflow.definition, WorkflowDefinition):
        raise DefinitionError(
            f'crash_everywhere takes a call of a workflow, like process_order(10, "acct"), not {workflow!r}'
        )
    if isinstance(max_points, bool) or not isinstance(max_points, int) or max_points < 1:
        raise DefinitionError(f"crash_everywhere: max_points is a whole number from 1 on, not {max_points!r}")
    if store not in STORES:
        raise DefinitionError(f"crash_everywhere: store is one of {', '.join(map(repr, STORES))}, not {store!r}")
    wanted = [crash_at] if isinstance(crash_at, str) else crash_at
    chosen = None if wanted is None else [point_of(label) for label in wanted]
    workflow.take()
    setting = Setting(
        workflow,
        listed_definitions(workflow, definitions),
        dict(activities or {}),
        script,
        state,
        reset,
        BEGINNING if start is None else _nanoseconds(start),
        options,
        STORES[store],
        twice,
    )
    return _Tried(Work(setting, accept, chosen, max_points, seed, progress).report)


class _Tried(Answer[CrashReport]):
    """Found by a blocking function, on a thread of its own: its trials wait until nobody else asks an engine anything."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], CrashReport]) -> None:
        super().__init__("crash_everywhere(...)")
        self._function = function

    def _begin(self) -> Generator[Any, Any, CrashReport]:
        return Threads("perdure-crash-test").beside(self._function).__await__()

    def _waited(self) -> CrashReport:
        return self._function()

    def _again(self) -> str:
        return "call crash_everywhere again"


class Work:
    """All trials of one workflow."""

    def __init__(
        self,
        setting: Setting,
        accept: Callable[[Any], bool] | None,
        chosen: list[Point] | None,
        max_points: int,
        seed: int,
        progress: bool | None,
    ) -> None:
        self._setting = setting
        self._accept = accept
        self._chosen = chosen
        self._max_points = max_points
        self._seed = seed
        self._progress = progress
        self._found = Findings()
        self._repeated: dict[tuple[str, bool | None], list[str]] = {}

    def report(self) -> CrashReport:
        """Try everything."""
        began = time.perf_counter()
        with Progress(0, self._progress) as progress:
            clean = tried(self._setting, None, progress.commit)
        report = self._of_clean(clean)
        if report.ok:
            again = tried(self._setting, None)
            judge = Judge(clean, again, self._setting.state is not None, self._accept)
            report.violations += judge.unrepeatable
            self._try_all(report, judge)
            lines = {each.about for each in report.violations if each.kind == "divergence"}
            found = unlike(clean.replayed or again.replayed)
            report.violations += [each for each in found if each.about not in lines]
        report.seconds = time.perf_counter() - began
        return report

    def _of_clean(self, clean: Trial) -> CrashReport:
        """The run without a crash. If it does not come to an end, there is nothing to compare with."""
        outcome = clean.outcome
        if outcome is None and clean.error is not None and not clean.watch.broken:
            raise clean.error
        rows = [row for row in clean.watch.rows if row.what != "crash"]
        report = CrashReport(
            repr(self._setting.call),
            "it does not end" if outcome is None else outcome.text,
            sum(row.what == "commit" for row in rows),
            len(clean.watch.calls),
            len(points_of((row.what, row.number) for row in rows)),
            0,
            [],
            [],
            [],
            seed=self._seed,
            run_seconds=clean.seconds,
            rows=rows,
            exchanges=clean.watch.exchanges,
        )
        if outcome is None:
            report.violations += unended(clean)
        elif outcome.block is not None:
            report.violations.append(blocked(outcome.block))
        report.violations += broken(clean)
        return report

    def _try_all(self, report: CrashReport, judge: Judge) -> None:
        known = points_of((row.what, row.number) for row in report.rows)
        points = sample(known, self._max_points, self._seed) if self._chosen is None else self._chosen
        for point in points:
            if point not in known:
                raise DefinitionError(
                    f"crash_everywhere: there is no place {str(point)!r}: without a crash there are {report.counted()}"
                )
        with Progress(len(points), self._progress) as progress:
            for point in points:
                trial = tried(self._setting, point)
                if trial.crashed:
                    report.marks[point] = self._note(report, str(point), trial, judge.judge(trial))
                else:
                    report.unreached.append(str(point))
                report.points += 1
                progress.step()
        report.violations += self._found.all()
        report.advice += [*judge.unsteady, *self._advice()]
        report.harmless += self._harmless()

    def _note(self, report: CrashReport, at: str, trial: Trial, verdict: Verdict) -> str:
        """Its mark in the table."""
        if verdict.violations and not self._found:
            report.story = trial.watch.rows
        for finding in verdict.violations:
            self._found.add(finding, at)
        for name in verdict.repeated:
            self._repeated.setdefault((name, verdict.harmless), []).append(at)
        if verdict.violations:
            return WRONG
        return OTHER if verdict.accepted else AGAIN if verdict.repeated else FINE

    def _advice(self) -> list[Finding]:
        """Of steps that were called again, and nobody has looked whether that does harm."""
        doubtful = {name: at for (name, harmless), at in self._repeated.items() if harmless is None}
        if not doubtful:
            return []
        what = f"{_steps(doubtful)} called again, having been in flight when the process died"
        hint = f"{KEY_HINT}. With state= it is seen here whether it is"
        return [Finding("repeated", what, _times(doubtful), hint, _all(doubtful))]

    def _harmless(self) -> list[Finding]:
        """Of those that were, and have left the world as it would have been."""
        doubtful = {name for name, harmless in self._repeated if harmless is not True}
        harmless = {name: at for (name, fine), at in self._repeated.items() if fine and name not in doubtful}
        if not harmless:
            return []
        what = (
            f"{_steps(harmless)} called again, having been in flight when the process died, and state() did not change"
        )
        return [Finding("harmless", what, _times(harmless), "", _all(harmless))]


def _steps(names: Mapping[str, Sequence[str]]) -> str:
    return f"{next(iter(names))} was" if len(names) == 1 else f"{len(names)} steps were"


def _times(names: Mapping[str, Sequence[str]]) -> list[str]:
    if len(names) == 1:
        return []
    lines = [f"{name}, at {len(at)} crash point{'' if len(at) == 1 else 's'}" for name, at in names.items()]
    more = len(lines) - FACTS
    return lines if more <= 0 else [*lines[:FACTS], f"and {more} more"]


def _all(names: Mapping[str, Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(each for at in names.values() for each in at))


class Progress:
    """A line at the bottom of a terminal, for what takes longer than `patience` seconds; nothing anywhere else."""

    def __init__(self, total: int, shown: bool | None, patience: float = 0.5) -> None:
        self._total = total
        self._done = 0
        self._shown = sys.stderr is not None and sys.stderr.isatty() if shown is None else shown
        self._next = time.monotonic() + patience
        self._drawn = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def step(self) -> None:
        self._done += 1
        full = 24 * self._done // self._total
        self._draw(f"crashing  {'━' * full}{'─' * (24 - full)}  {self._done:,} of {self._total:,}")

    def commit(self, number: int) -> None:
        """Of the run without a crash, which nobody knows the length of."""
        self._draw(f"without a crash first: commit {number:,}")

    def _draw(self, line: str) -> None:
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.1
            self._drawn = True
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()


def _nanoseconds(start: Any) -> int:
    if not isinstance(start, datetime) or start.tzinfo is None:
        raise DefinitionError(
            f"crash_everywhere: start is a time with a zone, as in datetime(..., tzinfo=UTC), not {start!r}"
        )
    since = start - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
