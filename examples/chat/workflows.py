"""The agent: ask the model, do what it wishes, ask again, until it has an answer. Everything said is written to one stream.

The workflow's own lines are there exactly once. Tokens are written by the activity that hears them; if its process dies, the
next attempt asks the model anew, and its tokens come after those of the first. `Said.part` and the attempt tell them apart.
"""

import http.client
import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from perdure import Retry, activity, stream, workflow

TALK = "talk"
MODEL = "CHAT_MODEL"
"""The environment variable with the address of the model."""


@dataclass
class Message:
    role: Literal["user", "model", "tool"]
    text: str


@dataclass
class Said:
    """What the stream holds: a line of somebody, or (`part`) a token of the model's answer to come."""

    who: Literal["user", "model", "tool"]
    text: str
    part: bool = False


@dataclass
class Reply:
    """What the model says: a text, or a tool it wants to have used."""

    text: str = ""
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


@activity(timeout="1m", heartbeat="10s", retry=Retry(initial="50ms", maximum="2s"))
def complete(messages: list[Message]) -> Reply:
    """One answer of the model, whose tokens are shown as they come."""
    talk = stream(TALK, Said)
    body = json.dumps({"messages": [{"role": each.role, "text": each.text} for each in messages]})
    connection = http.client.HTTPConnection(os.environ[MODEL], timeout=10)
    try:
        connection.request("POST", "/chat", body)
        said: list[str] = []
        for line in connection.getresponse():
            part = json.loads(line)
            if "tool" in part:
                return Reply(tool=part["tool"], arguments=part["arguments"])
            if "end" in part:
                return Reply("".join(said))
            said.append(part["token"])
            talk.write(Said("model", part["token"], part=True))
        raise ConnectionError("the model has hung up in the middle of a sentence")
    finally:
        connection.close()


@activity
async def weather(city: str) -> str:
    """The same every day: the forecast is an example, too."""
    return f"in {city} it is {len(city) * 3}° and {'sunny' if len(city) % 2 else 'raining'}"


@activity
async def add(a: int, b: int) -> str:
    return f"{a} + {b} = {a + b}"


TOOLS = {"weather": weather, "add": add}


@workflow
async def chat(questions: list[str]) -> list[str]:
    """Answers each question, with those before it in mind."""
    talk = stream(TALK, Said)
    messages: list[Message] = []
    answers: list[str] = []
    for question in questions:
        talk.write(Said("user", question))
        messages.append(Message("user", question))
        reply = await complete(messages)
        while reply.tool:
            found = await TOOLS[reply.tool](**reply.arguments)
            talk.write(Said("tool", f"{reply.tool}: {found}"))
            messages.append(Message("tool", found))
            reply = await complete(messages)
        messages.append(Message("model", reply.text))
        answers.append(reply.text)
    return answers
