"""Where programs come from, and why one cannot go on, in words a person can act on."""

import re
from collections.abc import Mapping, Sequence

from perdure.kernel import events as ev
from perdure.kernel.messages import Query, Signal, Update
from perdure.kernel.program import Decider, Divergence, Language, Lookup, Program, ProgramBlocked, RunInfo, replay
from perdure.kernel.run import Run
from perdure.runtime.actors import Actor
from perdure.runtime.coding import payloads_in

_NOTHING_RECORDED = Lookup()
"""What all new runs may look up."""


class Programs:
    """Makes programs of the workflows at hand; `languages` by workflow."""

    def __init__(self, languages: Mapping[str, Language]) -> None:
        self._languages = languages
        self._listens: dict[str, bool] = {}

    def load(
        self, actor: Actor, history: Sequence[ev.HistoryEvent], traced: bool = False, run: Run | None = None
    ) -> Program | None:
        """A fresh program that has seen nothing yet; None of a workflow nobody knows. `run`: the actor's as it is going to be."""
        run = run or actor.run
        language = self._languages.get(run.workflow)
        if language is None:
            return None
        return language.load(info_of(run), Lookup(history) if history else _NOTHING_RECORDED, actor, traced)

    def check(self, actor: Actor, input: ev.Payload) -> None:
        """Raises an error of the family `errors.PerdureError` if the run cannot be started with that input."""
        self._languages[actor.run.workflow].check(info_of(actor.run), input, actor)

    def check_result(self, actor: Actor, step: str, result: ev.Payload) -> None:
        """Raises an error of the family `errors.PerdureError` if the program could not read the result of a step."""
        language, pending = self._languages.get(actor.run.workflow), actor.run.pending.get(step)
        if language is not None and pending is not None:
            language.check_result(info_of(actor.run), pending.name, result, actor)

    def check_message(self, actor: Actor, message: Signal | Update | Query) -> None:
        """Raises an error of the family `errors.PerdureError` if the run's code does not hear the message."""
        language = self._languages.get(actor.run.workflow)
        if language is not None:
            language.check_message(info_of(actor.run), message, actor, actor.program)

    def listens(self, workflow: str) -> bool:
        """Whether messages can be sent to the runs of a workflow."""
        if workflow not in self._listens:
            language = self._languages.get(workflow)
            self._listens[workflow] = language is not None and language.listens()
        return self._listens[workflow]

    def listens_to_more(self, workflow: str) -> bool:
        """Whether a run of a workflow may hear signals that nobody knows of unless its program stands."""
        language = self._languages.get(workflow)
        return language is not None and language.listens_to_more()

    def unknown(self, workflow: str) -> ProgramBlocked:
        known = ", ".join(sorted(self._languages)[:10]) or "none"
        return ProgramBlocked(
            "unknown-workflow",
            f"the engine was not given the workflow {workflow!r}; it knows {known}",
            f'add it: Engine(..., [..., {workflow}]); if it has another name now: @workflow(aliases=["{workflow}"])',
        )

    def demand_fit(self, actor: Actor) -> None:
        """Raises Divergence or ProgramBlocked if the code at hand does not do what the history has."""
        history = actor.history()
        if actor.coding is not None:
            actor.coding.prepare((payload, actor.blob) for event in history for payload in payloads_in(event))
        last = max((n for n, event in enumerate(history) if type(event) in ev.DELIVERED), default=-1)
        program = self.load(actor, history)
        if program is None:
            raise self.unknown(actor.run.workflow)
        try:
            replay(program, history[:last] if actor.run.open_tail else history)
        finally:
            program.close()

    def look_into(self, actor: Actor, blocked: ProgramBlocked) -> ProgramBlocked:
        """Show the history to a program that is traced, and slow, to learn in which turn a bug was raised."""
        history = actor.history()
        last = max(n for n, event in enumerate(history) if type(event) in ev.DELIVERED)
        program = self.load(actor, history, traced=True) if last else None
        if program is None:
            return blocked
        try:
            replay(program, history[:last])
        except (ProgramBlocked, Divergence):
            return blocked  # it does not even come as far as the last event
        try:
            program.advance(history[last], False)
        except ProgramBlocked as again:
            if again.kind != blocked.kind:
                return blocked
            again.failure = blocked.failure  # raised while `blocked` is handled, its own would have that for a cause
            return again
        program.close()
        return blocked


def info_of(run: Run) -> RunInfo:
    """What the program of a run may know of it."""
    terms = run.terms
    if terms is None:
        return RunInfo(run.id, run.run_id, run.workflow, run.started_at, 1, run.run_id)
    first = run.run_id if terms.chain is None else terms.chain.first_run_id
    return RunInfo(
        run.id, run.run_id, run.workflow, run.started_at, terms.attempt, first, terms.attributes, terms.parent
    )


def block_of(blocked: ProgramBlocked, build: str, now: int, open_tail: bool) -> ev.Block:
    return ev.Block(
        kind=blocked.kind,
        build=build,
        message=blocked.message,
        hint=blocked.hint,
        failure=blocked.failure,
        source=blocked.source,
        at=now,
        open_tail=open_tail,
    )


def divergence_block(divergence: Divergence, program: Decider, build: str, now: int, open_tail: bool) -> ev.Block:
    """Names the recorded command, the produced one, and the line that produced it."""
    return ev.Block(
        kind="divergence",
        build=build,
        message=f"the code does not do what the history has after event {divergence.seq}: "
        f"recorded {divergence.recorded}, produced {divergence.produced}",
        hint=_hint_for(divergence.recorded),
        recorded=divergence.recorded,
        produced=divergence.produced,
        source=program.where(divergence.command_id),
        at=now,
        open_tail=open_tail,
    )


def _hint_for(recorded: str) -> str:
    """What to write against a divergence."""
    found = re.match(r"patch (.*) \[patch:", recorded)
    if found is None:
        return 'keep the old way for old runs:  if patched("name-of-the-change"): ... else: ...'
    return (
        f"the run goes the new way of the change {found[1]!r}, of which the code does not speak: "
        f"write  deprecate_patch({found[1]!r})  where it said  if patched({found[1]!r}),  or bring back that code"
    )


def wrong_build(run: Run, build: str) -> ProgramBlocked:
    """Why a run that is pinned does not go on."""
    return ProgramBlocked(
        "pinned",
        f"waits for build {run.pinned} of {run.workflow}, to which it is pinned; the engine has build {build}",
        f"start an engine with that code, or, if this one fits: perdure move {run.id}",
    )


def flood(most: int) -> ProgramBlocked:
    return ProgramBlocked(
        "bug",
        f"the run would have more than {most:,} unresolved steps, timers and children, which is the limit",
        "await some of them before scheduling more",
    )
