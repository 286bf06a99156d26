"""How a store says no to an owner, or to a worker: what each means for what was to be written."""

from collections.abc import Collection


class CommitRefused(Exception):
    """The store took nothing of the batch, and will not take it again as it is (a constraint, a value). `hint`: what whoever
    wrote the run's code can do."""

    def __init__(self, why: str, hint: str = "mend what it stores, then start again") -> None:
        super().__init__(why)
        self.hint = hint


class IdTaken(CommitRefused):
    """The same, while a transaction is open in which somebody else gives an id of the batch a run, or has locked what the batch
    writes; nobody waits for its end. `runs`: those of the batch whose rows are locked, as far as that is known."""

    def __init__(self, why: str, runs: Collection[int] = ()) -> None:
        super().__init__(why)
        self.runs = runs


class CommitInDoubt(Exception):
    """Whether the batch was written is unknown; `Journal.settle` tells."""


class StoreUnavailable(Exception):
    """Nothing was written, through no fault of the batch; the same batch may pass later (busy, I/O error)."""


class StoreFull(Exception):
    """Nothing was written: no room, or no permission to write. The owner stops."""


class OwnershipLost(Exception):
    """This store does not own (any more). Nothing was written. The owner stops."""


class WorkerGone(Exception):
    """The worker has left, or was taken for dead: nothing it brings is accepted any more."""
