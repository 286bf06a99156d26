"""A run whose turn kills every process that moves it, in a store that several share: it ends up quarantined, and costs no more
deaths than that takes; all others come to their ends."""

import sys
from typing import Any

import pytest

from perdure.kernel import events as ev
from perdure.kernel.run import Status
from perdure.languages.python.machine import PythonProgram
from perdure.runtime.membership import SUSPECT_DEATHS, Holdings
from perdure.testing.simulation.cluster import Cluster
from perdure.testing.simulation.plan import Plan, Wish
from perdure.testing.simulation.world import Crash

STRIKES = 3
WORK = ["act", "work", 1]
WHEN: dict[str, tuple[Any, Any]] = {
    "in its first turn": (ev.RunStarted, WORK),
    "in its second turn": (ev.ActivityCompleted, WORK),
    "when it wakes": (ev.TimerFired, ["sleep", 5.0]),
}


def attempts_lost(cluster: Cluster) -> int:
    """The most of an innocent step."""
    return max(
        (attempt for (key, _, attempt) in cluster.shelf.attempts if cluster.shelf.runs[key].id != "r0"), default=0
    )


@pytest.fixture(autouse=True)
def the_dead_do_not_clear_up(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = Holdings.leave
    monkeypatch.setattr(Holdings, "leave", lambda self: None if isinstance(sys.exception(), Crash) else leave(self))


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("seed", range(4))
def test_it_is_quarantined_and_the_others_go_on(when: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, spec = WHEN[when]
    advance = PythonProgram.advance

    def deadly(self: PythonProgram, event: ev.HistoryEvent, replaying: bool) -> Any:
        if type(event) is kind and self.loop.info.id == "r0" and not replaying:
            raise Crash
        return advance(self, event, replaying)

    monkeypatch.setattr(PythonProgram, "advance", deadly)
    deadly_one = Wish(id="r0", spec=spec, at=0.2, by_mail=True)
    others = tuple(Wish(id=f"r{n}", spec=["sequence", [WORK, ["sleep", 3.0], WORK]], at=0.1 * n) for n in range(1, 5))
    cluster = Cluster(Plan(seed=seed, wishes=(deadly_one, *others), members=3, shaky=False))
    cluster.checks.is_final = False  # it may be blocked

    cluster.live()

    ended = {row.id: row.status for row in cluster.shelf.runs.values()}
    assert ended.pop("r0") == Status.QUARANTINED
    assert set(ended.values()) == {Status.COMPLETED}
    assert cluster.crashes == SUSPECT_DEATHS + STRIKES
    assert attempts_lost(cluster) <= SUSPECT_DEATHS + 2  # one more if it comes first, and the one that succeeds
