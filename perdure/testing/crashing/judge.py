"""Is what came out of a trial what comes out when nothing happens? If not: what is wrong, and what to do."""

from collections import Counter
from collections.abc import Callable
from pprint import pformat
from typing import Any

import msgspec

from perdure.kernel.events import Block
from perdure.testing.crashing.life import Outcome
from perdure.testing.crashing.trial import Trial

VALUE_CHARS = 100
"""Of a value that is shown."""

FACTS = 8
"""Lines that tell of one finding, at most."""

KEY_HINT = "give what it calls activity.info().idempotency_key, which is the same for all attempts of a step and for no other step"


class Finding(msgspec.Struct):
    """Something that is to be known of one or several crash points.

    `kind` is one of "divergence", "blocked", "outcome", "state", "runs", "unended", "promise", "store", "script",
    "unrepeatable", and as advice "repeated", "unsteady" and "harmless". `at`: the crash points, empty if it needs none.
    """

    kind: str
    what: str
    facts: list[str] = []
    hint: str = ""
    at: list[str] = []


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
        self._same_state = looks and _same(clean.state, again.state)
        if looks and not self._same_state and self._same_outcome:
            facts = difference(clean.state, again.state)
            self.unrepeatable.append(Finding("unrepeatable", _TWICE.format("state()"), facts, _RESET))

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
            if any(later.step == call.step and later.life > call.life for later in watch.calls)
        ]

    def _world(self, trial: Trial, repeated: list[str]) -> list[Finding]:
        """The outcome is the same; is all else?"""
        found: list[Finding] = []
        if self._same_state and not _same(self._clean.state, trial.state):
            facts = [*difference(self._clean.state, trial.state), *_again(repeated)]
            found.append(
                Finding("state", "state() is not what it is without a crash", facts, KEY_HINT if repeated else "")
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
        facts = [f"without a crash: {_short(clean.text)}", f"with it: {_short(outcome.text)}", *_again(repeated)]
        hint = "if this outcome is fine as well, say so: crash_everywhere(..., accept=lambda outcome: ...)"
        if any(text in outcome.text for text in _LOST):
            hint = (
                "an attempt that a crash has lost counts: let the activity have one attempt more, or bear its failure"
            )
        return Finding("outcome", "the outcome is not what it is without a crash", facts, hint)

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


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  values of the user's that do not compare
        return repr(one) == repr(other)


def _again(repeated: list[str]) -> list[str]:
    return [f"{each} was called again there: it was in flight when the engine died" for each in repeated]


def _words(trial: Trial) -> list[str]:
    return [trial.outcome.text] if trial.outcome is not None else [finding.what for finding in unended(trial)]


def unended(trial: Trial) -> list[Finding]:
    """Why the run has not come to its end."""
    note = [trial.note] if trial.note else []
    if trial.how == "stuck":
        hint = "nobody sends what it waits for: write a script= that does"
        return [Finding("unended", "the run waits for ever", note, hint)]
    if trial.how == "late":
        hint = "give activities that take real time a stand-in: activities={charge: fake_charge}"
        return [Finding("unended", "the run does not come to its end within a minute of real time", note, hint)]
    error = trial.error
    text = f"{type(error).__name__}: {error}" if error is not None else "it does not come to its end"
    what = "the engine has stopped" if trial.how == "over" else "the script has raised"
    hint = "it is run anew after a crash: let it bear what it has done already"
    return [Finding("script", what, [_short(text, 300)], "" if trial.how == "over" else hint)]


def broken(trial: Trial) -> list[Finding]:
    """Promises of the engine that were not kept."""
    promises = [Finding("promise", text, hint=_OURS) for text in dict.fromkeys(trial.watch.broken)]
    return [*promises, *(Finding("store", f"the store finds: {problem}", hint=_OURS) for problem in trial.problems)]


def blocked(block: Block) -> Finding:
    if block.kind == "divergence":
        what = "the workflow does not do the same again when it is shown its history"
        return Finding("divergence", what, _block_facts(block), _CHANCE)
    return Finding("blocked", f"the run is blocked ({block.kind})", _block_facts(block), block.hint)


_CHANCE = (
    "what it decides by must be recorded, or be the same each time: workflow.now(), workflow.random(), "
    "workflow.side_effect, or an activity (docs/determinism.md)"
)


def _block_facts(block: Block) -> list[str]:
    where = [f"at {block.source}"] if block.source else []
    if block.recorded or block.produced:
        return [f"history:  {block.recorded}", f"code:     {block.produced}", *where]
    return [*(line.strip() for line in block.message.splitlines() if line.strip()), *where]


def _short(text: str, most: int = 2 * VALUE_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def difference(one: Any, other: Any) -> list[str]:
    """What is not the same in two values, in a few lines: of dicts by key, else as a whole."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        lines = [
            f"{key}: {_value(one, key)} → {_value(other, key)}"
            for key in keys
            if key not in one or key not in other or not _same(one[key], other[key])
        ]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(repr(one)) > VALUE_CHARS:
        lines = [_of_items(one, other)]
    else:
        lines = [f"{_shown(one)} → {_shown(other)}"]
    more = len(lines) - FACTS
    return lines if more <= 0 else [*lines[:FACTS], f"and {more} more"]


def _of_items(one: Any, other: Any) -> str:
    at = next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if not _same(a, b)), min(len(one), len(other))
    )
    here, there = (_shown(each[at]) if at < len(each) else "nothing" for each in (one, other))
    return f"{len(one)} items → {len(other)}; item {at}: {here} → {there}"


def _value(values: dict[Any, Any], key: Any) -> str:
    return _shown(values[key]) if key in values else "nothing"


def _shown(value: Any) -> str:
    return _short(pformat(value, width=1_000, compact=True), VALUE_CHARS)
