"""What a seed decides before anything happens."""

from collections.abc import Sequence
from random import Random
from typing import Any, Literal, get_args

import msgspec

from perdure.testing.simulation.changing import CODES, Code
from perdure.testing.simulation.programs import Spec, program
from perdure.testing.simulation.values import said_in_order, value_of, words_for

How = Literal[
    "before",
    "inside",
    "after",
    "in-doubt-applied",
    "in-doubt-lost",
    "unavailable",
    "refused",
    "full",
    "lost",
    "damaged",
    "slow",
]
"""What befalls a commit: the process dies before it, when it is half way, or when it is durable and nobody knows it yet; or
the process lives, and the store does not say whether the commit was written, or does not take it now, or not as it is; or it is
full, or owned by somebody else now, or damaged, so that the owner stops; or it takes its time."""

HOWS: tuple[How, ...] = get_args(How)
SharedHow = Literal["frozen", "interleaved", "handed over", "in-doubt-late-applied", "in-doubt-late-lost"]
"""Further, where several owners share a store: the process stands still before the commit, for longer than others wait for it;
others act between its statements; the process leaves after it; or it is written, or not, when the process does not know
that for some time."""

SHARED_HOWS: tuple[SharedHow, ...] = get_args(SharedHow)
DEATHS: tuple[How, ...] = ("before", "inside", "after")

STRIKES = ("before", "after", "unavailable", "in doubt", "full", "visited")
SHARED_STRIKES = ("visited meanwhile", "interleaved", "frozen")

AGAIN_SECONDS = 3_600.0
"""In that time whoever has wished for a run is heard."""

_MOST_COMMITS = 30
"""Disturbances that are drawn befall one of so many commits, if there are as many."""


_IN_A_ROW = (1, 1, 1, 2, 4)
"""So many commits are befallen by the same."""


class Disturbance(msgspec.Struct, frozen=True):
    """At which commit, counted over all lives from 1 on, and how. Somebody sets the `clock` of the machine then, by so many
    seconds."""

    at: int
    how: How | SharedHow
    clock: float = 0.0


class Deed(msgspec.Struct, frozen=True):
    """What an operator does to a run, so many seconds after it was wished for. To retry does no harm."""

    what: Literal["cancel", "terminate", "retry"]
    after: float
    by_mail: bool = False


class Word(msgspec.Struct, frozen=True):
    """What a client tells a run, so many seconds after it was heard the last time: by mail or by a request to the owner, and
    perhaps twice. One that is `wrong` is refused. One that is `posted` has no id: it is mail that is sent once, and nobody
    waits until it is heard."""

    n: int
    after: float
    by_mail: bool
    twice: bool = False
    wrong: bool = False
    posted: bool = False


class Strike(msgspec.Struct, frozen=True):
    """At which batch of runs that go, counted over all lives from 1 on, and how: the process dies before it or after it; or the
    store does not answer, before or after it, or is full; or somebody comes to one of the runs at the last moment; or others
    act, or come, between its statements."""

    at: int
    how: Literal[
        "before", "after", "unavailable", "in doubt", "full", "visited", "visited meanwhile", "interleaved", "frozen"
    ]


class Visit(msgspec.Struct, frozen=True):
    """Somebody has a handle of a run and comes, so many seconds after it was wished for, or when it has ended: perhaps long after
    it has gone."""

    what: Literal["signal", "update", "cancel", "terminate", "retry", "query"]
    after: float
    by_mail: bool


class Wish(msgspec.Struct, frozen=True):
    """What a client wants: a run of a program, by mail or by a request to the owner, and what it tells that run. A run that
    does not end by itself is cancelled, or terminated. Times in seconds."""

    id: str
    spec: Spec
    at: float = 0.0
    by_mail: bool = False
    nudged: bool = True
    end_at: float | None = None
    terminate: bool = False
    words: tuple[Word, ...] = ()
    deeds: tuple[Deed, ...] = ()
    visits: tuple[Visit, ...] = ()

    @property
    def workflow(self) -> str:
        return {"desk": "Desk", "fails first": "insist"}.get(self.spec[0], "perform")

    @property
    def input(self) -> Any:
        return self.spec[1] if self.workflow == "Desk" else self.spec

    @property
    def value(self) -> int | None:
        """What must come out if it is not ended from outside; None if it does not end by itself."""
        if self.spec[0] in ("for ever", "fails first"):
            return None
        if self.spec[0] == "chat":
            return said_in_order(word.n for word in self.words)
        told = [word.n if self.workflow != "Desk" else 2 * word.n + 1 for word in self.words if not word.wrong]
        return value_of(self.spec, sum(told))

    @property
    def may_be_stopped(self) -> bool:
        """Whether somebody may be quicker than the end of the program."""
        return self.end_at is not None or not self.is_certain

    @property
    def is_repeatable(self) -> bool:
        """Whether a run of the same id comes to the same again."""
        return not self.may_be_stopped and not self.words and self.value is not None

    @property
    def is_certain(self) -> bool:
        """Whether it comes to the same in each life."""
        return all(deed.what == "retry" for deed in self.deeds)


class Plan(msgspec.Struct, frozen=True):
    """Everything but how attempts end and what moods people are in: that is drawn from the seed and the names of what it is
    about, so that nothing else changes when a part of a plan is left out. Attempts that are not `shaky` succeed if they
    can, soon; an owner that is `early` looks into the store before something is due, at times. Of the workers the first ones
    are `unsteady`; where it is `stormy` what attempts write to streams is lost, or not answered, at times. With `members` so many owners share the store at once, each in a process of its own; without, one follows
    the other.
    The first owner has the first of the `codes`, and so on; the last of them is for all that come later.
    Runs that ended so long ago go if there is a `retention`, in seconds; `strikes` befall that."""

    seed: int
    wishes: tuple[Wish, ...]
    disturbances: tuple[Disturbance, ...] = ()
    slots: tuple[int, int] = (4, 4)
    cached_runs: int = 100
    awake_runs: int = 100
    forgetful: bool = False
    shaky: bool = True
    early: bool = True
    unsteady: int = 0
    stormy: bool = False
    members: int = 0
    codes: tuple[Code, ...] = ("new",)
    retention: float | None = None
    strikes: tuple[Strike, ...] = ()

    @property
    def may_refuse(self) -> bool:
        """Whether the store says of something, perhaps, that it will not take it as it is: then a run is blocked."""
        return any(each.how == "refused" for each in self.disturbances)

    def calm(self) -> "Plan":
        """The same without disturbances."""
        return msgspec.structs.replace(
            self, disturbances=(), unsteady=0, stormy=False, codes=self.codes[-1:], strikes=()
        )


def last_again(wishes: Sequence[Wish]) -> float:
    """When, in seconds, all are begun that were wished for again."""
    ids = [wish.id for wish in wishes]
    return max((wish.at + AGAIN_SECONDS for wish in wishes if ids.count(wish.id) > 1), default=0.0)


def drawn(*names: object) -> Random:
    """Chance for whatever has these names: the same in each process, and whatever else is drawn."""
    return Random(" ".join(map(str, names)))


def plan_of(
    seed: int,
    workload: str = "random",
    disturbances: tuple[Disturbance, ...] | None = None,
    members: int = 0,
    retention: bool = False,
) -> Plan:
    """The plan of a seed; without `disturbances` it decides on them, too, and with `retention` on how long runs are kept."""
    chance = drawn("plan", seed, workload)
    wishes = tuple(_wish(chance, workload, n) for n in range(chance.randint(1, 4)))
    hows = (*HOWS, *SHARED_HOWS) if members else HOWS
    befallen = [each for _ in range(chance.randint(0, 4)) for each in _disturbances(chance, hows)]
    plan = Plan(
        seed,
        wishes,
        tuple(sorted(befallen, key=_at)) if disturbances is None else disturbances,
        (chance.randint(1, 4), chance.randint(1, 4)),
        chance.choice([1, 2, 100]),
        chance.choice([1, 2, 100]),
        chance.random() < 0.3,
        unsteady=chance.choice([0, 3, 6]) if disturbances is None else 0,
        stormy=disturbances is None,
        members=members,
        codes=_codes(chance) if workload == "deploys" else ("new",),
    )
    return _with_retention(plan, workload, disturbances is None) if retention else plan


def _with_retention(plan: Plan, workload: str, is_disturbed: bool) -> Plan:
    """The same, with runs that go. Clocks are set by little then: who asks for a start again, having got no answer, does so while
    the run is kept."""
    chance = drawn("retention", plan.seed, workload)
    keep = chance.choice([100.0, 100.0, 3_600.0, 86_400.0, 20 * 86_400.0])
    wishes: list[Wish] = []
    for wish in plan.wishes:
        visits = tuple(_visit(chance, keep) for _ in range(chance.choice([0, 1, 3])))
        wishes.append(msgspec.structs.replace(wish, visits=visits))
        if wish.is_repeatable and chance.random() < 0.3:
            later = chance.choice([10.0, 0.9 * keep, 1.2 * keep, 3 * keep, 1e7])
            wishes.append(msgspec.structs.replace(wish, at=wish.at + later, by_mail=chance.random() < 0.5))
    hows = (*STRIKES, *SHARED_STRIKES) if plan.members else STRIKES
    strikes = [Strike(n, chance.choice(hows)) for n in range(1, 9) if chance.random() < 0.25]  # type: ignore[arg-type]
    return msgspec.structs.replace(
        plan,
        wishes=tuple(wishes),
        disturbances=tuple(_set_by_little(each, keep / 5) for each in plan.disturbances),
        retention=keep,
        strikes=tuple(strikes) if is_disturbed else (),
    )


def _visit(chance: Random, keep: float) -> Visit:
    what: Any = chance.choice(["signal", "update", "cancel", "terminate", "retry", "query"])
    after = chance.choice([1.0, 60.0, 0.9, 1.0, 1.1, 2.0]) * chance.choice([1.0, keep])
    return Visit(what, after, chance.random() < 0.5)


def _set_by_little(disturbance: Disturbance, most: float) -> Disturbance:
    clock = disturbance.clock if abs(disturbance.clock) <= most else 0.0
    return msgspec.structs.replace(disturbance, clock=clock)


def _disturbances(chance: Random, hows: Sequence[How | SharedHow]) -> list[Disturbance]:
    """One, which befalls the commits after that, too, at times."""
    clock = chance.choice([0.0, 0.0, 0.0, 0.0, -86_400.0, -5.0, -0.5, 3.0, 90.0, 7 * 86_400.0])
    first = Disturbance(chance.randint(1, _MOST_COMMITS), chance.choice(hows), clock)
    return [first, *(Disturbance(first.at + n, first.how) for n in range(1, chance.choice(_IN_A_ROW)))]


def _at(disturbance: Disturbance) -> int:
    return disturbance.at


def _wish(chance: Random, workload: str, n: int) -> Wish:
    cancels = {"random": "cancel", "everything": "cancel everything"}
    ends_by_itself = not workload.startswith("cancel") and (workload not in cancels or chance.random() < 0.8)
    spec = program(chance, workload if ends_by_itself else cancels.get(workload, workload))
    return Wish(
        f"r{n}",
        spec,
        at=chance.choice([0.0, 0.0, 0.5, 100.0]),
        by_mail=chance.random() < 0.5,
        nudged=chance.random() < 0.7,
        end_at=None if ends_by_itself else chance.choice([0.5, 1.0, 10.0, 200.0]),
        terminate=not ends_by_itself and chance.random() < 0.3,
        words=_words(chance, spec),
        deeds=_deeds(chance, workload),
    )


def _codes(chance: Random) -> tuple[Code, ...]:
    return (*(chance.choice(CODES) for _ in range(chance.randint(1, 4))), "new")


def _deeds(chance: Random, workload: str) -> tuple[Deed, ...]:
    """Whatever the workload is, somebody may say that it shall be tried again."""
    kinds = ["cancel", "cancel", "terminate", "retry"] if workload == "operators" else ["retry"]
    count = chance.randint(1, 3) if workload == "operators" else chance.choice([0, 0, 0, 0, 1, 2])
    afters = [0.0, 0.001, 0.01, 0.5, 1.0, 2.5, 60.0, 90.0, 3_600.0]
    return tuple(Deed(chance.choice(kinds), chance.choice(afters), chance.random() < 0.5) for _ in range(count))  # type: ignore[arg-type]


def _words(chance: Random, spec: Spec) -> tuple[Word, ...]:
    if spec[0] == "desk":
        wrong = [True] * chance.randint(0, 2) + [False] * spec[1]
        chance.shuffle(wrong)
    else:
        wrong = [False] * words_for(spec)
    return tuple(
        Word(
            -1 if each else chance.randrange(100),
            chance.choice([0.0, 0.0, 0.001, 1.0, 90.0]),
            by_mail=chance.random() < 0.5,
            twice=chance.random() < 0.3,
            wrong=each,
            posted=spec[0] not in ("desk", "chat") and chance.random() < 0.3,
        )
        for each in wrong
    )
