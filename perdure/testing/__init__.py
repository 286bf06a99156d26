"""What tests of crashes and faults need: a world that kills its process, and plans for a store's faults.

    world = KillingWorld(at=7)
    store = open_store("sqlite:///orders.db", faults=world.faults)
    with Engine(store, [orders], world=world) as engine: ...

In a process of its own, for `at` = 1, 2, 3 ... until the process ends by itself, this is every place where a crash hurts.
"""

from perdure.stores.open import open_store
from perdure.testing.faults import FaultAt, FaultWhere
from perdure.testing.killing import KillingWorld

__all__ = ["FaultAt", "FaultWhere", "KillingWorld", "open_store"]
