"""The chat of the example, and the engine that is killed in the middle of an answer."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.chat import workflows
from examples.chat.model import Model, answer
from examples.chat.workflows import TALK, Chat, Said
from perdure import Client, Engine
from perdure.errors import UpdateRejected

ROOT = Path(__file__).resolve().parents[2]
LISBON = (
    "I have looked it up for you, so that you do not have to: in Lisbon it is 18° and raining. Is there anything else?"
)
LUNCH = "I am only a few lines of Python, and yet I would say: yes, but not before lunch."


def spoken(chunks: list[Any]) -> list[str]:
    """What is left of a talk when the tokens of attempts that were begun anew are forgotten."""
    lines: list[str] = []
    tokens: list[str] = []
    attempt = 0
    for chunk in chunks:
        if not chunk.value.part:
            lines += ["".join(tokens)] if tokens else []
            lines.append(chunk.value.text)
            tokens, attempt = [], 0
        else:
            tokens = tokens if chunk.attempt == attempt else []
            tokens.append(chunk.value.text)
            attempt = chunk.attempt
    return [*lines, "".join(tokens)] if tokens else lines


def talked_in(folder: Path) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A talk whose engine was killed in the middle of an answer; the busier the machine, the slower that has to be spoken."""
    for pause in ("0.03", "0.3", "3"):
        place = folder / pause
        place.mkdir()
        command = [sys.executable, "-m", "examples.chat", "--pause", pause, "--dir", str(place)]
        talked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        if "begins anew)" in talked.stdout:
            break
    return place, talked


def test_the_talk_goes_on_where_its_engine_was_killed_and_no_tool_is_used_twice(tmp_path: Path) -> None:
    place, talked = talked_in(tmp_path)

    assert talked.stderr == ""
    assert "(the engine was killed; another one takes over)" in talked.stdout
    assert "begins anew)" in talked.stdout
    assert talked.stdout.count(f" model  {LISBON}\n") == 1
    assert talked.stdout.endswith("3 answers; the model was asked 6 times\n")
    with Client(f"sqlite:///{place}/chat.db") as client:
        handle = client.handle("chat")
        chunks = list(handle.stream(TALK, type=Said))
        steps = handle.describe().wait().steps
        assert client.store.admin.check() == []
        answers = [each["text"] for each in handle.result().wait() if each["role"] == "model"]
    assert [chunk.offset for chunk in chunks] == list(range(len(chunks)))
    assert answers[0::2] == [LISBON, LUNCH]
    said = spoken(chunks)
    assert [line for line in said if line in answers] == answers
    assert [line for line in said if line.startswith(("weather:", "add:"))] == [
        "weather: in Lisbon it is 18° and raining",
        "add: 17 + 25 = 42",
    ]
    attempts = {(step.name, step.id): max((each.number for each in step.attempts), default=1) for step in steps}
    assert {most for (name, _), most in attempts.items() if name in workflows.TOOLS} == {1}
    assert sorted(most for (name, _), most in attempts.items() if name == "complete") == [1, 1, 1, 1, 2]


def test_a_model_that_hangs_up_is_asked_again_and_an_empty_question_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [1]

    def hang_up(messages: Any) -> Any:
        if failures:
            failures.pop()
            raise ConnectionError("gone")
        return answer(messages)

    monkeypatch.setattr("examples.chat.model.answer", hang_up)
    with Model(0).listening() as model, Engine("memory://chat-again", [workflows]) as engine:
        monkeypatch.setenv(workflows.MODEL, model.address)
        chat = engine.start(Chat.talk()).wait()

        assert chat.update(Chat.ask, "Should I?").wait() == LUNCH
        with pytest.raises(UpdateRejected, match="say something"):
            chat.update(Chat.ask, " ").wait()
        chat.signal(Chat.bye).wait()
        assert [message.role for message in chat.result().wait()] == ["user", "model"]
        assert model.asked == 2
