"""The agent: ask the model, do what it wishes, ask again, until it has an answer. Everything said is written to one stream.
A question is an update, whose answer is the model's.

The workflow's own lines are there exactly once. Tokens are written by the activity that hears them; if its process dies, the
next attempt asks the model anew, and its tokens come after those of the first. `Said.part` and the attempt tell them apart.
"""

import asyncio
import http.client
import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from perdure import Retry, activity, stream, wait_until, workflow

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
class Chat:
    """A talk: it waits for questions, and ends when it is told to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.turn = asyncio.Lock()
        self.over = False

    @workflow.run
    async def talk(self) -> list[Message]:
        await wait_until(lambda: self.over)
        await wait_until(workflow.all_handlers_finished)
        return self.messages

    @workflow.update
    async def ask(self, question: str) -> str:
        """One question after the other: who asks meanwhile waits for the turn."""
        async with self.turn:
            talk = stream(TALK, Said)
            talk.write(Said("user", question))
            self.messages.append(Message("user", question))
            reply = await complete(self.messages)
            while reply.tool:
                found = await TOOLS[reply.tool](**reply.arguments)
                talk.write(Said("tool", f"{reply.tool}: {found}"))
                self.messages.append(Message("tool", found))
                reply = await complete(self.messages)
            self.messages.append(Message("model", reply.text))
            return reply.text

    @ask.validator
    def check(self, question: str) -> None:
        if not question.strip():
            raise ValueError("say something")

    @workflow.signal
    def bye(self) -> None:
        self.over = True
