"""What tests of workflows need.

`TestEngine` skips time, replays each run before each step, and takes stand-ins for activities:

    with TestEngine([campaign], activities={send_mail: fake_mail}) as engine:
        assert engine.run(campaign("ada@example.com")).wait() == "done"  # three days, in milliseconds

`replay` shows recorded histories (`perdure export`) to the code at hand, and raises if it does not do what they have:

    def test_old_runs_still_replay():
        replay("tests/histories", [campaign, send_mail])

`crash_everywhere` lets the engine die at every place where that could hurt a workflow, and tells what does not bear it:

    def test_orders_bear_crashes():
        crash_everywhere(process_order(10, "acct"), state=ledger.entries, reset=ledger.clear).wait().assert_ok()

`activity_context` runs an activity by hand. pytest has fixtures (`plugin.py`); the engine itself is tested by a simulator
(`simulation/`), and for tests of crashes and faults there are a world that kills its process, and plans for a store's faults:

    world = KillingWorld(at=7)
    store = open_store("sqlite:///orders.db", faults=world.faults)
    with Engine(store, [orders], world=world) as engine: ...

In a process of its own, for `at` = 1, 2, 3 ... until the process ends by itself, this is every place where a crash hurts.

Names are resolved when they are first asked for: pytest loads the plugin in every project that has Perdure installed.
"""

from importlib import import_module as _import
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.client.export import ExportedRun
    from perdure.client.human_view import TaskDetails
    from perdure.client.replaying import Report, Verdict
    from perdure.stores.open import open_store
    from perdure.testing.by_hand import AttemptByHand, activity_context
    from perdure.testing.crashing.everywhere import crash_everywhere
    from perdure.testing.crashing.report import CrashReport
    from perdure.testing.engine import TestEngine
    from perdure.testing.faults import FaultAt, FaultWhere
    from perdure.testing.killing import KillingWorld
    from perdure.testing.people import GivenAnswer, People, answering
    from perdure.testing.replayer import replay
    from perdure.testing.stand_ins import ActivityCall

_PLACE = {
    "ActivityCall": "perdure.testing.stand_ins",
    "AttemptByHand": "perdure.testing.by_hand",
    "CrashReport": "perdure.testing.crashing.report",
    "ExportedRun": "perdure.client.export",
    "FaultAt": "perdure.testing.faults",
    "FaultWhere": "perdure.testing.faults",
    "GivenAnswer": "perdure.testing.people",
    "KillingWorld": "perdure.testing.killing",
    "People": "perdure.testing.people",
    "Report": "perdure.client.replaying",
    "TaskDetails": "perdure.client.human_view",
    "TestEngine": "perdure.testing.engine",
    "Verdict": "perdure.client.replaying",
    "activity_context": "perdure.testing.by_hand",
    "answering": "perdure.testing.people",
    "crash_everywhere": "perdure.testing.crashing.everywhere",
    "open_store": "perdure.stores.open",
    "replay": "perdure.testing.replayer",
}

__all__ = [
    "ActivityCall",
    "AttemptByHand",
    "CrashReport",
    "ExportedRun",
    "FaultAt",
    "FaultWhere",
    "GivenAnswer",
    "KillingWorld",
    "People",
    "Report",
    "TaskDetails",
    "TestEngine",
    "Verdict",
    "activity_context",
    "answering",
    "crash_everywhere",
    "open_store",
    "replay",
]


def __getattr__(name: str) -> object:
    if name not in _PLACE:
        raise AttributeError(f"module 'perdure.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(_import(_PLACE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
