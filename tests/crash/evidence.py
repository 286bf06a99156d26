"""What is compared: the histories, the ledger, and the database with itself."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from perdure import Client
from perdure.workflows import definitions_of
from tests.crash.scenarios import Scenario

WHEN_AND_WHO = {
    "at",
    "started_at",
    "due_at",
    "expires_at",
    "attempt",
    "member",
    "claimed_by",
    "build",
    "run_id",
    "terms",
    "continued_as",
}
"""Fields that another process, or another day, may fill otherwise."""

TOO_LATE = {"timeout", "heartbeat", "schedule-to-start", "schedule-to-close", "no-time"}
"""Why an activity failed of which nothing is done for certain: it may not have begun."""


def histories(client: Client, scenario: Scenario) -> dict[str, list[dict[str, Any]]]:
    """The history of each run that exists; the n-th run of an id is called id/n, from the second on."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in reversed(client.list().wait()):
        if row.id in scenario.ids:
            count = sum(name.partition("/")[0] == row.id for name in found)
            name = row.id if not count else f"{row.id}/{count + 1}"
            found[name] = client.handle(row.id, run_id=row.run_id).history().wait()
    return found


def named(client: Client, definitions: Iterable[Any]) -> list[Any]:
    """Those of the definitions that the histories in a database name. An engine that has only these starts in a fraction of the
    time, and does the same."""
    runs = client.list().wait()
    text = json.dumps([client.handle(row.id, run_id=row.run_id).history().wait() for row in runs])
    return [each for kind in definitions_of(definitions) for each in kind.values() if f'"{each.name}"' in text]


def essence(history: Sequence[dict[str, Any]], in_order: bool) -> list[str]:
    """What must be the same in every life of a run, as comparable texts."""
    number = next((event["run_id"] for event in history if event["type"] == "RunStarted"), "")
    lines = [json.dumps(_without(event), sort_keys=True).replace(number or "-", "RUN") for event in history]
    return lines if in_order else sorted(lines)


def _without(event: dict[str, Any]) -> dict[str, Any]:
    """Without what may differ; the traceback of a failure holds lines of the engine that runs it."""
    kept = {key: value for key, value in event.items() if key not in WHEN_AND_WHO | {"seq"}}
    if isinstance(kept.get("failure"), dict):
        kept["failure"] = {key: kept["failure"].get(key) for key in ("type", "message")}
    return kept


def done(history: Iterable[dict[str, Any]]) -> set[str]:
    """Keys, as in the ledger, of the deeds whose completion is recorded."""
    keys: set[str] = set()
    number = ""
    for event in history:
        if event["type"] == "RunStarted":
            number = event["run_id"]
        elif event["type"] == "ActivityCompleted" or (
            event["type"] == "ActivityFailed" and event["reason"] not in TOO_LATE
        ):
            keys.add(f"{number}:{event['id']}")
        elif event["type"] == "SideEffectRecorded":
            keys.add(event["value"])
    return keys


def heights(client: Client, scenario: Scenario) -> dict[str, int]:
    """How far steps have come by the details of their heartbeats that are kept, by their keys in the ledger."""
    found: dict[str, int] = {}
    for row in client.list().wait():
        if row.id in scenario.ids:
            for step in client.handle(row.id, run_id=row.run_id).describe().wait().steps:
                if isinstance(step.heartbeat_details, int):
                    found[f"{row.run_id}:{step.id}"] = step.heartbeat_details
    return found


Told = list[tuple[str, int, Any]]
"""The chunks of a stream: the step and the attempt that have written them, and their values."""


def told(client: Client, scenario: Scenario) -> dict[str, Told]:
    """What the streams of the runs hold."""
    found: dict[str, Told] = {}
    for row in client.list().wait():
        if row.id in scenario.ids:
            handle = client.handle(row.id, run_id=row.run_id)
            for each in handle.streams().wait():
                chunks = handle.stream(each.name, follow=False)
                found[f"{row.run_id}:{each.name}"] = [(one.step, one.attempt, one.value) for one in chunks]
    return found


def at_last(found: dict[str, Told]) -> list[tuple[str, str, list[Any]]]:
    """What the workflow has written to each stream, and the last attempt of each step: the same in every life."""
    values: dict[tuple[str, str, int], list[Any]] = {}
    for name, chunks in found.items():
        latest = {step: attempt for step, attempt, _ in chunks}
        for step, attempt, value in chunks:
            assert attempt <= latest[step], f"{name}: an attempt of [{step}] has written after a later one"
            if attempt == latest[step]:
                values.setdefault((name.partition(":")[2], step, 0), []).append(value)
    return sorted((name, step, said) for (name, step, _), said in values.items())


def rewritten(before: dict[str, Told], after: dict[str, Told]) -> list[str]:
    """Streams that do not begin with what was there before."""
    return [name for name, chunks in before.items() if after.get(name, [])[: len(chunks)] != chunks]


def fallen(before: dict[str, int], later_lines: Iterable[str]) -> list[str]:
    """Attempts that were told less than what was kept."""
    told = [line.partition("#") for line in later_lines if "#" in line]
    return [f"{key} at {height}" for key, _, height in told if int(height) < before.get(key, 0)]


def all_done(found: dict[str, list[dict[str, Any]]]) -> set[str]:
    return set().union(*map(done, found.values()))


def twice(before: set[str], later_lines: Iterable[str]) -> list[str]:
    """Deeds that were done again although their completion was recorded."""
    return sorted(key for key, times in Counter(later_lines).items() if key in before and times)
