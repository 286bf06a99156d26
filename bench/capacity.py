"""What members and one server could do on larger machines, by simulation: `python -m bench.capacity --cores 32`.

A member has a core of its own. It computes a batch, its commit goes to the server, takes a processor there and is flushed, and then
comes the next batch: what has arrived meanwhile. Processors of the server and its log are shared; whoever comes while a flush is under
way is in the next one. The costs are a line through what was measured with different numbers of workflows in flight
(docs/postgresql.md): something for each workflow, and something for each commit.
"""

import argparse
import heapq
from typing import NamedTuple

SECONDS = 5.0
"""Of simulated time."""

TURNS = 4
"""So many commits a workflow of three steps is in."""

MEMBERS = (1, 2, 4, 8, 16, 32, 64, 128)
BUSY = 0.8


class Costs(NamedTuple):
    """Seconds of processor time of members and server, for each workflow and for each commit; of a journey there and back, and of a
    flush; bytes of log for each workflow, and how many the disk takes in a second."""

    member: float = 0.17e-3
    member_commit: float = 0.42e-3
    server: float = 0.095e-3
    server_commit: float = 0.40e-3
    journey: float = 0.3e-3
    flush: float = 1.0e-3
    log: float = 2_100.0
    disk: float = 300e6


class Outcome(NamedTuple):
    """Workflows per second; the part of the time in which a member, a processor of the server, and the disk of the log were busy."""

    per_second: float
    member: float
    server: float
    log: float

    @property
    def limit(self) -> str:
        if self.server > BUSY:
            return "processors of the server"
        return "log" if self.log > BUSY else "members"


def simulate(members: int, cores: int, in_flight: int, costs: Costs | None = None) -> Outcome:
    """Each member has `in_flight` workflows, half of which are with their activities at any time."""
    costs = costs or Costs()
    moved = in_flight / 2 / TURNS  # workflows' worth of turns in a batch
    computing = moved * costs.member + costs.member_commit
    executing = moved * costs.server + costs.server_commit
    writing = moved * costs.log / costs.disk
    processors = [0.0] * cores
    begins, ends = 0.0, 0.0  # of the latest flush
    logged = 0.0
    commits = 0
    events = [(computing * (1 + number / members), number, False) for number in range(members)]
    heapq.heapify(events)
    while events:
        now, number, executed = heapq.heappop(events)
        if now >= SECONDS:
            continue
        if not executed:
            free = max(heapq.heappop(processors), now + costs.journey / 2)
            heapq.heappush(processors, free + executing)
            heapq.heappush(events, (free + executing, number, True))
            continue
        commits += 1
        logged += writing
        if now > begins:
            begins = max(now, ends)
            ends = begins + costs.flush
        ends += writing
        heapq.heappush(events, (ends + costs.journey / 2 + computing, number, False))
    return Outcome(
        commits * moved / SECONDS,
        commits * computing / SECONDS / members,
        commits * executing / SECONDS / cores,
        logged / SECONDS,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--cores", type=int, default=32, help="processors of the server")
    parser.add_argument("--in-flight", type=int, default=1_000, help="workflows of each member")
    for name, value in Costs()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help=f"default: {value:g}")
    wishes = vars(parser.parse_args())
    cores, in_flight = wishes.pop("cores"), wishes.pop("in_flight")
    print(f"{'members':>7}  {'workflows/s':>11}  {'member':>6}  {'server':>6}  {'log':>5}  limit")
    for members in MEMBERS:
        found = simulate(members, cores, in_flight, Costs(**wishes))
        shares = f"{found.member:>6.0%}  {found.server:>6.0%}  {found.log:>5.0%}"
        print(f"{members:>7}  {found.per_second:>11,.0f}  {shares}  {found.limit}")


if __name__ == "__main__":
    main()
