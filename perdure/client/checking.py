"""Before a deploy: what would become of the runs of a database with the code at hand?

Every open run is shown to the code, as an engine would do it, and a sample of those that have ended; and what waits to be
read: arguments of steps that have no result yet, mail, starts. Nothing is written, and a live database may go on meanwhile.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec

from perdure.client.replaying import Replays, Shelf, Verdict, unknown_workflow
from perdure.errors import PerdureError, UnknownMessage
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.human import HumanTask
from perdure.kernel.program import RunInfo
from perdure.kernel.project import RunRow, restore
from perdure.kernel.run import Status
from perdure.languages.python.build import fingerprint
from perdure.payload import PayloadCodec
from perdure.payload.forms import outgrown
from perdure.payload.misfit import how_to_read
from perdure.stores.base import RunFilter, Store, Stored, Views

OPEN = tuple(int(status) for status in Status if status < Status.COMPLETED)
CLOSED = tuple(int(status) for status in Status if status >= Status.COMPLETED)
SAMPLE = 100
"""Closed runs that are looked at, the newest."""

NAMED = 5
"""Runs of a finding that are named; of all others there is the number."""

PAGE = 200


class Finding(msgspec.Struct):
    """Runs that the code does not fit for one reason. `runs` is how many, `ids` the first of them; `open`: they are to go
    on, and with this code unless they are `pinned` to a build that is another one. The verdict is that on the first."""

    verdict: Verdict
    open: bool
    pinned: str = ""
    runs: int = 0
    ids: list[str] = []


class Patch(msgspec.Struct):
    """A change for which a workflow asks: how many open runs go which way, or have not come to it. `deprecated`: the code
    has no old way any more; `marked` runs were begun by code that still had one."""

    workflow: str
    id: str
    old: int = 0
    new: int = 0
    ahead: int = 0
    marked: int = 0
    deprecated: bool = False

    @property
    def advice(self) -> str:
        """The next step of the three deploys that a change takes, if its time has come."""
        if not self.deprecated and not self.old and not self.ahead:
            return f"no open run needs the old way: write deprecate_patch({self.id!r}) and only the new one"
        if self.deprecated and not self.marked:
            return f"no open run needs it: deprecate_patch({self.id!r}) can go"
        return ""


class CheckReport(msgspec.Struct):
    """What was found. `open` and `closed` are how many runs were looked at, `events` what they hold. `pinned`: how many of
    the open ones wait for other builds, by these."""

    open: int = 0
    closed: int = 0
    pinned: dict[str, int] = {}
    events: int = 0
    seconds: float = 0.0
    findings: list[Finding] = []
    patches: list[Patch] = []

    @property
    def blocking(self) -> list[Finding]:
        """Those about runs that are to go on with this code."""
        return [finding for finding in self.findings if finding.open and not finding.pinned]

    @property
    def stuck(self) -> int:
        """How many open runs would not go on."""
        return sum(finding.runs for finding in self.blocking)


class Checks:
    """Looks at runs one by one. Used as a context, like `Replays`.

    Args:
        definitions: workflows, activities and modules that contain them, as for an engine.
        store: the database; it is only read.
        codec: that of the engine which wrote the payloads.
        build: what the code at hand will be called; None is the fingerprint that an engine makes of it.

    Raises:
        errors.DefinitionError: the definitions make no sense.
    """

    def __init__(
        self,
        definitions: Iterable[Any],
        store: Store,
        codec: PayloadCodec | None = None,
        build: str | None = None,
    ) -> None:
        self._replays = Replays(definitions, codec=codec)
        workflows = [language.definition for language in self._replays.languages.values()]
        self._build = build or fingerprint(workflows, self._replays.activities.values())
        self._views = store.views
        self._findings: dict[tuple[Any, ...], Finding] = {}
        self._asked: dict[str, dict[str, Patch]] = {}
        self._runs_of: dict[str, int] = {}
        self.report = CheckReport()

    def __enter__(self) -> Self:
        self._replays.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._replays.__exit__(kind, error, tb)

    @property
    def workflows(self) -> list[str]:
        return list(self._replays.workflows)

    def total(self, closed: int) -> int:
        """How many runs there are to look at."""
        most_closed = self._views.count(RunFilter(statuses=CLOSED), closed) if closed else 0
        return self._views.count(RunFilter(statuses=OPEN), 1_000_000) + most_closed

    def all(self, closed: int = SAMPLE, step: Callable[[], object] = lambda: None) -> CheckReport:
        """Look at all open runs and the newest closed ones; `step` is called after each."""
        began = time.perf_counter()
        for statuses, most in ((OPEN, None), (CLOSED, closed)):
            for key in keys_of(self._views, statuses, most):
                stored = self._views.stored(key)
                if stored is not None:
                    self.look(stored)
                step()
        self.report.seconds = time.perf_counter() - began
        return self._summed_up()

    def look(self, stored: Stored) -> None:
        """Judge one run."""
        report, row = self.report, stored.run
        is_open = row.status in OPEN
        blob = partial(self._views.blob, row.key)
        verdict = self._replays.judge_stored(row.id, stored, blob)
        report.events += verdict.events
        if is_open:
            report.open += 1
            if self._elsewhere(row):
                report.pinned = {**report.pinned, row.pinned: report.pinned.get(row.pinned, 0) + 1}
            if verdict.block is None:
                verdict = msgspec.structs.replace(verdict, block=self._waiting(stored, blob, verdict.forms))
            self._count_patches(stored, verdict)
        else:
            report.closed += 1
        if verdict.block is not None:
            self._add(verdict, is_open, self._elsewhere(row) if is_open else "")

    def _elsewhere(self, row: RunRow) -> str:
        """The build the run waits for, if the code at hand is another one."""
        return row.pinned if row.pinned != self._build else ""

    def _add(self, verdict: Verdict, is_open: bool, pinned: str) -> None:
        verdict = _advised(verdict, self._replays)
        block = verdict.block
        assert block is not None
        group = (is_open, pinned, verdict.workflow, block.kind, block.source, *_cause(block))
        finding = self._findings.setdefault(group, Finding(verdict, is_open, pinned))
        finding.runs += 1
        if len(finding.ids) < NAMED:
            finding.ids = [*finding.ids, verdict.id]

    def _waiting(
        self, stored: Stored, blob: Callable[[bytes], bytes | None], forms: Mapping[str, dict[str, Any]]
    ) -> ev.Block | None:
        """Why the code could not read what it will be shown: arguments of steps, answers to human tasks, mail, the start of a run
        that is queued."""
        row = stored.run
        shelf = Shelf(row.id, blob, self._replays.coder)
        history = wire.decode_history(stored.history)
        for mail in stored.mail:
            block = self._unreadable_mail(mail.message, row, history, shelf)
            if block is not None:
                return block
        if not history:
            return None
        run = restore(row, history, stored.attempts)
        for task in () if run.people is None else run.people.open.values():
            why = outgrown(task.form, forms.get(task.id, task.form))
            if why:
                return _outgrown(task, why, self._replays.languages[run.workflow].definition.source)
        for step in run.pending.values():
            definition = self._replays.activities.get(step.name)
            if definition is None:
                return _unknown_activity(step.name, step.id)
            try:
                definition.parameters.decode(shelf.plain(step.input))
            except PerdureError as error:
                what = f"the arguments of activity {definition.name} [{step.id}]"
                return _undecodable(what, error, definition.source)
        return None

    def _unreadable_mail(
        self, message: Any, row: RunRow, history: list[ev.HistoryEvent], shelf: Shelf
    ) -> ev.Block | None:
        match message:
            case msg.Start() if not history:
                language = self._replays.languages.get(message.workflow)
                if language is None:
                    return unknown_workflow(message.workflow, self._replays.workflows)
                try:
                    language.check(RunInfo(row.id, message.run_id, message.workflow, 0), message.input, shelf)
                except PerdureError as error:
                    what = f"the input of workflow {language.definition.name}"
                    return _undecodable(what, error, language.definition.source)
                if message.first is not None:
                    return self._unreadable_mail(message.first, row, history, shelf)
            case msg.Signal() | msg.Update() if row.workflow in self._replays.languages:
                language = self._replays.languages[row.workflow]
                try:
                    language.check_message(RunInfo(row.id, row.run_id, row.workflow, 0), message, shelf, None)
                except PerdureError as error:
                    what = f"the {type(message).__name__.lower()} {message.name}, which waits to be read,"
                    return _undecodable(what, error, language.definition.source)
            case msg.AttemptEnded(result=ev.Payload() as result) | msg.Complete(result=ev.Payload() as result):
                names = {event.id: event.name for event in history if isinstance(event, ev.ActivityScheduled)}
                definition = self._replays.activities.get(names.get(message.id, ""))
                try:
                    if definition is not None:
                        definition.result.decode(shelf.plain(result))
                except PerdureError as error:
                    what = f"the result of activity {definition.name} [{message.id}], which waits to be read,"  # type: ignore[union-attr]
                    return _undecodable(what, error, definition.source)  # type: ignore[union-attr]
            case msg.ChildEnded(result=ev.Payload() as result):
                names = {event.id: event.workflow for event in history if isinstance(event, ev.ChildScheduled)}
                child = self._replays.languages.get(names.get(message.id, ""))
                try:
                    if child is not None:
                        child.definition.result.decode(shelf.plain(result))
                except PerdureError as error:
                    what = f"the result of child {child.definition.name} [{message.id}], which waits to be read,"  # type: ignore[union-attr]
                    return _undecodable(what, error, child.definition.source)  # type: ignore[union-attr]
        return None

    def _count_patches(self, stored: Stored, verdict: Verdict) -> None:
        workflow = verdict.workflow
        self._runs_of[workflow] = self._runs_of.get(workflow, 0) + 1
        if not verdict.patches:
            return
        asked = self._asked.setdefault(workflow, {})
        marks: dict[str, bool] | None = None
        for id, goes_new in verdict.patches.items():
            patch = asked.setdefault(id, Patch(workflow, id))
            patch.deprecated = patch.deprecated or id in verdict.deprecated
            if not goes_new:
                patch.old += 1
                continue
            patch.new += 1
            if marks is None:
                events = wire.decode_history(stored.history)
                marks = {event.patch: event.deprecated for event in events if isinstance(event, ev.PatchMarked)}
            patch.marked += not marks.get(id, True)

    def _summed_up(self) -> CheckReport:
        report = self.report
        report.findings = sorted(self._findings.values(), key=lambda each: (not each.open, each.pinned, -each.runs))
        for workflow, asked in sorted(self._asked.items()):
            for patch in asked.values():
                patch.ahead = self._runs_of[workflow] - patch.old - patch.new
                report.patches.append(patch)
        return report


def keys_of(views: Views, statuses: tuple[int, ...], most: int | None = None) -> Iterator[int]:
    """Of runs with these statuses, the newest first."""
    wanted = RunFilter(statuses=statuses, limit=PAGE)
    left = most
    while left is None or left > 0:
        page = views.search(wanted if left is None else msgspec.structs.replace(wanted, limit=min(PAGE, left)))
        if not page:
            return
        yield from (row.key for row in page)
        left = None if left is None else left - len(page)
        wanted = msgspec.structs.replace(wanted, before_key=page[-1].key)


def marks_of_open_runs(views: Views) -> Iterator[tuple[str, int, dict[str, int]]]:
    """What can be said of changes without the code: each workflow, how many open runs it has that have begun, and how many of
    these have the mark of each change of which one has it."""
    open_runs: Counter[str] = Counter()
    marks: dict[str, Counter[str]] = {}
    for key in keys_of(views, OPEN):
        stored = views.stored(key)
        if stored is None or not stored.history:
            continue
        workflow = stored.run.workflow
        open_runs[workflow] += 1
        found = {event.patch for event in wire.decode_history(stored.history) if isinstance(event, ev.PatchMarked)}
        marks.setdefault(workflow, Counter()).update(found)
    for workflow, count in sorted(open_runs.items()):
        yield workflow, count, dict(marks[workflow])


def _cause(block: ev.Block) -> tuple[str, ...]:
    """The same of all runs that do not fit for one reason: ids, titles and values are each run's own."""
    if block.recorded or block.produced:
        return (_without_ids(block.recorded), _without_ids(block.produced))
    if block.kind == "bug" and block.source:
        return (block.message.partition(":")[0],)
    return (_without_ids(block.message),)


def _without_ids(text: str) -> str:
    """Without which step it was, the number of the event, the value that was found, and what runs may call by names of their
    own."""
    text = re.sub(r"event \d+|, found .*", "", re.sub(r" \[[^\]]*\]", "", text))
    return re.sub(r"^(human task|stream|cancel run|signal .* to run) .*", r"\1", text)


def _advised(verdict: Verdict, known: Replays) -> Verdict:
    """An activity, or a child, of which nobody has heard, where the code calls another one, was probably renamed."""
    block = verdict.block
    assert block is not None
    recorded, produced = (re.match(r"(activity|child) (\S+) \[", words) for words in (block.recorded, block.produced))
    if recorded is None or produced is None or recorded[1] != produced[1]:
        return verdict
    what, old, new = "activity" if recorded[1] == "activity" else "workflow", recorded[2], produced[2]
    if old in (known.activities if what == "activity" else known.languages):
        return verdict
    hint = f"if {old} is called {new} now:  @{what}(aliases=[{old!r}]);  else {block.hint}"
    return msgspec.structs.replace(verdict, block=msgspec.structs.replace(block, hint=hint))


def _unknown_activity(name: str, step: str) -> ev.Block:
    return ev.Block(
        "unknown-activity",
        "",
        f"activity {name} [{step}], which has no result yet, was not given",
        f"give it, too;  if it has another name now:  @activity(aliases=[{name!r}])",
    )


def _outgrown(task: HumanTask, why: Sequence[str], source: str) -> ev.Block:
    return ev.Block(
        "undecodable",
        "",
        f"human task {task.title} [{task.id}] is open, and no answer to what people are asked can be read: {'; '.join(why)}",
        "give new fields a default, and let the type read what is asked, until nobody has such a task any more",
        source=source,
    )


def _undecodable(what: str, error: PerdureError, source: str) -> ev.Block:
    verb = "heard" if isinstance(error, UnknownMessage) else "read"
    return ev.Block("undecodable", "", f"{what} can no longer be {verb}: {error}", how_to_read(error), source=source)
