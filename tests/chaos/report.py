"""What is said at the end: the claims, the figures, and where the evidence is if one of them does not hold."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.chaos.audit import Check, Evidence

PROBLEMS_SHOWN = 8


def figures(evidence: Evidence, seed: int) -> dict[str, Any]:
    """Numbers only, for people and for --json."""
    seen = evidence.seen
    steps = sum(event["type"] == "ActivityCompleted" for run in evidence.all for event in run.history)
    sizes = [size for process in seen.gone for size in process.sizes]
    blows = seen.blows
    return {
        "seed": seed,
        "store": evidence.place.address.partition(":")[0].replace("postgresql", "postgres"),
        "seconds": round(seen.seconds, 1),
        "runs": len(evidence.all),
        "runs_by_workflow": dict(sorted(Counter(run.row.workflow for run in evidence.all).items())),
        "events": sum(run.row.events for run in evidence.all),
        "steps": steps,
        "calls": len(evidence.entries),
        "absorbed": len(evidence.entries) - len(evidence.firsts),
        "processes": len(seen.gone),
        "blows": dict(sorted(blows.items())),
        "kills": sum(death.how == "killed" for death in seen.deaths),
        "stops": sum(death.how == "stopped" for death in seen.deaths),
        "freezes": sum(count for kind, count in blows.items() if "freeze" in kind or "bury" in kind),
        "faults": sum(death.how == "fault" for death in seen.deaths),
        "takeovers": _waits(evidence, True),
        "restarts": _waits(evidence, False),
        "returns": _told(evidence, seen.back),
        "largest_mib": max((size[1] for size in sizes), default=0) >> 20,
        "largest_log_mib": seen.log_bytes >> 20,
        "most_descriptors": max((size[2] for size in sizes), default=0),
    }


def _waits(evidence: Evidence, stands_by: bool) -> dict[str, Any]:
    """From the death of an owner to the first event that is recorded after it, by whoever it may be."""
    return _told(evidence, [died_at for died_at, stood_by in evidence.seen.widowed if stood_by == stands_by])


def _told(evidence: Evidence, moments: Sequence[float]) -> dict[str, Any]:
    waits = [evidence.next_moment(at) - at for at in moments if evidence.next_moment(at) < math.inf]
    median, most = (round(statistics.median(waits), 2), round(max(waits), 2)) if waits else (None, None)
    return {"count": len(waits), "median_s": median, "max_s": most}


def say(checks: Sequence[Check], numbers: dict[str, Any], place: str, kept: Path | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print("\n[bold]Claims[/], looked at from outside")
    for check in checks:
        console.print(f"  [red]✗[/] not so: {check.claim}" if check.problems else f"  [green]✓[/] {check.claim}")
        for problem in check.problems[:PROBLEMS_SHOWN]:
            console.print(f"      {problem}", markup=False, style="red")
        if len(check.problems) > PROBLEMS_SHOWN:
            console.print(f"      and {len(check.problems) - PROBLEMS_SHOWN} more")
    console.print("\n[bold]Figures[/]")
    for name, value in _lines(numbers, place):
        console.print(f"  {name:<12}{value}", markup=False)
    if kept is not None:
        console.print(f"\nThe database, the logs, the books and the diaries are kept in {kept}", markup=False)
        console.print(
            f"The same weather again:  python -m tests.chaos --store {numbers['store']} --seed {numbers['seed']}",
            markup=False,
        )


def _lines(numbers: dict[str, Any], place: str) -> list[tuple[str, str]]:
    blows = ", ".join(f"{count} {kind}" for kind, count in numbers["blows"].items())
    waits = [
        f"{found['count']} {who}, median {found['median_s']:.2f} s, longest {found['max_s']:.2f} s"
        for who, found in (
            ("owners' deaths with a standby", numbers["takeovers"]),
            ("without", numbers["restarts"]),
            ("returns of the server", numbers["returns"]),
        )
        if found["count"]
    ]
    return [
        ("runs", f"{numbers['runs']} with {numbers['events']} events, {numbers['steps']} steps, in {numbers['seconds']} s"),
        ("kinds", ", ".join(f"{count} {name}" for name, count in numbers["runs_by_workflow"].items())),
        ("processes", f"{numbers['processes']}: {numbers['kills']} killed, {numbers['stops']} told to end, {numbers['faults']} ended by a fault of the database"),
        ("blows", blows),
        ("went on", "after " + ("; ".join(waits) or "nothing that stopped all")),
        ("deeds", f"{numbers['calls']} calls, {numbers['absorbed']} of them absorbed by their idempotency keys"),
        ("sizes", f"at most {numbers['largest_mib']} MiB and {numbers['most_descriptors']} descriptors in a process, {numbers['largest_log_mib']} MiB of SQLite's log"),
        ("place", place),
        ("seed", str(numbers["seed"])),
    ]  # fmt: skip
