"""Lives in which a promise was once broken, shrunk; the bug is planted again to see that each still shows it.

What `python -m perdure.testing.simulation` prints for a life that goes wrong belongs here, under what was wrong.
"""

import pytest
from pytest import MonkeyPatch

from perdure.kernel import continuing
from perdure.kernel import events as ev
from perdure.languages.python.tasks import Task
from perdure.runtime import cycle, families
from perdure.runtime.effects import Effects
from perdure.runtime.losses import Losses
from perdure.testing.simulation.life import simulate
from perdure.testing.simulation.plan import Deed, Disturbance, Plan, Wish, Word
from tests.simulation.mutants import Plant

FINDS: dict[str, tuple[Plan, Plant, str]] = {
    "a cancellation that was due was left behind by a run that went on as a new one": (
        Plan(
            seed=1,
            wishes=(Wish(id="r0", spec=["chain", 2, ["saga", [1, 2], True]], deeds=(Deed("cancel", 0.04),)),),
            shaky=False,
            early=False,
        ),
        lambda patch: patch.setattr(Task, "heed", lambda self: None),
        "r0 goes on as a new run, and was cancelled",
    ),
    "a cancellation that a child did not heed was lost": (
        Plan(
            seed=35,
            wishes=(Wish(id="r0", spec=["for ever", ["child", "495561", ["sleep", 1.0]]], nudged=False, end_at=1.0),),
            shaky=False,
            early=False,
        ),
        lambda patch: patch.setattr(Task, "_cancel", lambda self, future, message: future.cancel(msg=message)),
        "r0 is waiting, and nothing will ever wake it",
    ),
    "a signal that was said twice counted in two runs of a chain": (
        Plan(
            seed=0,
            wishes=(
                Wish(
                    id="r0",
                    spec=["chain", 1, ["listen", 2]],
                    words=(
                        Word(n=69, after=0.0, by_mail=False),
                        Word(n=96, after=90.0, by_mail=False, twice=True),
                        Word(n=50, after=0.0, by_mail=False),
                        Word(n=76, after=0.0, by_mail=False),
                    ),
                ),
            ),
            shaky=False,
            early=False,
        ),
        lambda patch: patch.setattr(continuing, "_carried", lambda run, left: b""),
        "r0 came to 311, and to 291 if the program is performed once",
    ),
    "a cancellation was lost to a run that had failed meanwhile, and was tried again": (
        Plan(
            seed=1,
            wishes=(Wish(id="r0", spec=["fails first", 0.5], end_at=10.0),),
            disturbances=(Disturbance(at=2, how="slow"),),
            shaky=False,
            early=False,
        ),
        lambda patch: patch.setattr(families, "goes_on", lambda run: type(run.outcome) is ev.RunContinuedAsNew),
        "r0 is waiting, and nothing will ever wake it",
    ),
    "parts of a batch that was split each brought the same signals": (
        Plan(
            seed=0,
            wishes=(
                Wish(
                    id="r0",
                    spec=["listen", 3],
                    words=(
                        Word(n=1, after=0.0, by_mail=True, posted=True),
                        Word(n=2, after=0.0, by_mail=True, posted=True),
                        Word(n=3, after=90.0, by_mail=True, posted=True),
                    ),
                ),
            ),
            disturbances=(Disturbance(at=2, how="refused"),),
            shaky=False,
            early=False,
        ),
        lambda patch: patch.setattr(cycle, "without_read", lambda read, parts: parts),
        "r0 came to 5, and to 6 if the program is performed once",
    ),
    "what a worker had taken that is gone was not told again when the store had refused that": (
        Plan(
            seed=204205096,
            wishes=(Wish(id="r0", spec=["group", [["act", way, 1] for way in ("work", "work", "fetch", "work")]]),),
            disturbances=(Disturbance(at=6, how="refused"), Disturbance(at=7, how="refused")),
            early=False,
            unsteady=6,
        ),
        lambda patch: patch.setattr(Losses, "tell_again", lambda self, key: None),
        "the owner goes round in a circle",
    ),
    "an attempt that is out of time was waited for, as the store had refused to hear that": (
        Plan(
            seed=1,
            wishes=(Wish(id="r0", spec=["act", "linger", 3]),),
            disturbances=(Disturbance(at=2, how="refused"), Disturbance(at=3, how="refused")),
            early=False,
        ),
        lambda patch: patch.setattr(Effects, "forsake", lambda self, letter: None),
        "the owner goes round in a circle",
    ),
}
"""What was wrong: the life that shows it, the bug, and what is said of that life."""


@pytest.mark.parametrize("wrong", FINDS)
def test_it_is_right_now(wrong: str) -> None:
    plan, _, _ = FINDS[wrong]

    assert simulate(plan).violation == ""


@pytest.mark.parametrize("wrong", FINDS)
def test_the_bug_would_show(wrong: str, monkeypatch: MonkeyPatch) -> None:
    plan, plant, said = FINDS[wrong]
    plant(monkeypatch)

    assert said in simulate(plan).violation
