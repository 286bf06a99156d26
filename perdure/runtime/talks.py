"""What people say to a run: whether its code takes a message, and what it answers to a question.

A message moves the run; a question never does. So a program that is made only to be asked is made beside the run: what is
found then, code that does not fit or another build, is told to whoever asks, and the run stays as it is.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from perdure import errors
from perdure.failures import failure_of, text_of
from perdure.kernel import messages as msg
from perdure.kernel.decide import Refused, decide, knows_update
from perdure.kernel.events import Failure, HistoryEvent, Payload, RunStarted
from perdure.kernel.program import Divergence, Meddled, Program, ProgramBlocked, left_open, replay
from perdure.kernel.run import Run, evolve
from perdure.runtime.actors import Actor
from perdure.runtime.coding import payloads_in
from perdure.runtime.programs import Programs, wrong_build

Spoken = msg.Signal | msg.Update
SPOKEN = frozenset({msg.Signal, msg.Update})


class Marker(Protocol):
    """Told which run's code is about to run, and when it has come back: a process that dies in between dies of that run."""

    def enter(self, key: int) -> None: ...

    def leave(self) -> None: ...


class Talks:
    """Looks at messages before a run takes them. `stand` makes the program of a run stand, false if its code does not fit;
    `build` is that of the code at hand."""

    def __init__(self, programs: Programs, marker: Marker, build: str, stand: Callable[[Actor, int], bool]) -> None:
        self._programs = programs
        self._marker = marker
        self._build = build
        self._stand = stand

    def admit(self, actor: Actor, message: Spoken, now: int) -> Spoken:
        """The message as the run takes it; it may have to wait, or to be refused for other reasons.

        Raises:
            Refused: the code does not hear it, its arguments do not fit, or the validator rejects it.
        """
        run = actor.run
        if not run.is_open or knows(run, message):
            return message
        self._demand_heard(actor, message, now)
        if type(message) is msg.Update and self._stands(actor, now):
            self._validate(actor, message)
        if run.block is not None:
            return message  # it is not taken now
        return msgspec.structs.replace(message, input=actor.set_apart(message.input))

    def _demand_heard(self, actor: Actor, message: Spoken, now: int) -> None:
        try:
            try:
                self._programs.check_message(actor, message)
            except errors.UnknownMessage:
                if actor.program is not None or not self._stands(actor, now):
                    if self._may_hear_later(actor.run, message):
                        return
                    raise
                self._programs.check_message(actor, message)  # the main line may have made a channel
        except errors.PerdureError as error:
            raise Refused(error.code, str(error)) from None

    def _may_hear_later(self, run: Run, message: Spoken) -> bool:
        """Whether a signal is to wait until its run, which is blocked, can say whether it has a channel for it."""
        waits = run.block is not None and isinstance(message, msg.Signal)
        return waits and self._programs.listens_to_more(run.workflow)

    def demand_build(self, run: Run) -> None:
        """Nobody but the build to which a run is pinned can say what its code makes of a message.

        Raises:
            Refused: the code at hand is another one.
        """
        if run.is_open and run.pinned and run.pinned != self._build:
            block = wrong_build(run, self._build)
            raise Refused(errors.RunPinned.code, f"run {run.id!r} {block.message}\n  hint: {block.hint}")

    def _stands(self, actor: Actor, now: int) -> bool:
        run = actor.run
        if not run.seq or not run.is_open or run.block is not None:
            return False
        return actor.program is not None or self._stand(actor, now)

    def rehearse(self, actor: Actor, start: msg.Start, now: int) -> None:
        """Have the validator look at the update that comes with a start. For that the program begins, before its run does: it
        is shown its beginning next.

        Raises:
            Refused: the validator rejects it.
            ProgramBlocked: the run would be blocked before it has heard it.
        """
        run, update = actor.run, start.first
        assert isinstance(update, msg.Update)
        (begun, *_) = decide(run, start, now)
        assert isinstance(begun, RunStarted)
        program = self._programs.load(actor, (), run=evolve(Run(run.key, run.id, run.chain), begun))
        if program is None:
            raise self._programs.unknown(start.workflow)
        self._marker.enter(run.key)
        try:
            program.begin(begun)
        finally:
            self._marker.leave()
        actor.program = program
        self._validate(actor, update)

    def _validate(self, actor: Actor, update: msg.Update) -> None:
        program = actor.program
        assert program is not None
        self._marker.enter(actor.run.key)
        try:
            program.validate(update)
        except Meddled as meddled:
            actor.let_go()
            raise Refused(
                "update-rejected", f"the validator of update {update.name!r} is at fault: {meddled}"
            ) from None
        except Exception as error:  # noqa: BLE001  it is the user's
            failure = failure_of(error)
            what = f"update {update.name!r} is rejected by run {actor.run.id!r}: {_told(error, failure)}"
            raise Refused("update-rejected", what, failure) from None
        finally:
            self._marker.leave()

    def demand_fit(self, actor: Actor, message: msg.CompleteTask) -> None:
        """Have the program, which stands, look at the answer to a human task before the run takes it.

        Raises:
            Refused: it could not read that.
        """
        if actor.program is None:
            return
        self._marker.enter(actor.run.key)
        try:
            actor.program.admit(message)
        except errors.PerdureError as misfit:
            raise Refused(misfit.code, str(misfit)) from None
        finally:
            self._marker.leave()

    def answer(self, actor: Actor, query: msg.Query) -> Payload:
        """What the run's code says to a question. Whatever comes of it, the run stays as it is.

        Raises:
            Refused: it says nothing, and why.
        """
        run = actor.run
        if not run.seq:
            raise Refused(
                "query-failed", f"run {run.id!r} has not begun yet, so that it can answer nothing; ask again later"
            )
        self.demand_build(run)
        try:
            self._programs.check_message(actor, query)
        except errors.PerdureError as error:
            raise Refused(error.code, str(error)) from None
        program: Program | None = None
        self._marker.enter(run.key)
        try:
            program = self._standing(actor)
            return program.query(query)
        except Refused:
            raise
        except Meddled as meddled:
            actor.let_go()
            raise Refused("query-failed", f"query {query.name!r} is at fault: {meddled}") from None
        except Exception as error:  # noqa: BLE001  it is the user's
            failure = failure_of(error)
            what = f"query {query.name!r} of run {run.id!r} failed: {_told(error, failure)}"
            raise Refused("query-failed", what, failure) from None
        finally:
            self._marker.leave()
            if program is not None and not run.is_open:
                program.close()

    def _standing(self, actor: Actor) -> Program:
        """The program of a run, to be asked. That of one that is open is kept for what comes next."""
        run = actor.run
        if not run.is_open:
            return self._remade(actor, actor.history())
        if run.block is not None or run.open_tail:
            raise Refused("run-blocked", _blocked(actor))
        if actor.program is None:
            actor.program = self._shown(actor, actor.history())
        return actor.program

    def _shown(self, actor: Actor, history: Sequence[HistoryEvent]) -> Program:
        """A program that was shown the history of a run that is open, and has nothing to say to it."""
        run = actor.run
        program = self._loaded(actor, history)
        try:
            replay(program, history)
            return program
        except (Divergence, ProgramBlocked) as fault:
            program.close()
            raise Refused(
                "query-failed",
                f"run {run.id!r} cannot be asked: the code at hand does not do what its history has ({fault}); perdure check "
                "says what to write",
            ) from None

    def _remade(self, actor: Actor, history: Sequence[HistoryEvent], shows_all: bool = True) -> Program:
        """The program of a run that has ended. What it would have made of its last event counts if that was nothing but to
        wait; else the run was blocked there, and ended so."""
        run = actor.run
        program = self._loaded(actor, history)
        last = left_open(history) if shows_all else None
        try:
            replay(program, history)
            if last is None or not program.advance(last, True):
                return program
        except (Divergence, ProgramBlocked) as fault:
            program.close()
            if last is None:
                raise Refused(
                    "query-failed", f"run {run.id!r} has ended, and the code at hand does not do what it did: {fault}"
                ) from None
        program.close()
        return self._remade(actor, history, False)

    def _loaded(self, actor: Actor, history: Sequence[HistoryEvent]) -> Program:
        if actor.coding is not None:
            actor.coding.prepare((payload, actor.blob) for event in history for payload in payloads_in(event))
        program = self._programs.load(actor, history)
        if program is None:
            raise Refused("unknown-workflow", self._programs.unknown(actor.run.workflow).message)
        return program


def knows(run: Run, message: msg.Message) -> bool:
    """Whether the run has heard it before."""
    if isinstance(message, msg.Update):
        return knows_update(run, message.id)
    return isinstance(message, msg.Signal) and run.has_received(message.request_id)


def _blocked(actor: Actor) -> str:
    block = actor.run.block
    if block is None:
        return f"run {actor.run.id!r} ended just now; ask again"
    return f"run {actor.run.id!r} is {actor.run.status.word} and answers nothing: {block.message}\n  hint: {block.hint}"


def _told(error: Exception, failure: Failure) -> str:
    ours = issubclass(type(error), errors.PerdureError)
    return text_of(error) if ours else f"{failure.type.rpartition('.')[2]}: {failure.message}"
