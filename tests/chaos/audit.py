"""What is claimed after the storm, and all that speaks against it: by public views and histories, the books, and the diaries.

Nothing here is taken from what an engine believes: histories are read event by event, results are compared with the model.
"""

import bisect
import math
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from perdure import Client
from perdure.client.summary import RunSummary
from perdure.testing import replay
from tests.chaos import model, workflows
from tests.chaos.caller import all_read
from tests.chaos.places import Place
from tests.chaos.storm import OPEN, Seen
from tests.chaos.workflows import WORDS
from tests.chaos.world import Entry, entries

ENDS = {"RunCompleted", "RunFailed", "RunCancelled", "RunTerminated", "RunTimedOut", "RunContinuedAsNew"}
STUMBLING = {"enter", "enter_far", "book", "book_far", "deposit", "recite"}
"""Activities whose first attempt may fail by plan."""
REPLAYED = 80
UNNOTICED_SECONDS = 15.0
"""So long at most a process that is cut off may go on before it notices that it was declared dead."""


@dataclass
class Check:
    """One claim, and everything that speaks against it."""

    claim: str
    problems: list[str] = field(default_factory=list)


@dataclass
class Run:
    row: RunSummary
    history: list[dict[str, Any]]

    @property
    def result(self) -> Any:
        return self.history[-1].get("result")


class Evidence:
    """All there is to look at."""

    def __init__(self, folder: Path, place: Place, seen: Seen) -> None:
        self.seen = seen
        self.folder = folder
        self.place = place
        self.entries = list(entries(folder / "books.jsonl"))
        self.diaries = all_read(folder)
        self.client = Client(place.address)
        self.runs: dict[str, list[Run]] = defaultdict(list)
        for row in reversed(self.client.list(limit=1_000_000).wait()):
            self.runs[row.id].append(Run(row, self.client.handle(row.id, run_id=row.run_id).history().wait()))

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.diaries if line["kind"] == kind]

    @cached_property
    def asked(self) -> dict[str, str]:
        """The workflow of each id that a client has started."""
        return {line["id"]: line["workflow"] for line in self.told("started")}

    @cached_property
    def all(self) -> list[Run]:
        return [run for runs in self.runs.values() for run in runs]

    @cached_property
    def silences(self) -> list[float]:
        """When an engine took a worker, or another engine, for dead that was silent: frozen, cut off, or left without a processor."""
        return [at for at, line in self._logged if " is silent for " in line or " begins anew " in line]

    @cached_property
    def given_up(self) -> dict[int, float]:
        """Of processes that were taken for dead: since when, if whoever has declared them dead could tell of it."""
        since: dict[int, float] = {}
        for at, line in self._logged:
            found = re.search(r"(?:member|worker) (\d+) is silent for ", line)
            if found is not None:
                since.setdefault(int(found[1]), at)
        members = self.client.store.views.members(since)
        return {row.pid: since[id] for id, row in members.items()}

    def is_declared_dead(self, entry: Entry) -> bool:
        """Whether it is of a process that was taken for dead, and had not noticed."""
        return entry.at >= self.given_up.get(entry.pid, math.inf) or any(
            0 <= at + 1 - entry.at < UNNOTICED_SECONDS for at in self._begins_anew.get(entry.pid, ())
        )

    @cached_property
    def _begins_anew(self) -> dict[int, list[float]]:
        """When processes have noticed that they were declared dead."""
        noticed: dict[int, list[float]] = defaultdict(list)
        for path in self.folder.glob("engine-*.log"):
            pid = 0
            for line in path.read_text().splitlines():
                if line.startswith("ready "):
                    pid = int(line.removeprefix("ready "))
                elif " begins anew " in line:
                    noticed[pid].append(_moment(line))
        return noticed

    @cached_property
    def _logged(self) -> list[tuple[float, str]]:
        """What engines have logged: when, to the second, and what."""
        lines = [line for path in self.folder.glob("engine-*.log") for line in path.read_text().splitlines()]
        return [(_moment(line), line) for line in lines if re.match(r"\d{4}-\d\d-\d\d ", line)]

    @cached_property
    def moments(self) -> list[float]:
        """When something was recorded."""
        return sorted(seconds_of(event["at"]) for run in self.all for event in run.history)

    def next_moment(self, after: float) -> float:
        """When something was recorded next; never is infinitely late."""
        found = bisect.bisect_right(self.moments, after)
        return self.moments[found] if found < len(self.moments) else math.inf

    def unowned(self, begin: float, end: float) -> bool:
        """Whether there may have been a moment without an owner meanwhile: from the death of an engine to what is recorded
        next."""
        deaths = [death.at for death in self.seen.deaths if death.role == "engine" and death.at <= end]
        return any(self.next_moment(died_at) >= begin for died_at in deaths)

    @cached_property
    def firsts(self) -> list[Entry]:
        """What counts in the books."""
        first: dict[str, Entry] = {}
        for entry in self.entries:
            first.setdefault(entry.key, entry)
        return list(first.values())


def audit(evidence: Evidence) -> list[Check]:
    """All claims, each with its problems."""
    checks = [
        Check("no process has ended by itself, nor was one left behind", evidence.seen.problems),
        Check("every client was answered, and got no answer that makes no sense", list(_unexpected(evidence))),
        Check("every run that was accepted is there, and has come to the end it had to come to", list(_ends(evidence))),
        Check("no run has changed after its end", list(_changed(evidence))),
        Check(
            "histories have no gap, one end, one answer to each question, and no timer that fired early",
            list(_told(evidence)),
        ),
        Check("every deed counts exactly once in the books; not a cent is lost", list(_books(evidence))),
        Check("what was written in the transaction of a result is there once", list(_vault(evidence))),
        Check("nothing was done again that was recorded as done", list(_again(evidence))),
        Check("no step had more attempts than it may have, and was robbed of", list(_attempts(evidence))),
        Check(
            "what was said and accepted was heard once and in order; what was refused left no trace",
            list(_talk(evidence)),
        ),
        Check("each question to people has the one answer that was accepted", list(_people(evidence))),
        Check("who followed a stream has got each chunk once, in order", list(_streams(evidence))),
        Check("the database is sound, and holds nothing of what is over", list(_database(evidence))),
        Check(f"histories replay to the same commands ({REPLAYED} of them)", list(_replays(evidence))),
        Check("nobody grows", list(_growth(evidence))),
        Check("no log tells of a bug", list(_logs(evidence))),
    ]
    evidence.client.close()
    return checks


def _moment(line: str) -> float:
    """When a line was logged, to the second."""
    return time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S"))


def _unexpected(evidence: Evidence) -> Iterator[str]:
    yield from (f"{line['role']}: {line['error']}" for line in evidence.told("unexpected"))
    for line in evidence.told("ended"):
        last = evidence.runs[line["id"]][-1] if line["id"] in evidence.runs else None
        if last is not None and line["how"] == "result" and line["value"] != last.result:
            yield f"{line['id']}: its client was told {line['value']!r:.100}, and recorded is {last.result!r:.100}"


def _ends(evidence: Evidence) -> Iterator[str]:
    for line in evidence.told("started"):
        if line["run_id"] and not any(run.row.run_id == line["run_id"] for run in evidence.runs.get(line["id"], [])):
            yield f"{line['id']}: accepted as {line['run_id']}, which is not there"
    for run in evidence.all:
        if run.row.status in OPEN:
            yield f"{run.row.id} is still {run.row.status}: {run.row.note}"
    for id, workflow in evidence.asked.items():
        runs, expected = evidence.runs.get(id, []), model.expected(workflow, id)
        if expected.runs and len(runs) != expected.runs:
            yield f"{id}: {len(runs)} runs instead of {expected.runs}"
        if not runs:
            continue
        last = runs[-1]
        if last.row.status != expected.status:
            yield f"{id} is {last.row.status} instead of {expected.status}: {last.row.note}"
        elif last.row.status == "completed" and (wrong := model.wrong_result(workflow, id, last.result)):
            yield wrong


def _changed(evidence: Evidence) -> Iterator[str]:
    now = {(run.row.id, run.row.run_id): (run.row.status, run.row.events) for run in evidence.all}
    for (id, run_id), before in evidence.seen.closed.items():
        if now.get((id, run_id)) != before:
            yield f"{id} ({run_id}) was {before}, and is {now.get((id, run_id))}"


def _told(evidence: Evidence) -> Iterator[str]:
    for run in evidence.all:
        name, events = run.row.id, run.history
        if [event["seq"] for event in events] != list(range(1, run.row.events + 1)):
            yield f"{name}: its events are numbered {[event['seq'] for event in events]}, and it says it has {run.row.events}"
        ends = [event["type"] for event in events if event["type"] in ENDS]
        if run.row.status not in OPEN and (len(ends) != 1 or events[-1]["type"] not in ENDS):
            yield f"{name}: it is {run.row.status}, and its ends are {ends}"
        due: dict[str, str] = {}
        ended = Counter[str]()
        for event in events:
            match event["type"]:
                case "TimerStarted":
                    due[event["id"]] = event["due_at"]
                case "TimerFired" if event["at"] < due[event["id"]]:
                    yield f"{name}: timer {event['id']} fired at {event['at']}, and was due at {due[event['id']]}"
                case "ActivityCompleted" | "ActivityFailed" | "ChildCompleted" | "ChildFailed" | "TaskCompleted":
                    ended[event["id"]] += 1
                case "UpdateCompleted" | "UpdateFailed":
                    ended[f"update {event['id']}"] += 1
                case _:
                    pass
        yield from (f"{name}: [{step}] has {times} ends" for step, times in ended.items() if times > 1)


def _books(evidence: Evidence) -> Iterator[str]:
    found = Counter((entry.what, entry.of, entry.amount) for entry in evidence.firsts)
    wanted: model.Deeds = Counter()
    maybe: model.Deeds = Counter()
    for id, workflow in evidence.asked.items():
        expected = model.expected(workflow, id)
        wanted.update(expected.deeds)
        maybe.update(expected.maybe)
    for deed, times in (wanted - found).items():
        yield f"{deed} is missing {times} times"
    for deed, times in (found - wanted - maybe).items():
        yield f"{deed} was done {times} times too often"
    money = sum(entry.amount for entry in evidence.firsts if entry.what in ("withdraw", "deposit", "refund"))
    if money:
        yield f"{money} cents have come from nowhere, or are lost"


def _vault(evidence: Evidence) -> Iterator[str]:
    wanted = Counter((id, k) for id, workflow in evidence.asked.items() if workflow == "vault" for k in model.VAULT)
    found = evidence.place.vault()
    yield from (f"{deed} is missing" for deed in wanted - found)
    yield from (f"{deed} is there {found[deed]} times" for deed in found - wanted)


def seconds_of(at: str) -> float:
    return datetime.fromisoformat(at[:26].rstrip("Z") + "+00:00").timestamp()


def _again(evidence: Evidence) -> Iterator[str]:
    """Who was frozen, or on the way out, may have begun what it writes later; nobody counts it. Nor does anybody count what is
    begun by one that was taken for dead and has not noticed yet."""
    done: dict[str, float] = {}
    for run in evidence.all:
        for event in run.history:
            if event["type"] == "ActivityCompleted":
                done[f"{run.row.run_id}:{event['id']}"] = seconds_of(event["at"])
    late = evidence.seen.frozen_pids | {death.pid for death in evidence.seen.deaths if death.how == "stopped"}
    for entry in evidence.entries:
        if entry.key in done and entry.at > done[entry.key] + 0.001 and entry.pid not in late:
            if evidence.is_declared_dead(entry):
                continue
            yield f"{entry.what} of {entry.of} ({entry.key}) {entry.at - done[entry.key]:.3f} s after it was recorded, by {entry.pid}"


def _attempts(evidence: Evidence) -> Iterator[str]:
    """Each death robs a step of one attempt at most, and so does a worker's silence that is longer than its lease."""
    robbers = [death.at for death in evidence.seen.deaths] + evidence.silences
    for run in evidence.all:
        names: dict[str, str] = {}
        for event in run.history:
            if event["type"] == "ActivityScheduled":
                names[event["id"]] = event["name"]
            elif event["type"] == "ActivityCompleted" and event["attempt"] > 1:
                planned = 2 if names[event["id"]] in STUMBLING else 1
                begin, end = run.row.started_at.timestamp() - 1, seconds_of(event["at"]) + 1
                robbed = sum(begin <= at <= end for at in robbers)
                if event["attempt"] > planned + robbed:
                    yield f"{run.row.id} [{event['id']}]: {event['attempt']} attempts, {planned} planned, {robbed} deaths meanwhile"


def _talk(evidence: Evidence) -> Iterator[str]:
    """A signal that is left while nobody owns is refused by the next owner: "taken" says that it lies in the mailbox."""
    heard: dict[str, Counter[str]] = defaultdict(Counter)
    for run in evidence.all:
        for event in run.history:
            if event["type"] == "SignalReceived":
                heard[run.row.id][event["request_id"]] += 1
            elif event["type"] == "UpdateAccepted":
                heard[run.row.id][event["id"]] += 1
    for line in evidence.told("said") + evidence.told("ticket"):
        if heard[line["id"]][line["request"]] != 1:
            yield f"{line['id']}: {line['request']} was accepted, and is in the history {heard[line['id']][line['request']]} times"
    for line in evidence.told("refused"):
        left = line["codes"] == ["update-rejected", "taken"] and evidence.unowned(line["began"], line["at"])
        if not left and line["codes"] not in (["update-rejected", "unknown-message"], ["run-closed", "run-closed"]):
            yield f"{line['id']}: {line['request']} should have been refused, and was answered {line['codes']}"
        if heard[line["id"]][line["request"]]:
            yield f"{line['id']}: {line['request']} was refused, and is in the history"
    for line in evidence.told("heard"):
        if line["count"] < line["said"]:
            yield f"{line['id']}: {line['who']} had said {line['said']}, and a query counted {line['count']}"
    drawn: dict[str, dict[str, int]] = defaultdict(dict)
    for line in evidence.told("ticket"):
        if drawn[line["id"]].setdefault(line["request"], line["number"]) != line["number"]:
            yield f"{line['id']}: {line['request']} got two answers"
    for id, tickets in drawn.items():
        last = evidence.runs[id][-1]
        if last.row.status == "completed" and sorted(tickets.values()) != list(
            range(1, len(last.result["tickets"]) + 1)
        ):
            yield f"{id}: tickets {sorted(tickets.values())} were told, and {len(last.result['tickets'])} were drawn"


def _people(evidence: Evidence) -> Iterator[str]:
    """What is left while nobody owns lies in the mailbox, and may be refused by the next owner; nobody is told of that."""
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in evidence.told("answer"):
        if line["said"] == "answered":
            told[line["task"].partition("/")[0]].append(line)
    for id, workflow in evidence.asked.items():
        if workflow != "question" or not evidence.runs.get(id):
            continue
        run = evidence.runs[id][-1]
        said = [(event["by"], event["result"]) for event in run.history if event["type"] == "TaskCompleted"]
        if len(said) != 1 or run.result != [said[0][1], said[0][0]]:
            yield f"{id}: answered {said}, and its result is {run.result}"
            continue
        for line in told[id]:
            if line["by"] != said[0][0] and not evidence.unowned(line["began"], line["at"]):
                yield f"{id}: {line['by']} was told to have answered, and recorded is {said[0][0]}"


def _streams(evidence: Evidence) -> Iterator[str]:
    got: dict[tuple[str, str], list[tuple[int, Any]]] = defaultdict(list)
    for line in evidence.told("chunk"):
        got[line["id"], line["stream"]].append((line["offset"], line["value"]))
    for id, workflow in evidence.asked.items():
        if workflow != "talk" or not evidence.runs.get(id):
            continue
        for name in ("words", "log"):
            chunks = list(evidence.client.handle(id).stream(name, follow=False))
            if got[id, name] != [(chunk.offset, chunk.value) for chunk in chunks]:
                yield f"{id}: {name} was followed as {got[id, name]}, and holds {[chunk.value for chunk in chunks]}"
            if name == "log" and [chunk.value for chunk in chunks] != list(range(20)):
                yield f"{id}: the workflow's log is {[chunk.value for chunk in chunks]}"
            if name == "words":
                tries = {
                    chunk.attempt: [each.value for each in chunks if each.attempt == chunk.attempt] for chunk in chunks
                }
                if sorted(tries) != list(tries) or any(said != list(range(len(said))) for said in tries.values()):
                    yield f"{id}: attempts have written {tries}"
                elif len(tries[max(tries)]) != WORDS:
                    yield f"{id}: the last attempt has written {tries[max(tries)]}"


def _database(evidence: Evidence) -> Iterator[str]:
    """As whoever owns next leaves it: a worker that was killed while it joined has left an empty file."""
    admin = evidence.client.store.admin
    if admin.try_own("audit", os.getpid(), "audit", time.time_ns()) is None:
        yield "somebody owns it still"
    yield from admin.check()
    yield from evidence.place.left()


def _replays(evidence: Evidence) -> Iterator[str]:
    workflows.EDITION = 2  # which has the way of the first one, too
    runs = evidence.all[:: max(1, len(evidence.all) // REPLAYED)]
    try:
        replay([evidence.client.handle(run.row.id, run_id=run.row.run_id) for run in runs], [workflows])
    except Exception as error:  # noqa: BLE001  whatever it is, it speaks against the claim
        yield str(error)


def _growth(evidence: Evidence) -> Iterator[str]:
    """Of those that lived for a minute: their last quarter beside their second one."""
    for process in evidence.seen.gone:
        sizes = process.sizes
        if len(sizes) < 12 or sizes[-1][0] - sizes[0][0] < 60:
            continue
        quarter = len(sizes) // 4
        early, late = sizes[quarter : 2 * quarter], sizes[-quarter:]
        rss, rss_late = max(each[1] for each in early), max(each[1] for each in late)
        files, files_late = max(each[2] for each in early), max(each[2] for each in late)
        if files_late > files + 25:
            yield f"{process.name}: {files} open descriptors, later {files_late}"
        if rss_late > rss * 1.5 + (48 << 20):
            yield f"{process.name}: {rss >> 20} MiB, later {rss_late >> 20} MiB"


def _logs(evidence: Evidence) -> Iterator[str]:
    for path in sorted(evidence.folder.glob("*.log")):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if "Traceback" in line or "bug of its own" in line or "a copy is not sound" in line:
                yield f"{path.name}:{number}: {line[:200]}"
