"""Every prefix of a history gives the same commands (promise 5): here, and in a process whose sets have another order.

`python -m perdure.testing.simulation.prefixes FILE` reads histories with the answers of the process that has written them, and
prints what is answered otherwise here.
"""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from perdure.client.replaying import Replays, Shelf
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.commands import Command, MarkPatch
from perdure.kernel.program import Decider, Divergence, Lookup, ProgramBlocked, replay
from perdure.kernel.run import Run, evolve
from perdure.runtime.programs import info_of
from perdure.testing.simulation.changing import AtHand, Code
from perdure.testing.simulation.programs import ACTIVITIES, WORKFLOWS

HASH_SEEDS = (1, 2)
PATIENCE_SECONDS = 3_600.0
_MARKED = MarkPatch.__name__.encode()
THIS = "from perdure.testing.simulation.prefixes import main; main()"


class Recorded(msgspec.Struct, frozen=True):
    """The history of one run as it is stored, and the code it was shown in the end."""

    id: str
    code: Code
    parts: list[bytes]


class Answered(msgspec.Struct, frozen=True):
    """What a process has answered at the end of each prefix."""

    history: Recorded
    answers: list[bytes]


class _Heard(Decider):
    """A program, and all that it has answered so far."""

    def __init__(self, program: Any) -> None:
        self._program = program
        self.answers: list[bytes] = []
        self.where, self.name_of, self.close = program.where, program.name_of, program.close

    def advance(self, event: ev.HistoryEvent, replaying: bool) -> Sequence[Command]:
        try:
            commands = self._program.advance(event, replaying)
        except ProgramBlocked as blocked:
            self.answers.append(_encoded(blocked.commands, f"{blocked.kind}: {blocked.message}"))
            raise
        self.answers.append(_encoded(commands))
        return commands


def _encoded(commands: Sequence[Command], blocked: str = "") -> bytes:
    """In the order in which they were issued."""
    return msgspec.msgpack.encode([blocked, *((type(each).__name__, each) for each in commands)])


def answers_of(recorded: Recorded) -> tuple[list[bytes], str]:
    """The answer at the end of each prefix, and what is wrong with it: it has to be what a longer prefix answers there, too."""
    AtHand.code = recorded.code
    history = wire.decode_history(recorded.parts)
    answers: list[bytes] = []
    before: list[bytes] = []
    for end in (n for n, event in enumerate(history, 1) if type(event) in ev.DELIVERED):
        heard, refused = _shown(recorded.id, history[:end])
        known = len(before)
        if before and _MARKED in before[-1]:
            known -= 1  # what would go a new way from here on has gone the old one
        if refused or heard[:known] != before[:known]:
            return (
                answers,
                f"{recorded.id}: up to event {end:,} it goes another way than before: {refused or heard} (5)",
            )
        answers.append(heard[-1])
        before = heard
    return answers, ""


def _shown(id: str, history: Sequence[ev.HistoryEvent]) -> tuple[list[bytes], str]:
    """What a fresh program answers to each event of a prefix, as if it was to answer the last one for the first time; and why it
    cannot be shown the prefix."""
    run = Run(0, id)
    evolve(run, history[0])
    language = _replays().languages[run.workflow]
    program = _Heard(language.load(info_of(run), Lookup(history), Shelf(id, lambda digest: None, _replays().coder)))
    refused = ""
    try:
        replay(program, history, open_tail=True)
    except Divergence as divergence:
        refused = str(divergence)
    except ProgramBlocked:
        pass  # that, too, is an answer
    finally:
        program.close()
    return program.answers, refused


@functools.cache
def _replays() -> Replays:
    return Replays([*WORKFLOWS, *ACTIVITIES])


def answered(histories: Iterable[Recorded]) -> tuple[list[Answered], list[str]]:
    """What this process answers to the histories of a life; and what is wrong with that."""
    told: list[Answered] = []
    wrong: list[str] = []
    for history in histories:
        answers, difference = answers_of(history)
        told.append(Answered(history, answers))
        wrong += [difference] * bool(difference)
    return told, wrong


def differences(told: Iterable[Answered]) -> Iterator[str]:
    """What this process answers otherwise than the one that has told; "" where it answers the same."""
    for each in told:
        answers, _ = answers_of(each.history)
        n = next((n for n, pair in enumerate(zip_longest(answers, each.answers)) if pair[0] != pair[1]), None)
        if n is None:
            yield ""
        else:
            here, there = (_in_words(some[n]) if n < len(some) else "none" for some in (answers, each.answers))
            yield f"{each.history.id}: with other hashes the answer to prefix {n + 1:,} is {here}, and was {there} (5)"


def _in_words(answer: bytes) -> str:
    return str(msgspec.msgpack.decode(answer))


def elsewhere(told: Sequence[Answered], hash_seeds: Iterable[int] = HASH_SEEDS, program: str = THIS) -> list[str]:
    """What processes with these hash seeds find in each of the histories. Each runs `program`, one after the other."""
    found = [""] * len(told)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "histories")
        file.write_bytes(msgspec.msgpack.encode(told))
        for seed in hash_seeds:
            done = subprocess.run(
                [sys.executable, "-c", program, str(file)],
                env={**os.environ, "PYTHONHASHSEED": str(seed)},
                stdout=subprocess.PIPE,
                timeout=PATIENCE_SECONDS,
                check=True,
            )
            answers = msgspec.json.decode(done.stdout, type=list[str])
            found = [one or other for one, other in zip(found, answers, strict=True)]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    (file,) = sys.argv[1:] if arguments is None else arguments
    told = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[Answered])
    sys.stdout.buffer.write(msgspec.json.encode(list(differences(told))))


if __name__ == "__main__":
    main()
