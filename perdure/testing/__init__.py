"""What tests of workflows need.

`TestEngine` skips time, replays each run before each step, and takes stand-ins for activities:

    with TestEngine([campaign], activities={send_mail: fake_mail}) as engine:
        assert engine.run(campaign("ada@example.com")).wait() == "done"  # three days, in milliseconds

For tests of crashes and faults there are a world that kills its process, and plans for a store's faults:

    world = KillingWorld(at=7)
    store = open_store("sqlite:///orders.db", faults=world.faults)
    with Engine(store, [orders], world=world) as engine: ...

In a process of its own, for `at` = 1, 2, 3 ... until the process ends by itself, this is every place where a crash hurts.
"""

from perdure.stores.open import open_store
from perdure.testing.engine import TestEngine
from perdure.testing.faults import FaultAt, FaultWhere
from perdure.testing.killing import KillingWorld
from perdure.testing.stand_ins import ActivityCall

__all__ = ["ActivityCall", "FaultAt", "FaultWhere", "KillingWorld", "TestEngine", "open_store"]
