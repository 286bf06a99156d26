"""What must come out, known from the number of a run alone: what is in the books, and how it ends."""

from collections import Counter
from typing import Any, NamedTuple

from tests.chaos.roles import GOODBYE, GUESTS, LINES
from tests.chaos.workflows import WORDS, fails

VAULT = (1, 2, 3)

Deeds = Counter[tuple[str, str, int]]
"""What was done, of what, how much: how often."""


class Expected(NamedTuple):
    """Of a run that a client has started. `maybe`: deeds that may have been done once, or not. `runs`: under its id."""

    deeds: Deeds
    maybe: Deeds = Counter()
    runs: int = 1
    status: str = "completed"


def number(id: str) -> int:
    return int(id.rpartition("-")[2])


def _deeds(of: str, *done: tuple[str, int]) -> Deeds:
    return Counter((what, of, amount) for what, amount in done)


def expected(workflow: str, id: str) -> Expected:
    n = number(id)
    match workflow:
        case "transfer":
            amount = 1 + n % 50
            back = ("refund", amount) if fails(n) else ("deposit", amount)
            return Expected(_deeds(id, ("withdraw", -amount), back), _deeds(id, ("receipt", 0)))
        case "order":
            last = [("release", 1), ("repay", 10)] if fails(n) else [("ship", 0)]
            return Expected(_deeds(id, ("reserve", -1), ("charge", -10), ("pack", 0), *last))
        case "family":
            leaves = [(f"{id}.{k}{'.0' * below}", k - below) for k in range(3) for below in range(k + 1)]
            return Expected(Counter(("leaf", of, depth) for of, depth in leaves))
        case "counter":
            most = 2 + n % 6
            return Expected(_deeds(id, *[("count", left) for left in range(1, most + 1)]), runs=most)
        case "sleeper":
            return Expected(Counter(), _deeds(id, ("broom", 0)), status="cancelled")
        case "question":
            return Expected(_deeds(id, ("heard", 0)))
        case "mountain":
            return Expected(_deeds(id, ("top", 3 + n % 5)))
        case "mill":
            return Expected(_deeds(id, ("ground", 0)))
        case "vault":
            return Expected(_deeds(id, *[("entered", k) for k in VAULT]))
        case "Room":
            heard = [k for k in range(LINES) if k % 5 == 4]
            guests = [f"client-{each}" for each in range(GUESTS)]
            return Expected(Counter(("heard", f"{id}-{who}-{k}", 0) for who in guests for k in heard), runs=0)
        case _:
            return Expected(Counter())


def wrong_result(workflow: str, id: str, result: Any) -> str:
    """What is wrong with the result of a run; nothing if it is right."""
    n = number(id)
    match workflow:
        case "transfer":
            right = result == ("refused" if fails(n) else "done")
        case "order":
            right = "no ship sails there" in result if fails(n) else result == f"shipped {n}"
        case "family":
            right = result == 6 * n
        case "nap":
            wanted, by_run, by_world = result
            right = by_run >= wanted and by_world >= wanted
        case "counter":
            most = 2 + n % 6
            right = result == most * (most + 1) // 2
        case "question":
            right = result[0].startswith(f"{result[1]} says ")
        case "talk":
            right = result == WORDS
        case "mountain":
            right = result == 3 + n % 5
        case "mill":
            right = result == n * (n - 1) // 2
        case "vault":
            right = result == sum(VAULT)
        case "Room":
            order = [*range(LINES), GOODBYE]
            said = {
                f"client-{each}": [k for who, k in result["said"] if who == f"client-{each}"] for each in range(GUESTS)
            }
            right = all(each == order for each in said.values()) and len(result["said"]) == GUESTS * len(order)
        case _:
            right = True
    return "" if right else f"{id}: its result is {result!r:.300}"
