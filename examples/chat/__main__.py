"""Talks with the agent. Its engine is a process of its own, which is killed in the middle of an answer; another one goes on,
and whoever reads has missed nothing.
"""

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.chat import workflows
from examples.chat.model import Model
from examples.chat.workflows import TALK, Chat, Said
from perdure import Client, Engine, EngineNotRunning, Handle, StreamChunk

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ["What is the weather in Lisbon?", "And what is 17 + 25?", "Should I go for a swim?"]
KILL_AT = 6
"""So many tokens of the answer to the second question are heard when the engine is killed."""


def engine_command(address: str) -> list[str]:
    return [sys.executable, "-m", "examples.chat", "--engine", address]


class Engines:
    """The process with the engine: killed when that is wished, and followed by another one."""

    def __init__(self, address: str, model: str) -> None:
        self._address = address
        self._environment = {**os.environ, workflows.MODEL: model}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *engine_command(self._address), cwd=ROOT, env=self._environment, stdin=subprocess.PIPE
        )

    async def kill(self) -> None:
        """As by somebody who trips over the cable."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """It ends when nobody holds its input open any more."""
        if self._process is not None and self._process.stdin is not None and self._process.returncode is None:
            self._process.stdin.close()
            await self._process.wait()


@asynccontextmanager
async def engines(address: str, model: str) -> AsyncIterator[Engines]:
    them = Engines(address, model)
    await them.start()
    try:
        yield them
    finally:
        await them.stop()


class Screen:
    """Shows what is said, as it comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = ""
        self._attempt = 0
        self._speaking = False

    def show(self, chunk: StreamChunk[Said]) -> None:
        said = chunk.value
        if not said.part:
            self._end_line()
            who = {"user": "you", "tool": "tool", "model": "model"}[said.who]
            style = "bold" if said.who == "user" else "dim"
            self._console.print(f"{who:>6}  {said.text}", style=style, highlight=False)
            return
        if (chunk.step, chunk.attempt) != (self._step, self._attempt):
            anew = chunk.step == self._step
            self._end_line()
            if anew:
                self._console.print(f"        (attempt {chunk.attempt} begins anew)", style="dim", highlight=False)
            self._step, self._attempt = chunk.step, chunk.attempt
            self._console.print(" model  ", end="", style="green")
        self._console.print(said.text, end="", highlight=False)
        self._speaking = True

    def note(self, text: str) -> None:
        self._end_line()
        self._console.print(f"        {text}", style="red", highlight=False)

    def _end_line(self) -> None:
        if self._speaking:
            self._console.print()
        self._speaking = False


async def ask(chat: Handle[Any], questions: list[str]) -> int:
    """All of them, one after the other, then say goodbye. How many were answered."""
    for n, question in enumerate(questions):
        asked = chat.as_request(f"question-{n}")  # sent again, it is still one question
        while True:
            try:
                await asked.update(Chat.ask, question)
                break
            except EngineNotRunning:
                await asyncio.sleep(0.1)  # until another one is there
    await chat.signal(Chat.bye)
    return len(questions)


async def listen(chat: Handle[Any], them: Engines, screen: Screen, kill_in: int | None) -> None:
    """To the end of the talk. In the middle of the answer to the question of that number the engine is killed."""
    heard = asked = 0
    async for chunk in chat.stream(TALK, type=Said):
        screen.show(chunk)
        asked += chunk.value.who == "user"
        heard = heard + 1 if chunk.value.part and asked == kill_in else 0
        if heard == KILL_AT:
            kill_in = None
            await them.kill()
            screen.note("(the engine was killed; another one takes over)")
            await them.start()


async def talk(address: str, model: Model, questions: list[str], kills: bool) -> int:
    screen = Screen(Console(soft_wrap=True))
    async with engines(address, model.address) as them:
        client = Client(address, create=True)
        try:
            chat = await client.start(Chat.talk(), id="chat")
            listening = asyncio.create_task(listen(chat, them, screen, min(2, len(questions)) if kills else None))
            answered = await ask(chat, questions)
            await listening
            await chat.result()
            return answered
        finally:
            client.close()


def serve(address: str) -> None:
    """Be an engine until nobody wants one any more."""
    logging.getLogger("perdure").setLevel(logging.ERROR)  # that an attempt is lost is the story here
    with Engine(address, [workflows], drain=0):
        sys.stdin.read()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.chat", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="what to ask; by default three things")
    parser.add_argument("--pause", type=float, default=0.08, help="seconds between two tokens of the model")
    parser.add_argument("--no-kill", action="store_true", help="let the engine live")
    parser.add_argument("--dir", type=Path, help="where to keep the database; by default it is thrown away")
    parser.add_argument("--engine", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        serve(options.engine)
        return 0
    with tempfile.TemporaryDirectory() as folder, Model(options.pause).listening() as model:
        address = f"sqlite:///{(options.dir or Path(folder)).resolve()}/chat.db"
        try:
            answered = asyncio.run(talk(address, model, options.questions or QUESTIONS, not options.no_kill))
        except KeyboardInterrupt:
            return 130
    print(f"\n{answered} answers; the model was asked {model.asked} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
