"""Recorded histories shown to the code at hand: does it still do what they have?

This is what an engine does when it makes a run stand again, without an engine, a database or a single activity. It
changes nothing, whatever it finds.
"""

import re
import threading
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from perdure import errors
from perdure.client.description import Blob
from perdure.client.export import ExportedRun
from perdure.client.summary import summary_of
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.commands import MarkPatch, OpenTask
from perdure.kernel.limits import PAYLOAD_MAX_BYTES
from perdure.kernel.program import Divergence, Lookup, ProgramBlocked, replay
from perdure.kernel.project import RunRow
from perdure.kernel.run import Run, evolve
from perdure.languages.python.machine import PythonLanguage
from perdure.payload import Coder, PayloadCodec
from perdure.runtime.programs import block_of, divergence_block, info_of
from perdure.runtime.watchdog import Watchdog
from perdure.stores.base import Stored
from perdure.workflows import definitions_of

STUCK_SECONDS = 2.0
"""A workflow that computes for longer without an await is interrupted, as in an engine."""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one history. `name` is the file's, or the run's id; `events` is how many it holds.

    `block` says why the code at hand cannot go on with it, as a run's own block does; None: it does what the history
    has. Its kind may also be "unreadable": what should be a history is none, or has been redacted. `after` is the number
    of the event the code was shown last, `why` what the rest of the history lets one guess. `patches`: for which changes
    the code has asked, and whether the run goes the new way; `deprecated` are those that have no old way any more. `forms`:
    what the code reads as answers to its human tasks, by step.
    """

    name: str
    id: str = ""
    workflow: str = ""
    status: str = ""
    events: int = 0
    after: int = 0
    block: ev.Block | None = None
    why: str = ""
    patches: dict[str, bool] = {}
    deprecated: frozenset[str] = frozenset()
    forms: dict[str, dict[str, Any]] = {}

    @property
    def kind(self) -> str:
        """ "ok", or the kind of the block."""
        return "ok" if self.block is None else self.block.kind

    @property
    def label(self) -> str:
        """The name, and the run it does not tell of: one of several in a file."""
        return self.name if self.id in self.name else f"{self.name} ({self.id})"

    @property
    def head(self) -> str:
        """What the history does to the code, in a few words."""
        if self.block is None:
            return f"has {_count(self.events, 'event')}"
        head = one_head(self.block.kind)
        return f"{head} after event {self.after:,}" if self.after and self.block.kind in _IN_THE_MIDDLE else head

    def lines(self) -> list[str]:
        """The verdict in words: the first line says what, those in between tell more, the last one what to do."""
        block = self.block
        lines = [f"{self.label} {self.head}"]
        if block is None:
            return lines
        if block.recorded or block.produced:
            lines.append(f"history:  {block.recorded}    code:  {block.produced}")
        else:
            lines += [line.strip() for line in block.message.splitlines() if line.strip()]
        if block.source:
            lines.append(f"at {block.source}" + (f"  ({self.why})" if self.why else ""))
        lines += [line for line in block.hint.splitlines() if line.strip()]
        return lines


class Report(msgspec.Struct, frozen=True):
    """What became of some histories, in `seconds`."""

    verdicts: list[Verdict]
    seconds: float = 0.0

    @property
    def failed(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.block is not None]

    @property
    def events(self) -> int:
        return sum(verdict.events for verdict in self.verdicts)

    def __str__(self) -> str:
        lines: list[str] = []
        for verdict in self.failed:
            head, *facts = verdict.lines()
            lines += [head, *(f"    {fact}" for fact in facts)]
        good = len(self.verdicts) - len(self.failed)
        whole = _count(good, "history", "histories") if not lines else f"{good:,} of {len(self.verdicts):,} histories"
        return "\n".join([*lines, f"{whole} replayed, {_count(self.events, 'event')}, {self.seconds:.1f} s"])


class Replays:
    """Judges histories by the code at hand. Used as a context, which a watchdog guards against code that does not end.

    Args:
        definitions: workflows, activities and modules that contain them, as for an engine.
        payload_max_bytes: as for an engine.
        stuck_after: seconds that workflow code may run without an await.
        codec: that of the engine which wrote the payloads.

    Raises:
        errors.DefinitionError: they make no sense.
    """

    def __init__(
        self,
        definitions: Iterable[Any],
        *,
        payload_max_bytes: int = PAYLOAD_MAX_BYTES,
        stuck_after: float = STUCK_SECONDS,
        codec: PayloadCodec | None = None,
    ) -> None:
        self.coder = Coder(codec)
        workflows, self.activities = definitions_of(definitions)
        self.languages = {
            name: PythonLanguage(definition, self.activities, payload_max_bytes, _say_nothing)
            for name, definition in workflows.items()
        }
        self._thread: int | None = None
        self._watchdog = Watchdog(stuck_after, None, lambda: self._thread)

    def __enter__(self) -> Self:
        self._watchdog.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._watchdog.end()

    @property
    def workflows(self) -> Sequence[str]:
        return [name for name, language in self.languages.items() if name == language.definition.name]

    def judge(self, name: str, run: ExportedRun) -> Verdict:
        """Show an exported history to the code."""
        if run.redacted:
            verdict = _verdict_of(name, run.stored(), len(run.events))
            return msgspec.structs.replace(verdict, block=_unreadable(_REDACTED, "export it without --redact"))
        return self.judge_stored(name, run.stored(), run.finder())

    def judge_stored(self, name: str, stored: Stored, blob: Blob) -> Verdict:
        """Show a history from a store to the code; `blob` finds large payloads."""
        try:
            history = wire.decode_history(stored.history)
        except msgspec.MsgspecError as error:
            return Verdict(name, stored.run.id, block=_unreadable(f"an event cannot be read: {error}", _RESTORE))
        verdict = _verdict_of(name, stored, len(history))
        if not history:
            return verdict  # a run that no engine has taken yet
        if type(history[0]) is not ev.RunStarted:
            return msgspec.structs.replace(verdict, block=_unreadable("it does not begin with RunStarted", _RESTORE))
        self._thread = threading.get_ident()
        row = stored.run
        run = Run(row.key, row.id)
        evolve(run, history[0])
        language = self.languages.get(run.workflow)
        if language is None:
            return msgspec.structs.replace(verdict, block=unknown_workflow(run.workflow, self.languages))
        program = _Watched(language.load(info_of(run), Lookup(history), Shelf(row.id, blob, self.coder)))
        after, block = self._shown(program, stored.run, history)
        why = "" if block is None or block.kind != "divergence" else _guess(block, history, after)
        return msgspec.structs.replace(
            verdict,
            after=after,
            block=block,
            why=why,
            patches=program.patches(),
            deprecated=program.deprecated,
            forms=program.forms,
        )

    def _shown(
        self, program: "_Watched", row: RunRow, history: Sequence[ev.HistoryEvent]
    ) -> tuple[int, ev.Block | None]:
        """Replay; the number of the event shown last, and why the code cannot go on."""
        try:
            replay(program, history, row.open_tail)
        except Divergence as divergence:
            block = divergence_block(divergence, program, "", 0, row.open_tail)
            return divergence.seq, block
        except ProgramBlocked as blocked:
            return program.seq(history), block_of(blocked, "", 0, row.open_tail)
        except Exception as error:  # noqa: BLE001  whatever an impossible history does, it is the finding
            text = f"{type(error).__name__}: {error}"
            return program.seq(history), _unreadable(f"no run can have such a history ({text})", _RESTORE)
        finally:
            program.close()
        return len(history), None


class _Watched:
    """A program, the event it was shown last, the changes of which it has said that they have no old way, and its human tasks."""

    def __init__(self, program: Any) -> None:
        self._program = program
        self._advance = program.advance
        self._last: ev.HistoryEvent | None = None
        self.deprecated: frozenset[str] = frozenset()
        self.forms: dict[str, dict[str, Any]] = {}
        self.where = program.where
        self.name_of = program.name_of
        self.close = program.close

    def advance(self, event: ev.HistoryEvent, replaying: bool) -> Any:
        self._last = event
        commands = self._advance(event, replaying)
        for command in commands:
            if type(command) is MarkPatch and command.deprecated:
                self.deprecated |= {command.patch}
            elif type(command) is OpenTask:
                self.forms[command.id] = command.form
        return commands

    def patches(self) -> dict[str, bool]:
        """For which changes it has asked, and what it was told."""
        return dict(self._program.loop.patches or {})

    def seq(self, history: Sequence[ev.HistoryEvent]) -> int:
        """The number of that event."""
        return next((seq for seq, event in enumerate(history, start=1) if event is self._last), 0)


class Shelf:
    """The large payloads of one run. What the code makes anew is dropped with it."""

    def __init__(self, id: str, blob: Blob, coder: Coder) -> None:
        self._id = id
        self._blob = blob
        self._coder = coder
        self._made: dict[bytes, bytes] = {}

    def plain(self, payload: ev.Payload) -> bytes:
        return self._coder.unseal(payload, self._get)

    def _get(self, digest: bytes) -> bytes:
        data = self._made.get(digest) or self._blob(digest)
        if data is None:
            raise errors.StoreCorrupt(f"run {self._id!r}: the payload sha256:{digest.hex()} is missing")
        return data

    def put(self, run_id: bytes, digest: bytes, data: bytes) -> None:
        self._made[digest] = data


def replayed(
    runs: Iterable[tuple[str, ExportedRun | errors.ExportUnreadable]],
    definitions: Iterable[Any],
    codec: PayloadCodec | None = None,
) -> Report:
    """Show exported histories, or why they cannot be read, to the code at hand."""
    began = time.perf_counter()
    with Replays(definitions, codec=codec) as replays:
        verdicts = [
            unreadable(name, run) if isinstance(run, errors.ExportUnreadable) else replays.judge(name, run)
            for name, run in runs
        ]
    return Report(verdicts, time.perf_counter() - began)


def unreadable(name: str, error: errors.PerdureError) -> Verdict:
    """The verdict on what is no history."""
    return Verdict(name, block=_unreadable(str(error).removeprefix(f"{name} ").removeprefix(f"{name}: ")))


_REDACTED = "its values are redacted, so the code cannot be shown what really happened"
_RESTORE = "export the run again, or restore a backup"

_HEADS = {
    "divergence": "diverges",
    "bug": "meets a bug",
    "stuck": "does not come to an await",
    "undecodable": "has a value that can no longer be read",
    "unknown-activity": "calls an activity that is not here",
    "unknown-workflow": "is of a workflow that is not here",
    "unreadable": "cannot be replayed",
}
_IN_THE_MIDDLE = frozenset({"divergence", "bug", "stuck", "undecodable", "unknown-activity"})


def one_head(kind: str) -> str:
    """What a run does to the code, by the kind of its block."""
    return _HEADS.get(kind, "cannot be replayed")


def _verdict_of(name: str, stored: Stored, events: int) -> Verdict:
    summary = summary_of(stored.run)
    return Verdict(name, summary.id, summary.workflow, summary.status, events)


def _unreadable(message: str, hint: str = "") -> ev.Block:
    return ev.Block("unreadable", "", message, hint)


def unknown_workflow(name: str, known: Iterable[str]) -> ev.Block:
    names = ", ".join(sorted(known)[:10]) or "none"
    hint = f"give it, too;  if it has another name now:  @workflow(aliases=[{name!r}])"
    return ev.Block("unknown-workflow", "", f"{name!r} was not given; there are: {names}", hint)


def _guess(block: ev.Block, history: Sequence[ev.HistoryEvent], seq: int) -> str:
    """What may have led to a divergence."""
    found = re.match(r"activity (\S+) \[", block.produced)
    later = next(
        (
            number
            for number, event in enumerate(history[seq:], start=seq + 1)
            if found is not None and isinstance(event, ev.ActivityScheduled) and event.name == found[1]
        ),
        None,
    )
    if block.produced == "nothing":
        return "the code leaves it out, or comes to it later"
    if block.recorded == "nothing":
        return "the code does more than was done"
    if found is not None and later is not None:
        return f"the history has {found[1]} later, as event {later:,}: did the order of the steps change?"
    return ""


def _say_nothing(record: Any) -> None:
    """Workflow code that is only looked at logs nothing."""


def _count(number: int, one: str, many: str = "") -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {many or one + 's'}"
