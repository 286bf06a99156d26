"""The heart: one message moves one run. decide -> events -> program -> commands -> events, all in memory.

Nothing here waits, writes or reaches outside; what it leaves in the actor is committed later, or thrown away as a whole.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from perdure.errors import ReplayFailed
from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.decide import REPEATED, Refused, chunks_of, decide, decide_command, must_wait
from perdure.kernel.limits import PENDING_COMMANDS
from perdure.kernel.program import Divergence, Language, ProgramBlocked, replay
from perdure.kernel.run import Run
from perdure.runtime.actors import Actor
from perdure.runtime.coding import payloads_in
from perdure.runtime.programs import Programs, block_of, divergence_block, flood, wrong_build
from perdure.runtime.talks import SPOKEN, Marker, Talks, knows


class Claims(Protocol):
    """Who grants slots."""

    def claim(self, actor: Actor, name: str, step: str) -> int:
        """The member that may run the step's first attempt, or 0: it wants a slot."""
        ...

    def want(self, actor: Actor, name: str, step: str) -> None:
        """The step waits for a slot."""
        ...


class Turns:
    """Moves actors. `languages` by workflow; `build` is that of the code at hand; `most_pending` unresolved steps and
    timers may a run have. With `forgetful` a program is made anew, and shown the history, before each event it sees."""

    def __init__(
        self,
        languages: Mapping[str, Language],
        build: str,
        claims: Claims,
        marker: Marker,
        most_pending: int = PENDING_COMMANDS,
        forgetful: bool = False,
    ) -> None:
        self.programs = Programs(languages)
        self._talks = Talks(self.programs, marker, build, self._stand)
        self._build = build
        self._claims = claims
        self._marker = marker
        self._most_pending = most_pending
        self._forgetful = forgetful

    def take(self, actor: Actor, message: msg.Message, now: int) -> bool:
        """Move a run by a message. False: the message has to wait in the mailbox, the run is blocked.

        Raises:
            decide.Refused: the message does not fit the run's state.
        """
        run = actor.run
        claimed = _claimed(run) if type(message) is msg.Takeover else None
        is_ours = not run.pinned or self._is_ours(actor, message, now)
        if is_ours and type(message) in SPOKEN:
            message = self._talks.admit(actor, message, now)  # type: ignore[arg-type]
        if type(message) is msg.Move:
            message = self._checked(actor, message)
        while True:
            if must_wait(run, message):
                return False
            events = decide(run, message, now)
            if not events:
                return True
            if self._forgetful:
                actor.let_go()
            if run.seq and actor.program is None and type(events[-1]) in ev.DELIVERED and not self._stand(actor, now):
                return False
            if type(message) is msg.CompleteTask:
                self._talks.demand_fit(actor, message)
            for event in events:
                actor.fold(event)
                self._heed(actor, event, now)
            if type(message) not in REPEATED or not run.is_open:
                return True
            if type(message) is msg.Takeover and claimed is not None:
                # What the program schedules in answer to a loss is claimed by this owner: no attempt of a dead one.
                message = msg.Takeover(message.spared | (_claimed(run) - claimed))

    def answer(self, actor: Actor, query: msg.Query) -> ev.Payload:
        """What the run's code says to a question; it is the same run afterwards.

        Raises:
            decide.Refused: it says nothing, and why.
        """
        return self._talks.answer(actor, query)

    def _is_ours(self, actor: Actor, message: msg.Message, now: int) -> bool:
        """Whether the code at hand may look at a message to a run that is pinned. If not the run is blocked, so that the message
        waits; what would be refused then is so at once, and nothing happens to the run.

        Raises:
            decide.Refused: only its own build can say what becomes of the message.
        """
        if type(message) in _WHATEVER_THE_BUILD:
            return True
        is_refused = isinstance(message, msg.Retry | msg.Update) and not knows(actor.run, message)
        if is_refused and actor.run.block is None:
            self._talks.demand_build(actor.run)
        return self.fits(actor, now)

    def rehearse(self, actor: Actor, start: msg.Start, now: int) -> None:
        """Have the code look at the update that comes with a start, which is to be taken next.

        Raises:
            decide.Refused: the validator rejects it.
            ProgramBlocked: the run would be blocked before it has heard it.
        """
        self._talks.rehearse(actor, start, now)

    def fits(self, actor: Actor, now: int) -> bool:
        """Whether the run may be moved by the code at hand. One that is pinned to another build is blocked, and waits."""
        run = actor.run
        if not run.pinned or run.pinned == self._build or not run.is_open:
            return True
        if run.block is None:
            self._block(actor, wrong_build(run, self._build), now, open_tail=run.open_tail)
        return False

    def _checked(self, actor: Actor, move: msg.Move) -> msg.Move:
        """The wish with the build at hand, whose code the history was shown to.

        Raises:
            decide.Refused: that code does not do what the history has. Nothing has happened to the run.
        """
        run = actor.run
        if run.is_open and run.pinned not in ("", self._build):
            self._marker.enter(run.key)
            try:
                self.programs.demand_fit(actor)
            except Divergence as divergence:
                why = f"after event {divergence.seq} recorded {divergence.recorded}, produced {divergence.produced}"
                raise self._unmoved(run, why) from divergence
            except ProgramBlocked as blocked:
                raise self._unmoved(run, blocked.message) from blocked
            finally:
                self._marker.leave()
        return msg.Move(self._build)

    def _unmoved(self, run: Run, why: str) -> Refused:
        return Refused(
            ReplayFailed.code,
            f"run {run.id!r} stays pinned to build {run.pinned}: the code at hand, build {self._build}, does not do what "
            f"its history has ({why}); perdure check says what to write",
        )

    def resume(self, actor: Actor, now: int) -> None:
        """Let a run go on that owes an answer: it was released, or its owner died before it could give one."""
        run = actor.run
        if run.open_tail and run.block is None and run.is_open:
            self._stand(actor, now)

    def _heed(self, actor: Actor, event: ev.Event, now: int) -> None:
        if type(event) in ev.DELIVERED:
            self._show(actor, event, now)  # type: ignore[arg-type]
        elif type(event) is ev.AttemptReleased and actor.run.block is None:  # else when the block is released
            step = actor.run.pending[event.id]
            if step.wants_slot:  # else its queue has it
                self._claims.want(actor, step.name, event.id)
        elif type(event) is ev.RunReleased:
            if not self.fits(actor, now):
                return
            self.resume(actor, now)
            for step in actor.run.slot_wanted():
                self._claims.want(actor, step.name, step.id)

    def _show(self, actor: Actor, event: ev.HistoryEvent, now: int) -> None:
        """Show the program a new event and record its answer, or block the run and void the answer. What comes with the beginning
        of a run that is blocked by it is shown later."""
        run = actor.run
        if run.block is not None:
            return
        program = actor.program
        if program is None:
            program = actor.program = self.programs.load(actor, ())
        if program is None:
            self._block(actor, self.programs.unknown(run.workflow), now)
            return
        self._marker.enter(run.key)
        try:
            commands = program.advance(event, False)
        except ProgramBlocked as blocked:
            self._stopped(actor, blocked, now)
        else:
            self._record(actor, commands, now)
        finally:
            self._marker.leave()

    def _stand(self, actor: Actor, now: int) -> bool:
        """Make a program and show it the history. False if the run is blocked now: its code does not fit."""
        run = actor.run
        if not self.fits(actor, now):
            return False
        history = actor.history()
        if actor.coding is not None:
            actor.coding.prepare((payload, actor.blob) for event in history for payload in payloads_in(event))
        program = self.programs.load(actor, history)
        if program is None:
            self._block(actor, self.programs.unknown(run.workflow), now, open_tail=run.open_tail)
            return False
        self._marker.enter(run.key)
        try:
            commands = replay(program, history, run.open_tail)
        except Divergence as divergence:
            block = divergence_block(divergence, program, self._build, now, run.open_tail)
            program.close()
            actor.fold(ev.RunBlocked(now, block))
            return False
        except ProgramBlocked as blocked:
            if run.open_tail:
                self._stopped(actor, blocked, now)
                return run.block is None and (not run.is_open or self._stand(actor, now))
            self._block(actor, blocked, now, open_tail=False)
            return False
        finally:
            self._marker.leave()
        actor.program = program
        if run.open_tail:
            self._record(actor, commands, now)
            if run.block is None:
                actor.fold(ev.RunReacted(now))
        return run.block is None

    def _record(self, actor: Actor, commands: Sequence[cmd.Command], now: int) -> None:
        """Commands become events. A run that ends leaves its last activities unstarted: they want no slot."""
        run = actor.run
        pending = run.unresolved
        if pending + len(commands) > self._most_pending and pending + _opened(commands) > self._most_pending:
            actor.let_go()
            self._block(actor, flood(self._most_pending), now)
            return
        ends = bool(commands) and type(commands[-1]) in _ENDS
        for command in commands:
            if type(command) is not cmd.ScheduleActivity or ends or (command.terms is not None and command.terms.queue):
                actor.fold(decide_command(run, command, now, 0))
                if type(command) is cmd.WriteStream:
                    actor.fold(chunks_of(command, now))
                continue
            claimed_by = self._claims.claim(actor, command.name, command.id)
            actor.fold(decide_command(run, command, now, claimed_by))
            if not claimed_by:
                self._claims.want(actor, command.name, command.id)
        if ends:
            actor.let_go()

    def _stopped(self, actor: Actor, blocked: ProgramBlocked, now: int) -> None:
        """The program could not answer the last event. Its bug is a failure if cleanup of it is committed already: it fails
        the run, unless a saga reacts to it first."""
        run = actor.run
        actor.program = None  # it has unwound itself
        if blocked.kind == "bug" and blocked.failure is not None:
            blocked = self.programs.look_into(actor, blocked)
        if blocked.goes_on:
            self._record(actor, blocked.commands, now)
            if run.open_tail and run.block is None:
                actor.fold(ev.RunReacted(now))
        elif blocked.raised_earlier and blocked.failure is not None:
            self._record(actor, [*blocked.commands, cmd.FailRun(blocked.failure)], now)
        else:
            self._block(actor, blocked, now)

    def _block(self, actor: Actor, blocked: ProgramBlocked, now: int, open_tail: bool = True) -> None:
        actor.fold(ev.RunBlocked(now, block_of(blocked, self._build, now, open_tail)))


def _claimed(run: Run) -> frozenset[str]:
    """Steps of which somebody makes an attempt, as far as the run knows."""
    return frozenset(step.id for step in run.pending.values() if step.member > 0)


_WHATEVER_THE_BUILD = frozenset(
    {msg.Terminate, msg.Move, msg.NewBuild, msg.BlockRun, msg.Strike}
    | {msg.TaskTaken, msg.Heartbeat, msg.ClaimTask, msg.ReleaseTask}
)
"""Messages that ask nothing of a run's code, or find out whether it fits."""

_ENDS = frozenset({cmd.CompleteRun, cmd.FailRun, cmd.EndCancelled, cmd.ContinueAsNew})
_OPENS = frozenset({cmd.ScheduleActivity, cmd.StartTimer, cmd.StartChild, cmd.OpenTask})


def _opened(commands: Sequence[cmd.Command]) -> int:
    return sum(type(command) in _OPENS for command in commands)
