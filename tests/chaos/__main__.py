"""Real processes on one database, killed, frozen and starved for a while: `make chaos`, or `python -m tests.chaos --minutes 5`.

Engines, workers of queues and clients work on one SQLite file, or on a server of PostgreSQL (`--store postgres`). What becomes of them is planned from the seed (`plan.py`). At
the end all that was promised is compared with what is there, from outside (`audit.py`). Exit code 1 if a promise was broken.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.audit import Check, Evidence, audit
from tests.chaos.cluster import Cluster
from tests.chaos.places import File, Place
from tests.chaos.plan import KINDS, SERVER_KINDS, Blow, draw
from tests.chaos.progress import Progress
from tests.chaos.report import figures, say
from tests.chaos.storm import Storm

Outcome = tuple[list[Check], dict[str, Any], str]
"""Claims, figures, and where it was."""


def storm(
    place: Place, folder: Path, seed: int, plan: Sequence[Blow], seconds: float, pause: float = 0.1, quiet: bool = False
) -> Outcome:
    """One storm. Logs, books and diaries go to the folder. `pause`: of clients, between two jobs."""
    with Progress(seconds, quiet) as progress:
        raging = Storm(folder, plan, seconds, progress, place, pause)
        try:
            raging.begin()
            raging.rage()
            progress.say("the storm is over; runs come to their ends")
            raging.calm()
        finally:
            raging.close()
            place.settle()
        progress.say("looking")
        evidence = Evidence(folder, place, raging.seen)
        checks = audit(evidence)
    return checks, figures(evidence, seed), place.name


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3, help="how long the storm rages, by default 3")
    parser.add_argument("--seed", type=int, default=None, help="of the plan, by default a new one")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--pace", type=float, default=1.3, help="mean seconds between two blows, by default 1.3")
    parser.add_argument("--json", action="store_true", help="figures and problems as JSON, on standard output")
    parser.add_argument("--keep", type=Path, default=None, help="keep everything in this folder, which must not exist")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    folder = options.keep or Path(tempfile.mkdtemp(prefix="perdure-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder, seconds = folder.resolve(), options.minutes * 60
    on_server = options.store == "postgres"
    plan = draw(seed, seconds, options.pace, kinds=SERVER_KINDS if on_server else KINDS)
    place: Place = Cluster(folder, plan) if on_server else File(folder, plan, seconds)
    kept: Path | None = folder
    try:
        checks, numbers, where = storm(place, folder, seed, plan, seconds, quiet=options.json)
        broken = any(check.problems for check in checks)
        kept = folder if broken or options.keep else None
    finally:
        place.close(kept)
    if options.json:
        claims = {check.claim: check.problems for check in checks}
        print(json.dumps({**numbers, "place": where, "claims": claims, "kept": str(kept) if kept else None}))
    else:
        say(checks, numbers, where, kept)
    if kept is None:
        shutil.rmtree(folder)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
