"""What the clients of the storm want: each role is one job after the other, and may be killed in any of them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from perdure import errors
from perdure.handlers import Message
from tests.chaos.caller import Caller, all_read

GUESTS = 2
"""How many clients there are, all of whom come to each room."""
LINES = 14
GOODBYE = -1


def simple(workflow: str) -> Callable[[Caller, int], None]:
    """Start a run, and wait for its end."""

    def job(caller: Caller, n: int) -> None:
        id = f"{workflow}-{caller.name}-{n}"
        caller.start(workflow, id, [id, n])
        caller.end_of(id)

    return job


def money(caller: Caller, n: int) -> None:
    """Several at a time, so that there is always something in flight."""
    ids = [f"transfer-{caller.name}-{n * 4 + k}" for k in range(4)]
    for k, id in enumerate(ids):
        caller.start("transfer", id, [id, n * 4 + k])
    for id in ids:
        caller.end_of(id)


def counting(caller: Caller, n: int) -> None:
    id = f"counter-{caller.name}-{n}"
    caller.start("counter", id, [id, 2 + n % 6, 0])
    caller.end_of(id)


def cancelling(caller: Caller, n: int) -> None:
    """By the library, or from a shell. That it has ended already is what a request hears that is made again."""
    id = f"sleeper-{caller.name}-{n}"
    caller.start("sleeper", id, [id, n])
    if n % 3 == 0:
        shell(caller, "cancel", id, "--yes")
    else:

        def cancel() -> None:
            try:
                caller.client.handle(id).cancel("enough").wait()
            except errors.RunClosed:
                return

        caller.insist(cancel)
    caller.end_of(id)


def shell(caller: Caller, *arguments: str) -> str:
    """What the command line says when it says yes, or that the run has ended; until then it is asked again."""
    while True:
        command = [sys.executable, "-m", "perdure", *arguments, "--db", caller.address]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0 or (arguments[0] == "cancel" and "ended" in done.stdout + done.stderr):
            return done.stdout
        if done.returncode not in (1, 5, 124):
            raise AssertionError(f"{arguments} gave {done.returncode}: {done.stderr}")
        caller.pause()


def climbing(caller: Caller, n: int) -> None:
    """Started by the library, or from a shell."""
    id = f"mountain-{caller.name}-{n}"
    if n % 3:
        caller.start("mountain", id, [id, n])
    else:
        shell(caller, "start", "mountain", "--id", id, "--input", json.dumps([id, n]), "--request-id", f"start-{id}")
        caller.diary.note("started", id=id, workflow="mountain", run_id="")
    caller.end_of(id)


def asking(caller: Caller, n: int) -> None:
    """A question, which any client answers, and some of them at the same time."""
    id = f"question-{caller.name}-{n}"
    caller.start("question", id, [id, n])
    caller.end_of(id)


def answering(caller: Caller, n: int) -> None:
    """Whatever is open and nobody else has. What was claimed before a death is still one's own."""
    person = caller.name
    for open_task in caller.insist(lambda: caller.client.tasks.list(limit=20).wait()):
        if open_task.claimed_by not in ("", None, person):
            continue
        answer, request = f"{person} says {n}", f"{open_task.id}-{person}"

        def give(id: str = open_task.id, answer: str = answer, request: str = request) -> str:
            try:
                if n % 2:
                    caller.client.tasks.claim(id, by=person).wait()
                caller.client.tasks.complete(id, answer, by=person, request_id=request).wait()
            except (errors.TaskError, errors.RunClosed, errors.RunNotFound) as refused:
                return refused.code
            return "answered"

        began = time.time()
        said = caller.insist(give)
        caller.diary.note("answer", task=open_task.id, by=person, began=began, said=said)
    caller.pause(0.2)


def listening(caller: Caller, n: int) -> None:
    """Follow two streams of a run from where this client has left off, in whatever life."""
    id = f"talk-{caller.name}-{n}"
    caller.start("talk", id, [id, n])
    heard = [line for line in caller.diary.lines if line["kind"] == "chunk" and line["id"] == id]
    for name in ("words", "log"):
        offset = sum(line["stream"] == name for line in heard)
        while True:
            try:
                for chunk in caller.client.handle(id).stream(name, from_offset=offset):
                    caller.diary.note("chunk", id=id, stream=name, offset=chunk.offset, value=chunk.value)
                    offset = chunk.offset + 1
                break
            except (errors.StoreError, errors.EngineNotRunning):
                caller.pause()
    caller.end_of(id)


def chatting(caller: Caller, n: int) -> None:
    """Say things in order, draw tickets, and ask how much of it was heard."""
    id, who = f"room-{n}", caller.name
    first = Message("say", [who, 0])
    try:
        caller.start("Room", id, [GUESTS, [], []], signal=first, request_id=f"{who}-0", id_reuse="reject_duplicate")
    except errors.RunExists:  # an earlier life has said goodbye, and so have the others
        caller.end_of(id)
        return
    handle = caller.client.handle(id)
    for k in [*range(1, LINES), GOODBYE]:
        if k % 5 == 2:
            if k == 12 and n % 3 == 0:
                number = int(shell(caller, "update", id, "draw", who, "--request-id", f"{who}-ticket-{k}"))
            else:
                number = caller.insist(lambda k=k: handle.as_request(f"{who}-ticket-{k}").update("draw", who).wait())
            caller.diary.note("ticket", id=id, who=who, request=f"{who}-ticket-{k}", number=number)
        if k % 5 == 3:
            _be_refused(caller, handle, id, f"{who}-refused-{k}")
        if k in (6, 13) and n % 2 == 0:
            shell(caller, "signal", id, "say", who, str(k), "--request-id", f"{who}-{k}")
        else:
            caller.insist(lambda k=k: handle.as_request(f"{who}-{k}").signal("say", who, k).wait())
        caller.diary.note("said", id=id, who=who, k=k, request=f"{who}-{k}")
        if k % 4 == 1:
            by_shell = k == 9 and n % 3 == 1
            count = (
                int(shell(caller, "query", id, "heard", who))
                if by_shell
                else caller.insist(lambda: _asked(handle, who))
            )
            caller.diary.note("heard", id=id, who=who, said=k + 1, count=count)
        caller.pause(0.02)
    caller.end_of(id)


def _asked(handle: Any, who: str) -> int:
    try:
        return handle.query("heard", who).wait()
    except errors.QueryFailed as failed:
        if "has not begun yet" not in str(failed):
            raise
        raise errors.WaitedTooLong(str(failed)) from failed  # all that was said so far lies in its mailbox


def _be_refused(caller: Caller, handle: Any, id: str, request: str) -> None:
    """An update that the validator rejects, and a signal that nobody hears."""

    def ask() -> list[str]:
        codes: list[str] = []
        for say in (
            lambda: handle.as_request(request).update("draw", "").wait(),
            lambda: handle.as_request(request).signal("shout", "hey").wait(),
        ):
            try:
                say()
                codes.append("taken")
            except (errors.UpdateRejected, errors.UnknownMessage, errors.RunClosed) as refused:
                codes.append(refused.code)
        return codes

    began = time.time()
    caller.diary.note("refused", id=id, request=request, codes=caller.insist(ask), began=began)


ROLES: dict[str, Callable[[Caller, int], None]] = {
    "transfer": money,
    "order": simple("order"),
    "family": simple("family"),
    "nap": simple("nap"),
    "mountain": climbing,
    "mill": simple("mill"),
    "counter": counting,
    "sleeper": cancelling,
    "question": asking,
    "answer": answering,
    "talk": listening,
    "room": chatting,
    "vault": simple("vault"),
}

ON_SERVERS = {"vault"}
"""What only a server has."""

PAUSES = {"mill": 20.0, "sleeper": 6.0, "question": 2.0, "vault": 2.0, "answer": 1.0}
"""How many times as long as others a role pauses between two jobs."""


def work(caller: Caller, pause: float) -> None:
    """One job after the other until the storm is over; the first, and one that was begun, are finished in any case."""
    n = caller.done + 1
    while n <= max(caller.begun, 0) or not caller.over.is_set():
        n = _do(caller, n)
        caller.over.wait(PAUSES.get(caller.role, 1.0) * pause)
    if caller.role == "room":
        _see_off(caller, n)


def _do(caller: Caller, n: int) -> int:
    caller.diary.note("begun", role=caller.role, n=n)
    ROLES[caller.role](caller, n)
    caller.diary.note("done", role=caller.role, n=n)
    return n + 1


def _see_off(caller: Caller, n: int) -> None:
    """Nobody is left alone in a room: what another client has begun is finished together."""
    caller.diary.note("leaving", name=caller.name)
    while True:
        lines = all_read(caller.diary.folder)
        if any(line["kind"] == "begun" and line["role"] == "room" and line["n"] >= n for line in lines):
            n = _do(caller, n)
        elif len({line["name"] for line in lines if line["kind"] == "leaving"}) >= GUESTS:
            return
        else:
            caller.pause(0.3)
