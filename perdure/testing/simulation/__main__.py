"""The command: `python -m perdure.testing.simulation --seed 7 --crash-at 4`."""

import argparse
import re
import sys
from collections.abc import Sequence

from perdure.testing.simulation.life import STORES, Found, simulate
from perdure.testing.simulation.plan import HOWS, Disturbance, Plan, plan_of
from perdure.testing.simulation.programs import WORKLOADS
from perdure.testing.simulation.showing import Counter
from perdure.testing.simulation.shrinking import MOST_TRIES, as_test, shrink
from perdure.testing.simulation.trace import LEGEND


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m perdure.testing.simulation",
        description="Live through what a seed decides, check every promise on the way, and show what has happened. "
        "A life in which one is broken is shrunk to a small one, and written as a test.",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="which life; the same one gives the same trace (default: 0)"
    )
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="so many lives from that seed on, one line for each failure"
    )
    parser.add_argument("--workload", choices=WORKLOADS, default="random", help="what the runs do (default: random)")
    parser.add_argument("--crash-at", type=int, metavar="N", help="disturb commit N only; the seed decides otherwise")
    parser.add_argument("--how", choices=HOWS, default="after", help="what befalls that commit (default: after)")
    parser.add_argument("--calm", action="store_true", help="disturb nothing")
    parser.add_argument("--store", choices=STORES, default="memory", help="where runs are kept (default: memory)")
    parser.add_argument(
        "--shrink",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look for a smaller life in which the same promise is broken (default with a single seed)",
    )
    wishes = parser.parse_args(arguments)
    if wishes.calm and wishes.crash_at is not None:
        parser.error("--calm and --crash-at contradict each other")
    disturbances = () if wishes.calm else None
    if wishes.crash_at is not None:
        disturbances = (Disturbance(wishes.crash_at, wishes.how),)
    if wishes.seeds is None:
        return _one(wishes, disturbances)
    return _many(wishes, disturbances)


def _one(wishes: argparse.Namespace, disturbances: tuple[Disturbance, ...] | None) -> int:
    plan = plan_of(wishes.seed, wishes.workload, disturbances)
    found = simulate(plan, STORES[wishes.store])
    print("\n".join([LEGEND, *found.lines]))
    print(_verdict(found))
    if found.violation and wishes.shrink:
        _shrink(wishes, plan, found)
    return 1 if found.violation else 0


def _shrink(wishes: argparse.Namespace, plan: Plan, found: Found) -> None:
    with Counter("looking for a smaller life", MOST_TRIES) as counter:
        smallest = shrink(plan, found, lambda smaller: simulate(smaller, STORES[wishes.store]), counter.step)
    name = re.sub(r"\W+", "_", f"seed_{wishes.seed}_of_{wishes.workload}")
    print("\nThe same in a smaller life:\n")
    print("\n".join(smallest.found.lines))
    print(_verdict(smallest.found))
    print("\nAs a test:\n")
    print(as_test(name, smallest.plan, smallest.found.violation, wishes.store))


def _many(wishes: argparse.Namespace, disturbances: tuple[Disturbance, ...] | None) -> int:
    failures = commits = 0
    for seed in range(wishes.seed, wishes.seed + wishes.seeds):
        found = simulate(plan_of(seed, wishes.workload, disturbances), STORES[wishes.store])
        commits += found.commits
        if found.violation:
            failures += 1
            print(f"seed {seed}: {_verdict(found)}")
    print(f"{wishes.seeds:,} lives, {commits:,} commits, {failures:,} in which a promise was broken")
    return 1 if failures else 0


def _verdict(found: Found) -> str:
    return f"BROKEN: {found.violation}" if found.violation else f"every promise was kept; {found.commits} commits"


if __name__ == "__main__":
    sys.exit(main())
