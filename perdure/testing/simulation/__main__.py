"""The command: `python -m perdure.testing.simulation --seed 7 --crash-at 4`."""

import argparse
import re
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from perdure.testing.simulation.batches import Life, Tally, by_turns, live_for
from perdure.testing.simulation.life import STORES, Found, simulate
from perdure.testing.simulation.plan import HOWS, SHARED_HOWS, Disturbance, Plan
from perdure.testing.simulation.programs import WORKLOADS
from perdure.testing.simulation.showing import in_words, progress
from perdure.testing.simulation.shrinking import MOST_TRIES, as_test, shrink
from perdure.testing.simulation.trace import LEGEND

MOST_SEED = 10**9


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if a promise was broken."""
    parser = _parser()
    wishes = parser.parse_args(arguments)
    if wishes.calm and wishes.crash_at is not None:
        parser.error("--calm and --crash-at contradict each other")
    if wishes.minutes is not None and wishes.seeds is not None:
        parser.error("--minutes and --seeds contradict each other")
    if wishes.members and wishes.store != "memory":
        parser.error("--members needs --store memory: a file has one owner")
    if wishes.members < 0:
        parser.error("--members counts owners: 1 or more of them share a store")
    if wishes.how in SHARED_HOWS and not wishes.members:
        parser.error(f"--how {wishes.how!r} needs --members: it is about several owners")
    if wishes.minutes is not None:
        return _for_minutes(wishes)
    disturbances = () if wishes.calm else None
    if wishes.crash_at is not None:
        disturbances = (Disturbance(wishes.crash_at, wishes.how),)
    if wishes.seeds is None:
        return _one(wishes, disturbances)
    return _many(wishes, disturbances)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m perdure.testing.simulation",
        description="Live through what a seed decides, check every promise on the way, and show what has happened. "
        "A life in which one is broken is shrunk to a small one, and written as a test.",
    )
    add = parser.add_argument
    add("--seed", type=int, help="which life; the same one gives the same trace (default: 0; with --minutes any)")
    add("--seeds", type=int, metavar="N", help="so many lives from that seed on, one line for each failure")
    add("--minutes", type=float, metavar="M", help="lives of all workloads by turns, for so long")
    add("--workers", type=int, default=1, metavar="N", help="processes that live them (with --minutes; default: 1)")
    add("--json", type=Path, metavar="FILE", help="write the figures there (with --minutes)")
    add("--workload", choices=WORKLOADS, default="random", help="what the runs do (default: random)")
    add("--crash-at", type=int, metavar="N", help="disturb commit N only; the seed decides otherwise")
    add("--how", choices=(*HOWS, *SHARED_HOWS), default="after", help="what befalls that commit (default: after)")
    add("--calm", action="store_true", help="disturb nothing")
    add("--store", choices=STORES, default="memory", help="where runs are kept (default: memory)")
    add(
        "--members",
        type=int,
        default=0,
        metavar="N",
        help="so many owners share a store in memory (default: one owns it)",
    )
    add("--retention", action="store_true", help="runs go when they ended long ago, and some are asked for after that")
    add(
        "--shrink",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look for a smaller life in which the same promise is broken (default)",
    )
    return parser


def _one(wishes: argparse.Namespace, disturbances: tuple[Disturbance, ...] | None) -> int:
    life = Life(wishes.seed or 0, wishes.workload, wishes.store, wishes.members, retention=wishes.retention)
    plan = life.plan(disturbances)
    found = simulate(plan, STORES[wishes.store])
    print("\n".join([LEGEND, *found.lines]))
    print(_verdict(found))
    if found.violation and wishes.shrink:
        _shrink(life, plan, found)
    return 1 if found.violation else 0


def _shrink(life: Life, plan: Plan, found: Found) -> None:
    with progress("looking for a smaller life", "{task.completed:,} of at most {task.total:,}") as bar:
        task = bar.add_task("", total=MOST_TRIES)

        def live(smaller: Plan) -> Found:
            bar.advance(task)
            return simulate(smaller, STORES[life.store])

        smallest = shrink(plan, found, live)
    name = re.sub(r"\W+", "_", f"seed_{life.seed}_of_{life.workload}")
    print("\nThe same in a smaller life:\n")
    print("\n".join(smallest.found.lines))
    print(_verdict(smallest.found))
    print("\nAs a test:\n")
    print(as_test(name, smallest.plan, smallest.found.violation, life.store))


def _many(wishes: argparse.Namespace, disturbances: tuple[Disturbance, ...] | None) -> int:
    tally = Tally()
    began = time.monotonic()
    for seed in range(wishes.seed or 0, (wishes.seed or 0) + wishes.seeds):
        life = Life(seed, wishes.workload, wishes.store, wishes.members, retention=wishes.retention)
        found = simulate(life.plan(disturbances), STORES[life.store])
        tally.count(life, found)
        if found.violation:
            print(f"seed {seed}: {_verdict(found)}")
    print(in_words(tally, time.monotonic() - began))
    return 1 if tally.broken else 0


def _for_minutes(wishes: argparse.Namespace) -> int:
    seed = secrets.randbelow(MOST_SEED) if wishes.seed is None else wishes.seed
    print(f"lives from seed {seed} on")
    seconds, began = 60 * wishes.minutes, time.monotonic()
    with progress("", "{task.description}") as bar:
        task = bar.add_task("", total=seconds)

        def told(tally: Tally) -> None:
            passed = time.monotonic() - began
            bar.update(task, completed=passed, description=in_words(tally, passed))

        lives = by_turns(seed)
        if wishes.retention:
            lives = (msgspec.structs.replace(life, retention=True) for life in lives)
        tally = live_for(seconds, lives, wishes.workers, told)
    took = time.monotonic() - began
    for each in tally.broken:
        print(f"{each.life}\n  BROKEN: {each.violation.splitlines()[0]}")
    print(in_words(tally, took))
    if wishes.json is not None:
        figures: dict[str, Any] = {"from_seed": seed, "seconds": took, "workers": wishes.workers}
        figures |= {name: value for name, value in msgspec.to_builtins(tally).items() if name != "told"}
        wishes.json.write_bytes(msgspec.json.encode(figures) + b"\n")
    if tally.broken and wishes.shrink:
        life = tally.broken[0].life
        plan = life.plan()
        found = simulate(plan, STORES[life.store])
        if found.violation:  # and not only what its histories give when they are replayed
            _shrink(life, plan, found)
    return 1 if tally.broken else 0


def _verdict(found: Found) -> str:
    return f"BROKEN: {found.violation}" if found.violation else f"every promise was kept; {found.commits} commits"


if __name__ == "__main__":
    sys.exit(main())
