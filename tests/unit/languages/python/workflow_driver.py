"""Runs a program as the runtime does, with the kernel's decide and evolve and nothing else: no store, no clock."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from perdure.failures import failure_of
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.commands import Command
from perdure.kernel.decide import REPEATED, decide, decide_command
from perdure.kernel.program import Lookup, Program, RunInfo, replay
from perdure.kernel.run import Run, evolve
from perdure.languages.python.machine import PythonLanguage
from perdure.payload import unseal

START = 1_700_000_000_000_000_000
RUN_ID = bytes(range(16))


class Shelf:
    """Blobs in a dict."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.puts = 0

    def plain(self, payload: ev.Payload) -> bytes:
        return unseal(payload, self.data.__getitem__)

    def put(self, run_id: bytes, digest: bytes, data: bytes) -> None:
        self.puts += 1
        self.data[digest] = data


class Driver:
    """One run. `history` is what a store would hold; `answers` the commands after each delivered event."""

    def __init__(self, definition: Any, activities: Sequence[Any] = (), args: Sequence[Any] = (), traced=False) -> None:
        self.definition = definition
        self.language = PythonLanguage(definition, {a.name: a for a in activities})
        self.activities: Mapping[str, Any] = {a.name: a for a in activities}
        self.args = args
        self.traced = traced
        self.run = Run(1, "run-1")
        self.shelf = Shelf()
        self.history: list[ev.HistoryEvent] = []
        self.answers: list[Sequence[Command]] = []
        self.now = START
        self.program = self.load()

    def load(self) -> Program:
        info = RunInfo("run-1", RUN_ID, self.definition.name, START)
        return self.language.load(info, Lookup(self.history), self.shelf, self.traced)

    def start(self, *spoken: msg.Signal | msg.Update) -> "Driver":
        input = ev.Payload(self.definition.parameters.encode(tuple(self.args), {}))
        self.tell(msg.Start(self.definition.name, input, RUN_ID, further=spoken))
        return self

    def tell(self, message: msg.Message) -> None:
        while events := decide(self.run, message, self.now):
            for event in events:
                evolve(self.run, event)
                if type(event) in ev.STATUS:
                    continue
                self.history.append(event)
                if type(event) in ev.DELIVERED:
                    self.record(self.program.advance(event, False))
            if type(message) not in REPEATED or not self.run.is_open:
                return

    def record(self, commands: Sequence[Command]) -> None:
        self.answers.append(commands)
        for command in commands:
            event = decide_command(self.run, command, self.now, claimed_by=1)
            evolve(self.run, event)
            self.history.append(event)

    def complete(self, id: str, value: Any = None) -> None:
        step = self.run.pending[id]
        result = ev.Payload(self.activities[step.name].result.encode(value))
        self.tell(msg.AttemptEnded(id, step.attempt, 1, self.now, result=result))

    def fail(self, id: str, error: BaseException) -> None:
        step = self.run.pending[id]
        failure = msgspec.structs.replace(failure_of(error), non_retryable=True, is_bug=False, traceback="")
        self.tell(msg.AttemptEnded(id, step.attempt, 1, self.now, failure=failure))

    def wake(self) -> None:
        """Let the clock run to the next timer, and fire it."""
        due = self.run.wake_at()
        assert due is not None, "no timer is under way"
        self.now = max(self.now, due)
        event = decide(self.run, msg.Wake(), self.now)[0]
        evolve(self.run, event)
        self.history.append(event)
        self.record(self.program.advance(event, False))

    def cancel(self, reason: str = "") -> None:
        self.tell(msg.Cancel(reason))

    def evict(self) -> None:
        """Throw the program away and make a fresh one from the history."""
        self.program.close()
        self.program = self.load()
        replay(self.program, self.history)

    @staticmethod
    def arguments(input: ev.Payload) -> list[Any]:
        """The values an activity is called with, in the order of its parameters."""
        values = msgspec.json.decode(input.data)
        return list(values.values()) if isinstance(values, dict) else values

    def answer(self, id: str) -> None:
        """End an activity as its name says: `boom` fails, the others give their first argument back."""
        step = self.run.pending[id]
        arguments = msgspec.json.decode(step.input.data)
        if step.name == "boom":
            self.fail(id, ValueError(f"boom {arguments}"))
        else:
            values = list(arguments.values()) if isinstance(arguments, dict) else arguments
            while isinstance(values, list):
                values = values[0] if values else None
            self.complete(id, values)

    def hear(self, step: str) -> None:
        """What has become of a child, or of something that was asked of another run, as its name, or its id, says."""
        link = (self.run.links or {})[step]
        asked = any(type(event) is ev.ChildCancelRequested and event.id == step for event in self.history)
        if not link.workflow:
            closed = "closed" in link.id
            self.tell(msg.ExternalReplied(step, "run-closed" if closed else "", "it has ended" if closed else ""))
        elif link.awaits_start:
            self.tell(msg.ChildAnswered(step))
        elif asked:
            self.tell(msg.ChildEnded(step, None, "cancelled", "as asked"))
        elif link.workflow == "fails":
            self.tell(msg.ChildEnded(step, None, "failed", "", failure_of(ValueError("no"))))
        else:
            self.tell(msg.ChildEnded(step, ev.Payload(b"7")))

    def finish(
        self, order: random.Random, evictions: float = 0.0, steps: int = 2_000, said: Sequence[msg.Message] = ()
    ) -> "Driver":
        """Deliver what is under way, and what is said to the run, in a random order until the run is closed."""
        unsaid = list(said)
        for _ in range(steps):
            if not self.run.is_open:
                self.program.close()
                return self
            choices = (
                sorted(self.run.pending)
                + (["timer"] if self.run.timers or self._asks_people() else [])
                + (["message"] if unsaid else [])
                + [f"of {step}" for step in sorted(self.run.links or ())]
            )
            assert choices, "an open run waits for nothing"
            choice = order.choice(choices)
            self.now += order.randrange(1, 2_000_000)
            if choice == "timer":
                self.wake()
            elif choice == "message":
                self.tell(unsaid.pop(0))
            elif choice.startswith("of "):
                self.hear(choice.removeprefix("of "))
            else:
                self.answer(choice)
            if self.run.is_open and order.random() < evictions:
                self.evict()
        raise AssertionError("the run does not end")

    def _asks_people(self) -> bool:
        """Whether a human task is open of which the clock will make something."""
        return self.run.people is not None and any(task.deadlines() for task in self.run.people.open.values())

    @property
    def outcome(self) -> Any:
        return self.run.outcome

    @property
    def result(self) -> Any:
        assert isinstance(self.outcome, ev.RunCompleted), self.outcome
        return self.definition.result.decode(self.outcome.result.data)

    def ids(self) -> list[list[str]]:
        """The commands after each delivered event: kind and id."""
        return [[f"{type(c).__name__} {getattr(c, 'id', '')}".strip() for c in commands] for commands in self.answers]
