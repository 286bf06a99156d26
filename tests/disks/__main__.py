"""Many lives on machines whose power and disks fail: `python -m tests.disks --lives 1000 --workload families`."""

import argparse
import sys
import time

from perdure.stores.sqlite import opening
from perdure.testing.simulation.plan import plan_of
from perdure.testing.simulation.programs import WORKLOADS
from tests.disks.lives import lived, stormy

REFUSALS = (0.0, 0.001, 0.003, 0.01)


def main() -> int:
    """Exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.disks", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one (default: 0)")
    parser.add_argument("--lives", type=int, default=100, help="how many of each workload (default: 100)")
    parser.add_argument("--workload", choices=WORKLOADS, help="what the runs do (default: all of them by turns)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    wishes = parser.parse_args()
    end = time.monotonic() + 60 * wishes.minutes
    lives = failures = refused = broken = 0
    for seed in range(wishes.seed, wishes.seed + wishes.lives):
        if time.monotonic() > end:
            break
        for workload in (wishes.workload,) if wishes.workload else WORKLOADS:
            opening.CHECKPOINT_PAGES = (4, 40, 4_000)[seed % 3]
            found, machine = lived(plan_of(seed, workload).calm(), stormy(seed, REFUSALS[seed % len(REFUSALS)]))
            lives, failures, refused = lives + 1, failures + machine.failures, refused + machine.refused
            if found.violation:
                broken += 1
                print(f"seed {seed}, {workload}: BROKEN: {found.violation}", flush=True)
    print(
        f"{lives:,} lives, the power failed {failures:,} times, {refused:,} calls of ours were refused, "
        f"{broken:,} lives in which a promise was broken"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
