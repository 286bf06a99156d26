"""Is what came out of a trial what comes out when nothing happens? If not: what is wrong, and what to do."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from perdure.kernel.events import Block
from perdure.testing.crashing.findings import IN_FLIGHT, Finding, difference, is_no_value, same, short
from perdure.testing.crashing.life import Outcome
from perdure.testing.crashing.trial import Trial

ENDLESS = 2_000
"""A run that has made so many commits in a minute does not wait for anything."""

KEY_HINT = "give what it calls activity.info().idempotency_key, which is the same for all attempts of a step and for no other step"


class Verdict(msgspec.Struct):
    """Of one trial. `repeated`: activities that were called again since they were in flight, and whether that has left
    the user's world as it was: None if nobody looked."""

    violations: list[Finding]
    repeated: list[str]
    harmless: bool | None
    accepted: bool = False


class Judge:
    """Compares with an undisturbed trial. What two undisturbed ones do not have in common is not compared."""

    def __init__(self, clean: Trial, again: Trial, looks: bool, accept: Callable[[Any], bool] | None) -> None:
        self._clean = clean
        self._looks = looks
        self._accept = accept
        self.unrepeatable: list[Finding] = []
        first, second = clean.outcome, again.outcome
        assert first is not None
        self._same_outcome = second is not None and (self._alike(first, second) or self._accepts(second))
        if not self._same_outcome:
            ends = [first.text] + [f"the second time: {text}" for text in _words(again)]
            found = ends if second is None or second.block is None else [*ends, *_block_facts(second.block)]
            self.unrepeatable.append(Finding("unrepeatable", _TWICE.format("the outcome"), found, _OUTLIVES))
        self.unsteady = _other_way(clean, again) if not self.unrepeatable else []
        self._same_state = looks and same(clean.state, again.state)
        if looks and not self._same_state and self._same_outcome:
            facts = difference(clean.state, again.state)
            hint = _NO_VALUE if is_no_value(clean.state) else _RESET
            self.unrepeatable.append(Finding("unrepeatable", _TWICE.format("state()"), facts, hint))

    def judge(self, trial: Trial) -> Verdict:
        """What is wrong with a trial, if anything is."""
        repeated = self._repeated(trial)
        violations = broken(trial)
        outcome, accepted, harmless = trial.outcome, False, None
        if outcome is None:
            violations += unended(trial)
        elif outcome.block is not None and not self._alike(outcome, self._clean.outcome):
            violations.append(blocked(outcome.block))
        elif self._same_outcome and not self._alike(outcome, self._clean.outcome):
            accepted = self._accepts(outcome)
            violations += [] if accepted else [self._other_outcome(outcome, repeated)]
        else:
            violations += self._world(trial, repeated)
            harmless = not any(each.kind == "state" for each in violations) if self._same_state else None
        return Verdict(violations, repeated, harmless, accepted)

    def _repeated(self, trial: Trial) -> list[str]:
        """Steps that were in flight when the engine died, and were called again."""
        watch = trial.watch
        return [
            call.name
            for call in watch.in_flight
            if any(later.step == call.step and later.attempt > call.attempt for later in watch.calls)
        ]

    def _world(self, trial: Trial, repeated: list[str]) -> list[Finding]:
        """The outcome is the same; is all else?"""
        found: list[Finding] = []
        if self._same_state and not same(self._clean.state, trial.state):
            facts = [*difference(self._clean.state, trial.state), *_again(repeated)]
            found.append(
                Finding(
                    "state",
                    "state() is not what it is without a crash",
                    facts,
                    KEY_HINT if repeated else "",
                    about=_activities(repeated),
                )
            )
        before, after = (Counter(f"{name} {status}" for name, status, _ in each.runs) for each in (self._clean, trial))
        if self._same_outcome and before != after:
            facts = [f"{before[each]} x {each}, and now {after[each]}" for each in sorted({*before, *after})]
            facts = [
                fact for fact, each in zip(facts, sorted({*before, *after}), strict=True) if before[each] != after[each]
            ]
            hint = (
                "start it under an id that is made of activity.info().id or of what it is for: then it is started once"
            )
            found.append(Finding("runs", "there are other runs than without a crash", facts, hint))
        return found

    def _other_outcome(self, outcome: Outcome, repeated: list[str]) -> Finding:
        clean = self._clean.outcome
        assert clean is not None
        facts = [f"without a crash: {short(clean.text)}", f"with it: {short(outcome.text)}", *_again(repeated)]
        hint = "if this outcome is fine as well, say so: crash_everywhere(..., accept=lambda outcome: ...)"
        if any(text in outcome.text for text in _LOST):
            hint = (
                "an attempt that a crash has lost counts: let the activity have one attempt more, or bear its failure"
            )
        what = "the outcome is not what it is without a crash"
        return Finding("outcome", what, facts, hint, about=_activities(repeated))

    def _alike(self, one: Outcome, other: Outcome | None) -> bool:
        return other is not None and one.key == other.key

    def _accepts(self, outcome: Outcome) -> bool:
        return self._accept is not None and bool(self._accept(outcome.value))


_LOST = ("AttemptLost", "the process that ran this attempt is gone")
_OURS = "the engine does not keep what it promises (docs/guarantees.md): please report it, with this report"
_TWICE = "{} is not the same in two runs without any crash"
_OUTLIVES = (
    "something outlives a run (a variable of a module, a cache, a file) or is chance: have reset= put it back, "
    "or let an activity, workflow.random() or workflow.side_effect give it"
)
_NO_VALUE = "let state= give something that can be compared, like a list, a dict or a number: this is an object that is like no other"
_RESET = "have reset= put the world back to where it was: it is called before each run"


def _other_way(clean: Trial, again: Trial) -> list[Finding]:
    """The same came out of it, by other commits."""
    ways = [[row.text for row in trial.watch.rows] for trial in (clean, again)]
    if ways[0] == ways[1]:
        return []
    at = next((n for n, (one, other) in enumerate(zip(*ways, strict=False)) if one != other), min(map(len, ways)))
    texts = [way[at] if at < len(way) else "nothing more" for way in ways]
    what = "two runs without any crash did not go the same way"
    hint = "look whether something outlives a run, or is chance; things that happen at the same time are none"
    return [Finding("unsteady", what, [f"first: {texts[0]}", f"then: {texts[1]}"], hint)]


def _activities(steps: list[str]) -> str:
    """What steps call, each once: what befalls them for one reason is one finding."""
    return ", ".join(sorted({step.partition(" [")[0] for step in steps}))


def _again(repeated: list[str]) -> list[str]:
    return [f"{each} was called again{IN_FLIGHT}" for each in repeated]


def _words(trial: Trial) -> list[str]:
    return [trial.outcome.text] if trial.outcome is not None else [finding.what for finding in unended(trial)]


def unended(trial: Trial) -> list[Finding]:
    """Why the run has not come to its end."""
    note = [trial.note] if trial.note else []
    if trial.how == "stuck":
        hint = "nobody sends what it waits for: write a script= that does"
        return [Finding("unended", "the run waits for ever", note, hint)]
    if trial.how == "late":
        commits = sum(row.what == "commit" for row in trial.watch.rows)
        what = "the run does not come to its end within a minute of real time"
        hint = "give activities that take real time a stand-in: activities={charge: fake_charge}"
        if commits >= ENDLESS:
            note = [f"it has made {commits:,} commits, and goes on"]
            hint = (
                "of a workflow that never ends let a script see the beginning, and end it: await engine.sleep('30 days'); "
                "await handle.cancel()"
            )
        return [Finding("unended", what, note, hint)]
    error = trial.error
    text = f"{type(error).__name__}: {error}" if error is not None else "it does not come to its end"
    what = "the engine has stopped" if trial.how == "over" else "the script has raised"
    hint = "it is run anew after a crash: let it bear what it has done already"
    return [Finding("script", what, [short(text, 300)], "" if trial.how == "over" else hint)]


def broken(trial: Trial) -> list[Finding]:
    """Promises of the engine that were not kept."""
    promises = [Finding("promise", text, hint=_OURS) for text in dict.fromkeys(trial.watch.broken)]
    return [*promises, *(Finding("store", f"the store finds: {problem}", hint=_OURS) for problem in trial.problems)]


def unlike(blocks: list[Block]) -> list[Finding]:
    """Of code that did not do again what it had just done."""
    if not blocks:
        return []
    what = "the workflow does not do the same again when it is shown its history, in the process that has made it"
    return [Finding("divergence", what, _block_facts(blocks[0]), _CHANCE, about=blocks[0].source)]


def blocked(block: Block) -> Finding:
    if block.kind == "divergence":
        what = "the workflow does not do the same again when it is shown its history"
        return Finding("divergence", what, _block_facts(block), _CHANCE, about=block.source)
    what = f"the run is blocked ({block.kind})"
    return Finding("blocked", what, _block_facts(block), block.hint, about=block.source)


_CHANCE = (
    "what it decides by must be recorded, or be the same each time: workflow.now(), workflow.random(), "
    "workflow.side_effect, or an activity; not a variable that other runs change (docs/determinism.md)"
)


def _block_facts(block: Block) -> list[str]:
    where = [f"at {block.source}"] if block.source else []
    if block.recorded or block.produced:
        return [f"history:  {block.recorded}", f"code:     {block.produced}", *where]
    return [*(line.strip() for line in block.message.splitlines() if line.strip()), *where]
