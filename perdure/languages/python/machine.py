"""Python as a language: a coroutine that decides for a run."""

import asyncio
import contextlib
import contextvars
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from perdure.errors import DefinitionError, PayloadNotDecodable, PerdureError, UnknownMessage, is_bug
from perdure.failures import activity_error, failure_of
from perdure.kernel import events as ev
from perdure.kernel.commands import Command, CompleteRun, EndCancelled, FailRun, MarkPatch
from perdure.kernel.limits import PAYLOAD_MAX_BYTES
from perdure.kernel.messages import CompleteTask, Query, Signal, Update
from perdure.kernel.notes import failure_line
from perdure.kernel.program import Blobs, Lookup, Meddled, Program, ProgramBlocked, Recorded, RunInfo
from perdure.languages.python import alike, guard, handling, refused, replaced, stops, unwind
from perdure.languages.python.beginning import Beginning, demand_sound
from perdure.languages.python.entering import enter, leave
from perdure.languages.python.handling import Ears
from perdure.languages.python.logs import emit
from perdure.languages.python.loop import MEND, WorkflowLoop, block_by
from perdure.languages.python.places import raised_at, waits_at
from perdure.languages.python.tasks import ChildFuture, Continued, Sealed, StepFuture
from perdure.languages.python.tracing import Tracer
from perdure.payload import seal
from perdure.payload.misfit import how_to_read

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition
    from perdure.handlers import Kind
    from perdure.workflows import WorkflowDefinition

SUPPORTED = ((3, 11), (3, 12), (3, 13))
"""Pythons on which the same code is known to give the same commands."""


class PythonLanguage:
    """Makes programs of one workflow.

    Args:
        definition: the workflow.
        activities: those it may call, by name.
        payload_max_bytes: above it an argument or a result is refused.
        emit: takes the log records of workflow code, after the turn that made them.

    Raises:
        DefinitionError: this Python is not known to replay what others recorded.
    """

    def __init__(
        self,
        definition: "WorkflowDefinition[Any, Any]",
        activities: "Mapping[str, ActivityDefinition[Any, Any]]",
        payload_max_bytes: int = PAYLOAD_MAX_BYTES,
        emit: Callable[[logging.LogRecord], object] = emit,
    ) -> None:
        refuse_untested(sys.version_info[:2])
        for room in (alike, refused, replaced, unwind):
            room.install()
        self.definition = definition
        self.ears = Ears(definition)
        self.activities = activities
        self.payload_max_bytes = payload_max_bytes
        self.emit = emit

    def load(self, info: RunInfo, recorded: Recorded, blobs: Blobs, traced: bool = False) -> Program:
        loop = WorkflowLoop(info, recorded, blobs, self.activities, self.payload_max_bytes, self.emit)
        return PythonProgram(self.definition, self.ears, loop, Tracer() if traced else None)

    def check(self, info: RunInfo, input: ev.Payload, blobs: Blobs) -> None:
        self._decode(info, self.definition.parameters.decode, input, blobs)

    def check_result(self, info: RunInfo, activity: str, result: ev.Payload, blobs: Blobs) -> None:
        definition = self.activities.get(activity)
        if definition is not None:
            self._decode(info, definition.result.decode, result, blobs)

    def check_message(
        self, info: RunInfo, message: Signal | Update | Query, blobs: Blobs, program: Program | None
    ) -> None:
        standing = program.loop if isinstance(program, PythonProgram) else None
        with contextlib.suppress(guard.WorkflowInterrupted):  # it does not fit the time: its turn will say so
            handling.check(self.ears, self._loop(info, blobs), message, standing, decoded)

    def listens(self) -> bool:
        return bool(self.definition.handlers) or bool(self.ears.channels) or self.ears.makes_channels

    def listens_to_more(self) -> bool:
        return self.ears.makes_channels

    def messages(self) -> Iterable[tuple[str, str, dict[str, Any]]]:
        return self.ears.published()

    def _decode(self, info: RunInfo, decode: Callable[[bytes], Any], payload: ev.Payload, blobs: Blobs) -> None:
        with contextlib.suppress(guard.WorkflowInterrupted):  # it does not fit the time: its turn will say so
            decoded(self._loop(info, blobs), decode, payload)

    def _loop(self, info: RunInfo, blobs: Blobs) -> WorkflowLoop:
        return WorkflowLoop(info, Lookup(), blobs, self.activities, self.payload_max_bytes, self.emit)


def refuse_untested(version: tuple[int, ...]) -> None:
    """Raise DefinitionError for a Python that was not tested to give the same commands as the others."""
    if version not in SUPPORTED:
        known = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
        raise DefinitionError(
            f"Python {version[0]}.{version[1]} is not tested to replay workflows that other Pythons recorded; "
            f"run this engine on one of {known}"
        )


_ENDLESS = "it did not come to its end in time and was interrupted"


class PythonProgram:
    """One run's coroutine on its loop. `instance`: of a class, the one whose methods hear messages; `failed_by`: what one of
    them raised, so that the run has to fail. `beginning`: of a run that begins with messages, until it has heard them."""

    __slots__ = ("beginning", "cancel_reason", "definition", "ears", "failed_by", "instance", "loop")

    def __init__(
        self, definition: "WorkflowDefinition[Any, Any]", ears: Ears, loop: WorkflowLoop, tracer: Tracer | None
    ) -> None:
        self.definition = definition
        self.ears = ears
        self.loop = loop
        loop.definition = definition
        self.instance: Any = None
        self.failed_by: BaseException | None = None
        loop.tracer = tracer
        self.cancel_reason: str | None = None
        self.beginning: Beginning | None = None

    def advance(self, event: ev.HistoryEvent, replaying: bool) -> Sequence[Command]:
        loop = self.loop
        loop.replaying = replaying
        loop.bug = None
        loop.undoing = ()
        loop.length += 1
        if event.at > loop.now:
            loop.now = event.at
        return self._react(event, self._answer)

    def begin(self, event: ev.RunStarted) -> None:
        loop = self.loop
        loop.now, loop.length, loop.handling = event.at, 1, event.spoken
        self._react(msgspec.structs.replace(event, spoken=0), lambda: demand_sound(self))
        self.beginning, loop.length = Beginning(None), 0
        self.beginning.early = True

    def _react(self, event: ev.HistoryEvent, answer: Callable[[], Sequence[Command]]) -> Sequence[Command]:
        loop = self.loop
        try:
            _DELIVER[type(event)](self, event)
            if self.beginning is not None and self.beginning.coming:
                return ()
            self._drain()
            return answer()
        except ProgramBlocked:
            unwind.unwind(loop)
            raise
        except guard.WorkflowInterrupted as interrupted:
            stuck = stops.stuck(loop, interrupted, self.definition.source)
            unwind.unwind(loop)
            raise stuck from None
        except Sealed:
            unwind.unwind(loop)
            if loop.blocked is None:
                raise
            raise loop.blocked from None  # the code asked for what this run cannot have

    def validate(self, update: Update) -> None:
        args = decoded(self.loop, self.ears.reader("update", update.name), update.input)
        try:
            handling.validate(self, update, args)
        except guard.WorkflowInterrupted:
            raise Meddled(_ENDLESS) from None

    def query(self, query: Query) -> ev.Payload:
        args = decoded(self.loop, self.ears.reader("query", query.name), query.input)
        try:
            return handling.answer(self, query, args)
        except guard.WorkflowInterrupted:
            raise Meddled(_ENDLESS) from None

    def admit(self, message: CompleteTask) -> None:
        asked = self.loop.waiting.get(message.id)
        if asked is not None:
            asked.admit(self.loop, message.result)

    def where(self, command_id: str | None) -> str:
        path = (command_id or "").rpartition(":")[0]
        for task in (self.loop.tasks.get(path), self.loop.main):
            place = waits_at(task.coro) if task is not None else ""
            if place:
                return place
        return self.definition.source

    def name_of(self, activity: str) -> str:
        definition = self.loop.activities.get(activity)
        return activity if definition is None else definition.name

    def close(self) -> None:
        unwind.unwind(self.loop)

    def _drain(self) -> None:
        """Run the user's code, with everything around it that it must not see or must not reach."""
        loop, tracer = self.loop, self.loop.tracer
        begins, self.beginning = self.beginning, None
        before = enter(loop)
        try:
            if tracer is not None:
                tracer.begin()
            try:
                guard.run(loop, loop.drain if begins is None else lambda: begins.hear(self))
            finally:
                if tracer is not None:
                    tracer.end()
        finally:
            leave(before)
            if loop.logs is not None:
                loop.emit_logs()

    def _answer(self) -> Sequence[Command]:
        loop = self.loop
        if loop.blocked is not None:
            raise loop.blocked
        if loop.bug is not None and any(loop.may_void(loop.bug, path) for path in loop.undoing):
            raise guard.run(loop, block_by, loop.bug)
        commands = list(loop.commands.values())
        loop.commands.clear()
        main = loop.main
        assert main is not None
        if main.done() and loop.stopped:
            commands.append(self._end(commands))
            unwind.unwind(loop)
        elif not loop.waiting and not handling.listens(self):
            raise stops.deadlock(loop, self.definition.source)
        if loop.pardoned is not None:
            raise guard.run(loop, stops.pardon, loop.pardoned, commands)
        loop.length += len(commands)
        if loop.patches:  # code that does not speak of a change any more replays its mark
            loop.length -= sum(type(command) is MarkPatch for command in commands)
        return commands

    def _end(self, commands: Sequence[Command]) -> Command:
        """The last command, once the main task is done."""
        main = self.loop.main
        assert main is not None
        error = None
        if self.failed_by is None and not main.cancelled():
            error = main.exception()
            if error is None:
                try:
                    return CompleteRun(self._sealed_result(main.result()))
                except PerdureError as refused:
                    error = refused
        # What an exception says is the user's code, too, and may be as bad as any.
        return guard.run(self.loop, _end_without_result, self, main, error, commands)

    def _sealed_result(self, value: Any) -> ev.Payload:
        loop = self.loop
        data = guard.run(loop, self.definition.result.encode, value)
        return seal(data, loop.put, loop.max_bytes, f"the result of workflow {self.definition.name}")

    def blocked_by(self, error: BaseException, commands: Sequence[Command]) -> ProgramBlocked:
        loop = self.loop
        failure = guard.run(loop, failure_of, error)
        source = raised_at(error) or self.definition.source
        return ProgramBlocked(
            "bug",
            f"{failure.type.rpartition('.')[2]}: {failure.message}",
            MEND,
            failure=failure,
            source=source,
            raised_earlier=loop.tracer is not None and loop.tracer.saw_earlier(error) and not loop.in_sagas(),
            commands=commands,
        )

    # delivery

    def _started(self, event: ev.RunStarted) -> None:
        if self.beginning is not None:
            self.beginning.coming = event.spoken
            return
        what = f"the input of workflow {self.definition.name}"
        try:
            input = decoded(self.loop, self.definition.parameters.decode, event.input)
        except PerdureError as error:
            raise undecodable(self.loop, what, error, self.definition.source) from error
        if event.spoken:
            self.beginning = Beginning(input)
            self.beginning.coming = event.spoken
        else:
            self.start(*input)

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin the main line."""
        loop, definition = self.loop, self.definition
        coroutine = (
            definition.direct(args, kwargs) if definition.cls is None else handling.on_instance(self, args, kwargs)
        )
        loop.main = loop.start(coroutine, "0", contextvars.Context())

    def _completed(self, event: ev.ActivityCompleted | ev.ChildCompleted) -> None:
        loop = self.loop
        future: StepFuture | ChildFuture | None = loop.waiting.pop(event.id, None)
        if future is None:
            return
        definition = future.definition
        try:
            value = decoded(loop, definition.result.decode, event.result)
        except PerdureError as error:
            what = f"the result of {definition.kind} {definition.name} [{event.id}]"
            raise undecodable(loop, what, error, definition.source) from error
        future.set_result(value)

    def _failed(self, event: ev.ActivityFailed) -> None:
        future: StepFuture | None = self.loop.waiting.pop(event.id, None)
        if future is not None:
            name = future.definition.name
            details = None if event.details is None else _json(self.loop, event.details)
            future.set_exception(activity_error(name, event.attempt, event.failure, event.reason, details))

    def _of_others(self, event: ev.HistoryEvent) -> None:
        """What has become of a child, or of something that was asked of another run."""
        from perdure.languages.python import children  # most workflows have none

        match event:
            case ev.ChildStarted():
                children.child_started(self.loop, event)
            case ev.ChildStartFailed():
                children.child_not_started(self.loop, event)
            case ev.ChildFailed():
                children.child_failed(self.loop, event)
            case ev.ExternalAnswered():
                children.answered(self.loop, event)


def _end_without_result(
    program: PythonProgram, main: "asyncio.Task[Any]", error: BaseException | None, commands: Sequence[Command]
) -> Command:
    """What a run without a result ends with."""
    failed_by = program.failed_by
    if main.cancelled():
        if failed_by is not None:
            return FailRun(failure_of(failed_by))
        if program.cancel_reason is not None:
            return EndCancelled(program.cancel_reason)
        return FailRun(failure_of(asyncio.CancelledError("the workflow cancelled itself; nobody asked for it")))
    if failed_by is not None:  # whatever the main line has made of its cancellation
        error = main.exception()
        if error is None or type(error) is Continued:
            return FailRun(failure_of(failed_by))
        handling.come_of(error, failed_by)
    assert error is not None
    if type(error) is Continued:
        from perdure.languages.python.children import left_over

        return msgspec.structs.replace(error.command, left=left_over(program.loop))
    if is_bug(error):
        raise program.blocked_by(error, commands)
    return FailRun(failure_of(error))


def _cancel_requested(program: PythonProgram, event: ev.CancelRequested) -> None:
    program.cancel_reason = event.reason
    main = program.loop.main
    assert main is not None
    main.cancel(event.reason or None)


def _fired(program: PythonProgram, event: ev.TimerFired) -> None:
    handle = program.loop.waiting.pop(event.id, None)
    if handle is not None:
        program.loop.ready.append(handle)


def _told_of_task(program: PythonProgram, event: ev.TaskCompleted | ev.TaskReminded | ev.TaskExpired) -> None:
    asked = program.loop.waiting.get(event.id)
    if asked is not None:
        asked.tell(event)


def decoded(loop: WorkflowLoop, decode: Callable[[bytes], Any], payload: ev.Payload) -> Any:
    """The types of values may bring code of the user's, validators say: it is no other than that of the workflow. What it raises
    ends nobody else, be it no `Exception`."""
    data = loop.plain(payload) if payload.ref or payload.encoding else payload.data
    try:
        return guard.run(loop, decode, data)
    except (Exception, guard.WorkflowInterrupted, Sealed):
        raise
    except BaseException as error:
        failure = guard.run(loop, failure_of, error)
        raise PayloadNotDecodable(f"what makes a value of it raised {failure_line(failure)}") from error


def _heard(program: PythonProgram, kind: "Kind", event: Any, update: str = "") -> None:
    """A message that was taken; by now the code may have changed."""
    try:
        args = decoded(program.loop, program.ears.reader(kind, event.name, program.loop), event.input)
    except PerdureError as error:
        raise undecodable(program.loop, f"the {kind} {event.name}", error, program.definition.source) from error
    begins = program.beginning
    if begins is None:
        handling.begin(program, kind, event.name, args, update)
        return
    by_channel = program.ears.method(kind, event.name) is None
    if begins.comes(by_channel, lambda: handling.begin(program, kind, event.name, args, update)):
        program.start(*begins.input)


def _json(loop: WorkflowLoop, payload: ev.Payload) -> Any:
    return msgspec.json.decode(loop.plain(payload))


def undecodable(loop: WorkflowLoop, what: str, error: BaseException, source: str) -> ProgramBlocked:
    """What is recorded does not fit the code at hand."""
    return ProgramBlocked(
        "undecodable",
        f"{what} can no longer be {'heard' if isinstance(error, UnknownMessage) else 'read'}: {error}",
        how_to_read(error),
        failure=guard.run(loop, failure_of, error),
        source=source,
    )


_DELIVER: dict[type, Any] = {
    ev.RunStarted: PythonProgram._started,
    ev.ActivityCompleted: PythonProgram._completed,
    ev.ActivityFailed: PythonProgram._failed,
    ev.TimerFired: _fired,
    ev.ChildCompleted: PythonProgram._completed,
    ev.ChildFailed: PythonProgram._of_others,
    ev.ChildStarted: PythonProgram._of_others,
    ev.ChildStartFailed: PythonProgram._of_others,
    ev.ExternalAnswered: PythonProgram._of_others,
    ev.TaskCompleted: _told_of_task,
    ev.TaskReminded: _told_of_task,
    ev.TaskExpired: _told_of_task,
    ev.CancelRequested: _cancel_requested,
    ev.SignalReceived: lambda program, event: _heard(program, "signal", event),
    ev.UpdateAccepted: lambda program, event: _heard(program, "update", event, event.id),
}
